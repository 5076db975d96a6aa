"""A picture says nothing besides its pixels, and is the same picture."""

from __future__ import annotations

import hashlib
import mmap
import struct
import zlib
from io import BytesIO
from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from edge_agent.config import PicturesConfig
from edge_agent.vision.images import decode
from edge_agent.vision.picture_metadata import picture_digest, private_parts, without_metadata

SECRET = b"52N13E"
"""Stands for a place."""

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="%d" place="52N13E"/></x:xmpmeta>'
KINDS = ["JPEG", "PNG", "WEBP"]


def picture() -> Image.Image:
    """Other in each corner, so that a turn shows."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:12, :16] = 200, 20, 20
    pixels[12:, 16:] = 20, 20, 200
    pixels[:12, 16:] = np.arange(16, dtype=np.uint8)[None, :, None] * 9
    return Image.fromarray(pixels)


def exif(orientation: int) -> bytes:
    """What a camera writes: how it was held, what it is, where it was."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = SECRET.decode()
    tags.get_ifd(0x8825)[1] = SECRET.decode()
    return tags.tobytes()


def encode(kind: str, **options: object) -> bytes:
    """The picture in a file."""
    file = BytesIO()
    picture().save(file, kind, **{**({"lossless": True} if kind == "WEBP" else {}), **options})
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    """What the engine makes of a file, in its own size."""
    return decode(data, limits=PicturesConfig(), target=None).pixels


def check(data: bytes) -> bytes:
    """The file without its secret: as long, the same pixels, and no more to take away."""
    blank = without_metadata(data)
    assert SECRET in data
    assert SECRET not in blank
    assert len(blank) == len(data)
    np.testing.assert_array_equal(pixels(blank), pixels(data))
    assert list(private_parts(blank)) == []
    return blank


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_place_and_camera_go_and_the_turn_stays(kind, orientation):
    """E9: whatever way the camera was held, the picture is the same and says nothing else."""
    blank = check(encode(kind, exif=exif(orientation)))

    left = dict(Image.open(BytesIO(blank)).getexif())
    assert left == ({} if orientation == 1 else {0x0112: orientation})


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_a_turn_that_only_xmp_knows_stays(kind, orientation):
    """Some programs write it there alone."""
    options = {"xmp": XMP % orientation}
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", (XMP % orientation).decode())
        options = {"pnginfo": info}

    check(encode(kind, **options))


def test_a_turn_in_packed_text_stays():
    """PNG may compress its text."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", (XMP % 6).decode(), zip=True)
    data = encode("PNG", pnginfo=info)

    np.testing.assert_array_equal(pixels(without_metadata(data)), pixels(data))
    assert pixels(data).shape == (32, 24, 3)


@pytest.mark.parametrize("packed", [False, True])
def test_a_turn_in_a_text_of_digits_stays(packed):
    """Programs wrote EXIF into PNG like that before there was a chunk for it, and the decoder reads it."""
    held = exif(6)
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(held):8d}\n{held.hex()}\n", zip=packed)
    data = encode("PNG", pnginfo=info)

    blank = without_metadata(data)
    np.testing.assert_array_equal(pixels(blank), pixels(data))
    assert pixels(data).shape == (32, 24, 3)
    assert dict(Image.open(BytesIO(blank)).getexif()) == {0x0112: 6}


def test_both_kinds_at_once():
    """EXIF goes before XMP, as in the decoder."""
    check(encode("JPEG", exif=exif(8), xmp=XMP % 6))
    check(encode("WEBP", exif=exif(3), xmp=XMP % 6))


def test_comments_texts_and_trailers():
    """Comments of JPEG and GIF, texts and the time of PNG, makers' segments, and what stands behind the end."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET.decode())
    info.add_text("Packed", SECRET.decode(), zip=True)
    for data in (
        encode("JPEG", comment=SECRET),
        encode("PNG", pnginfo=info),
        encode("GIF", comment=SECRET * 60),
        encode("JPEG") + encode("JPEG", exif=exif(1)),
        encode("JPEG")
        + encode("JPEG")[:2]
        + bytes(70_000)
        + SECRET,  # far behind the end, as a second picture is
        encode("PNG") + SECRET,
        encode("GIF") + SECRET,
        encode("WEBP") + SECRET,
        segment(encode("JPEG"), 0xED, b"Photoshop 3.0\0" + SECRET),
        segment(encode("JPEG", progressive=True), 0xE2, b"MPF\0" + SECRET),
        segment(segment(encode("JPEG"), 0xE7, SECRET), 0xE1, b"Exif\0\0II*\0" + SECRET),
    ):
        check(data)


@pytest.mark.parametrize("parts", [(200, 55), (255,), (255, 255, 1), (1,), (2,)])
def test_what_is_left_of_a_comment_is_made_of_blocks(parts):
    """However long it was: the blocks end where they did, so that a reader finds what stands behind."""
    blocks = b"".join(bytes([size]) + SECRET.ljust(size, b"x")[:size] for size in parts)
    whole = encode("GIF")
    at = 13 + (3 << (whole[10] & 7) + 1)
    data = (
        whole[:at] + b"!\xfe" + blocks + b"\0" + b"!\xfe" + bytes([len(SECRET)]) + SECRET + b"\0" + whole[at:]
    )

    blank = check(data)

    end = at + 2
    while blank[end]:
        end += 1 + blank[end]
    assert end == at + 2 + len(blocks)


def segment(data: bytes, marker: int, payload: bytes) -> bytes:
    """A JPEG with one segment more."""
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload + data[2:]


def test_xmp_of_a_gif():
    """It is not made of blocks as all else there, and goes nevertheless; the animation goes on."""
    frames = [picture().convert("P"), picture().rotate(90).convert("P").resize((32, 24))]
    file = BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], loop=0, duration=50)
    data = file.getvalue()
    packet = b"\x21\xff\x0bXMP DataXMP" + SECRET * 400 + b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
    at = data.index(b"\x21\xff\x0bNETSCAPE")

    blank = check(data[:at] + packet + data[at:])

    image = Image.open(BytesIO(blank))
    assert (image.n_frames, image.info["loop"]) == (2, 0)


def test_profiles_and_colour_coding_stay():
    """A profile of colours and what says how they are coded are part of the picture."""
    profile = b"profile" * 40
    for kind in KINDS:
        blank = without_metadata(encode(kind, exif=exif(6), icc_profile=profile))
        assert Image.open(BytesIO(blank)).info["icc_profile"] == profile
    file = BytesIO()
    picture().convert("CMYK").save(file, "JPEG")  # with a segment of Adobe's
    assert without_metadata(file.getvalue()) == file.getvalue()


def test_silent_files_are_left_alone():
    """The very same bytes, not a copy, when there is nothing to take away; a BMP has nothing."""
    for kind in [*KINDS, "GIF", "BMP"]:
        data = without_metadata(encode(kind))
        assert without_metadata(data) is data
    assert without_metadata(b"no picture") == b"no picture"


def test_checksums_of_png_are_right():
    """Every chunk can be checked afterwards."""
    blank = without_metadata(encode("PNG", exif=exif(6)))
    at = 8
    while at < len(blank):
        length = int.from_bytes(blank[at : at + 4], "big")
        body = blank[at + 4 : at + 8 + length]
        assert int.from_bytes(blank[at + 8 + length : at + 12 + length], "big") == zlib.crc32(body)
        at += 12 + length


def test_a_mapped_file_is_read_as_bytes(tmp_path):
    """The agent need not hold a whole photograph."""
    data = encode("JPEG", exif=exif(6), comment=SECRET)
    path = tmp_path / "p.jpg"
    path.write_bytes(data)

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert list(private_parts(mapped)) == list(private_parts(data))


WHOLE = [encode(kind, exif=exif(6)) for kind in KINDS] + [encode("GIF", comment=SECRET)]


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from(WHOLE),
    end=st.integers(0, 4000),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6),
)
def test_damaged_files_stay_as_long(data, end, changes):
    """Cut off or changed anywhere: nothing is raised, no byte is added, and a second pass finds nothing new."""
    damaged = bytearray(data[:end])
    for at, value in changes:
        if at < len(damaged):
            damaged[at] = value

    blank = without_metadata(bytes(damaged))

    assert len(blank) == len(damaged)
    assert without_metadata(blank) == blank
    with TemporaryFile() as file:
        file.write(damaged)
        file.flush()
        assert picture_digest(file) == hashlib.sha256(blank).hexdigest()
