"""Whatever the bytes are: an upright RGB picture, or a reason a person understands."""

from __future__ import annotations

import random
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from edge_agent.config import PicturesConfig
from edge_agent.errors import ImageError
from edge_agent.vision import images
from edge_agent.vision.images import DecodedImage, decode

SIDE = (64, 64)
LIMITS = PicturesConfig()

Picture = Callable[[int, int], Image.Image]
Encode = Callable[..., bytes]


def look(data: bytes, target: tuple[int, int] = SIDE, limits: PicturesConfig = LIMITS) -> DecodedImage:
    """Decode with the limits of the default configuration."""
    return decode(data, limits=limits, target=target)


def apart(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> float:
    """Mean difference of two pictures, in levels."""
    return float(np.abs(left.astype(int) - right.astype(int)).mean())


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 3),
        ("JPEG", {"quality": 95, "progressive": True}, 3),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 90}, 4),
        ("BMP", {}, 0),
        ("GIF", {}, 12),
    ],
)
def test_every_accepted_format_gives_its_picture(
    kind: str, options: dict[str, object], tolerance: float, pictures: Picture, encode: Encode
) -> None:
    """Size and format are those of the file, the pixels those of the picture."""
    image = pictures(160, 120)

    decoded = look(encode(image, kind, **options))

    expected = np.asarray(image.resize(SIDE, Image.Resampling.BILINEAR))
    assert (decoded.width, decoded.height, decoded.format) == (160, 120, kind)
    assert decoded.pixels.shape == (64, 64, 3)
    assert decoded.pixels.dtype == np.uint8
    assert apart(decoded.pixels, expected) <= tolerance


def test_an_ordinary_picture_is_resized_by_plain_bilinear(pictures: Picture, encode: Encode) -> None:
    """Exactly Pillow's bilinear resize of the whole picture to the wanted size, square or not."""
    image = pictures(333, 77)

    decoded = look(encode(image, "PNG"), target=(50, 40))

    expected = np.asarray(image.resize((50, 40), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decoded.pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_upright(orientation: int, kind: str, pictures: Picture, encode: Encode) -> None:
    """All eight ways to hold a camera give the same picture, with the width and height of the upright one."""
    upright = pictures(160, 80)
    undo = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    stored = upright.transpose(images.UPRIGHT[undo]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation

    decoded = look(encode(stored, kind, exif=exif, quality=95), target=(40, 20))

    assert (decoded.width, decoded.height) == (160, 80)
    assert apart(decoded.pixels, np.asarray(upright.resize((40, 20), Image.Resampling.BILINEAR))) < 4


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage and more garbage",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40,
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04\xff\xff\xff\xff\0\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_does_not_reject_a_good_picture(
    kind: str, exif: bytes, pictures: Picture, encode: Encode
) -> None:
    """A picture whose EXIF cannot be read is taken as it lies."""
    image = pictures(64, 64)

    decoded = look(encode(image, kind, quality=95, exif=exif))

    assert apart(decoded.pixels, np.asarray(image)) < 4


def test_sixteen_bits_are_scaled_not_cut(encode: Encode) -> None:
    """A 16-bit grey ramp stays a ramp: 0 is black, 65535 white, and the middle is grey."""
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    image = Image.fromarray(np.tile(ramp, (64, 1)))

    decoded = look(encode(image, "PNG"))

    np.testing.assert_allclose(decoded.pixels[0, :, 1], ramp / 257.0, atol=1)


def test_a_transparent_grey_of_sixteen_bits_is_white(encode: Encode) -> None:
    """The value that a 16-bit file calls transparent is laid on white, its neighbours are not."""
    values = np.full((64, 64), 1000, dtype=np.uint16)
    values[:, 32:] = 1001

    # Written by hand, because older Pillows read it but cannot write it.
    plain = encode(Image.fromarray(values), "PNG")
    chunk = b"tRNS" + struct.pack(">H", 1000)
    after_header = 8 + 25
    pixels = look(
        plain[:after_header]
        + struct.pack(">I", 2)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + plain[after_header:]
    ).pixels

    assert pixels[:, :30].min() == 255
    assert pixels[:, 34:].max() == 4


def test_floats_are_scaled_not_cut(encode: Encode) -> None:
    """A float picture from 0 to 1, 0 to 255 or beyond is never black or white all over."""
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    limits = PicturesConfig(formats=("TIFF",))  # type: ignore[arg-type]  # only a test accepts TIFF

    rows = [
        look(encode(Image.fromarray(values), "TIFF"), limits=limits).pixels[0, :, 0]
        for values in (ramp, ramp * 255, ramp * 4000 - 1000)
    ]

    for row in rows:
        np.testing.assert_allclose(row, ramp[0] * 255, atol=1)


def test_transparent_parts_lie_on_white(pictures: Picture, encode: Encode) -> None:
    """Alpha of every kind (RGBA, LA, palette, a transparent colour) shows white, whatever is hidden below."""
    image = pictures(64, 64)
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    with_alpha = image.copy()
    with_alpha.putalpha(mask)
    grey = image.convert("L")
    grey.putalpha(mask)
    palette = with_alpha.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    index = palette.getpixel((60, 60))
    two = Image.new("RGB", (64, 64), (10, 20, 30))
    two.paste((200, 0, 0), (0, 0, 32, 64))

    for data in (
        encode(with_alpha, "PNG"),
        encode(with_alpha, "WEBP", lossless=True),
        encode(grey, "PNG"),
        encode(palette, "PNG", transparency=index),
        encode(palette, "GIF", transparency=index),
        encode(two, "PNG", transparency=(10, 20, 30)),
    ):
        pixels = look(data).pixels
        assert pixels[:, 40:].min() == 255
        assert pixels[:, :24].min() < 250


def test_half_transparent_is_half_white(encode: Encode) -> None:
    """Alpha 128 over white lightens by half."""
    pixels = look(encode(Image.new("RGBA", (8, 8), (0, 100, 200, 128)), "PNG")).pixels

    np.testing.assert_allclose(pixels[0, 0], [127, 177, 227], atol=1)


def test_cmyk_has_the_right_colours(pictures: Picture, encode: Encode) -> None:
    """An ink picture looks like its screen original, not like its negative."""
    image = pictures(64, 64)

    decoded = look(encode(image.convert("CMYK"), "JPEG", quality=95))

    assert apart(decoded.pixels, np.asarray(image)) < 4


def test_large_unusual_pictures_are_converted_in_bands(
    pictures: Picture, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many small bands give what one conversion of the whole gives."""
    image = pictures(300, 500).convert("P", palette=Image.Palette.ADAPTIVE)
    data = encode(image, "PNG")
    whole = look(data).pixels

    monkeypatch.setattr(images, "BAND_PIXELS", 3000)

    assert np.abs(look(data).pixels.astype(int) - whole).max() <= 1
    expected = np.asarray(image.convert("RGB").resize(SIDE, Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(whole, expected)


def test_only_the_first_frame_is_taken(pictures: Picture, encode: Encode) -> None:
    """A moving picture counts as its first frame."""
    red, blue = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    for kind in ("GIF", "PNG", "WEBP"):
        data = encode(red, kind, save_all=True, append_images=[blue], duration=100)
        np.testing.assert_allclose(look(data).pixels.mean(axis=(0, 1)), [255, 0, 0], atol=6)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 2)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_strips_and_single_pixels_are_pictures(size: tuple[int, int], kind: str, encode: Encode) -> None:
    """Extreme shapes are stretched like any other."""
    decoded = look(encode(Image.new("RGB", size, (200, 100, 50)), kind))

    np.testing.assert_allclose(decoded.pixels.mean(axis=(0, 1)), [200, 100, 50], atol=4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_a_cut_off_file_is_refused_wherever_it_was_cut(kind: str, encode: Encode) -> None:
    """Not one cut file is accepted, whether pixels are missing or only the last byte."""
    noise = np.random.default_rng(3).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    end = len(data)

    for cut in sorted({0, 1, 2, 10, 30, *range(50, end, max(1, end // 150)), *range(end - 30, end)}):
        with pytest.raises(ImageError):
            look(data[:cut])


def test_half_a_progressive_jpeg_is_refused(pictures: Picture, encode: Encode) -> None:
    """The first scans of a progressive JPEG show a blurred whole picture, which is not the picture."""
    data = encode(pictures(200, 200), "JPEG", progressive=True, quality=95)

    for cut in range(200, len(data), 61):
        with pytest.raises(ImageError):
            look(data[:cut])


def test_a_jpeg_still_being_copied_into_reserved_space_is_refused(encode: Encode) -> None:
    """Samba reserves the full size first: the rest of the file is zeros, which a decoder takes for grey."""
    noise = np.random.default_rng(3).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", quality=90)

    for share in (0.3, 0.5, 0.9, 0.99):
        kept = int(len(data) * share)
        with pytest.raises(ImageError):
            look(data[:kept] + bytes(3 * len(data)))


def test_a_tail_of_garbage_is_passed_over(photo: bytes, pictures: Picture, encode: Encode) -> None:
    """What stands behind the end of the picture does not matter."""
    png = encode(pictures(20, 20), "PNG")

    np.testing.assert_array_equal(look(photo + b"\xff\xda trailing" * 100).pixels, look(photo).pixels)
    np.testing.assert_array_equal(look(png + bytes(5000)).pixels, look(png).pixels)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89", b"<html></html>", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"BM" + bytes(60)],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    """Empty files, text and bare magic numbers get a reason."""
    with pytest.raises(ImageError, match=r"[a-z]"):
        look(data)


def test_formats_are_judged_by_content_and_only_those_allowed(pictures: Picture, encode: Encode) -> None:
    """A format that is switched off is refused, and TIFF was never on."""
    tiff, png = encode(pictures(8, 8), "TIFF"), encode(pictures(8, 8), "PNG")

    with pytest.raises(ImageError, match=r"accepted format \(JPEG, PNG"):
        look(tiff)
    with pytest.raises(ImageError, match=r"accepted format \(JPEG\)"):
        look(png, limits=PicturesConfig(formats=("JPEG",)))


def test_too_many_bytes_are_refused(photo: bytes) -> None:
    """The limit is in the message, with the setting that moves it."""
    with pytest.raises(ImageError, match=r"limit is 100 \(pictures.max_file_bytes\)"):
        look(photo, limits=PicturesConfig(max_file_bytes=100))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        png_header(5001, 5000),
        png_header(12000, 12000),
        png_header(60000, 60000),
        b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xfe\x3f\0\xfe\x3f\0ALPH\0\0\0\0",
        b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
    ],
)
def test_bombs_are_refused_by_their_header(data: bytes) -> None:
    """Too many promised pixels are refused before any is decoded, and Pillow's warning stays inside."""
    with pytest.raises(ImageError, match=r"megapixels|not a picture|damaged"):
        look(data)


def test_the_megapixel_limit_is_the_configured_one(encode: Encode) -> None:
    """Just below passes, just above does not."""
    limits = PicturesConfig(max_megapixels=0.01)

    assert look(encode(Image.new("L", (100, 100)), "PNG"), limits=limits).width == 100
    with pytest.raises(ImageError, match=r"101 x 100 pixels: the picture has more than 0\.01 megapixels"):
        look(encode(Image.new("L", (101, 100)), "PNG"), limits=limits)


def test_pillow_is_left_as_it_was(photo: bytes) -> None:
    """No global switch of Pillow is touched: another user of it in the process sees no change."""
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters))

    look(photo)

    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def read(testdata: Path, name: str) -> DecodedImage:
    """One of the shared pathological pictures."""
    return look((testdata / "pathological" / name).read_bytes())


def test_a_photograph_held_four_ways_is_one_photograph(testdata: Path) -> None:
    """A real photograph stored with orientation 1, 3, 6 and 8 gives the same pixels but for JPEG's noise."""
    first, *others = (read(testdata, f"made/banana_exif{orientation}.jpg") for orientation in (1, 3, 6, 8))

    for other in others:
        assert apart(first.pixels, other.pixels) < 3


@pytest.mark.parametrize(
    "name", ["made/half.jpg", "made/header_only.jpg", "made/corrupt_middle.jpg", "made/zero_bytes.jpg",
    "made/text_as.jpg",
     "made/all_zero_4k.jpg", "made/._appledouble.jpg", "pillow/truncated_image.png",
     "pillow/truncated_jpeg.jpg", "pillow/truncated_end_chunk.png", "pillow/broken_data_stream.png",
     "pillow/ultrahdr.jpg", "pillow/png_decompression_dos.png", "pillow/hopper.tif", "pillow/hopper.ppm",
     "pillow/avif__rot1mir0.avif"],
)  # fmt: skip
def test_known_bad_files_are_refused(name: str, testdata: Path) -> None:
    """Halves, empties, bombs and formats that are not accepted."""
    with pytest.raises(ImageError):
        read(testdata, name)


@pytest.mark.parametrize(
    "name",
    ["made/garbage_tail.jpg", "made/exif_orientation_99.jpg", "made/jpeg_named.png", "made/png_named.jpg",
     "made/UPPER.JPG", "made/progressive.jpg", "made/strip_1x4000.png", "made/strip_4000x1.jpg",
     "pillow/frozenpond.mpo", "pillow/hopper_bad_exif.jpg", "pillow/broken_exif_dpi.jpg",
     "pillow/exif_typeerror.jpg", "pillow/exif-dpi-zerodivision.jpg", "pillow/empty_gps_ifd.jpg",
     "pillow/junk_jpeg_header.jpg", "pillow/icc_profile_big.jpg", "pillow/tRNS_null_1x1.png"],
)  # fmt: skip
def test_odd_but_whole_files_are_accepted(name: str, testdata: Path) -> None:
    """A wrong name, a broken tag or a tail does not make a bad picture."""
    read(testdata, name)


def test_hopper_is_hopper_in_every_format(testdata: Path) -> None:
    """The same portrait as JPEG, PNG, WebP, BMP and GIF is the same portrait."""
    png = read(testdata, "pillow/hopper.png").pixels

    for kind in ("jpg", "webp", "bmp", "gif"):
        assert apart(read(testdata, f"pillow/hopper.{kind}").pixels, png) < 8


@pytest.mark.parametrize("name", ["gray16.png", "rgb16.png", "rgba16.png"])
def test_sixteen_bit_files_are_neither_white_nor_black(name: str, testdata: Path) -> None:
    """Real 16-bit files keep their contrast."""
    pixels = read(testdata, f"made/{name}").pixels

    assert 30 < pixels.mean() < 225
    assert pixels.std() > 20


def test_ink_files_have_the_right_colours(testdata: Path) -> None:
    """The CMYK banana is the RGB banana."""
    assert apart(read(testdata, "made/cmyk.jpg").pixels, read(testdata, "made/jpeg_named.png").pixels) < 10


def test_a_fully_transparent_file_is_white(testdata: Path) -> None:
    """Colours hidden under alpha 0 stay hidden."""
    assert read(testdata, "made/rgba_fully_transparent.png").pixels.min() == 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_damaged_bytes_give_a_picture_or_a_reason(kind: str, pictures: Picture, encode: Encode) -> None:
    """400 damaged copies (flipped, cut, repeated, overwritten bytes) never raise anything but a reason."""
    chance = random.Random(f"{kind} 1")
    image = pictures(24, 18)
    if kind in ("PNG", "GIF"):
        image = image.convert("P", palette=Image.Palette.ADAPTIVE)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(image, kind, **({} if kind in ("BMP", "GIF") else {"exif": exif}))

    outcomes = {damaged_outcome(damaged(data, chance)) for _ in range(400)}

    assert outcomes == {"picture", "reason"}


def damaged_outcome(data: bytes) -> str:
    """What became of one damaged file; anything but a picture or a reason is an error of the test."""
    limits = PicturesConfig(max_megapixels=1)
    try:
        decoded = look(data, target=(16, 16), limits=limits)
    except ImageError:
        return "reason"
    assert decoded.pixels.shape == (16, 16, 3)
    return "picture"


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A copy with a few things wrong."""
    copy = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        where = chance.randrange(len(copy))
        match chance.randrange(5):
            case 0:
                copy[where] ^= 1 << chance.randrange(8)
            case 1:
                copy[where : where + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
            case 2:
                del copy[where : where + chance.randint(1, 20)]
            case 3:
                copy[where:where] = copy[where : where + chance.randint(1, 30)]
            case _:
                where = chance.randrange(min(60, len(copy)))
                copy[where] = chance.randrange(256)
        copy = copy or bytearray(b"\0")
    return bytes(copy)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    magic=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF0000WEBP"]),
    tail=st.binary(),
)
def test_arbitrary_bytes_give_a_picture_or_a_reason(magic: bytes, tail: bytes) -> None:
    """Anything at all, with or without a format's first bytes."""
    damaged_outcome(magic + tail)


@pytest.mark.parametrize(
    ("kind", "size", "options", "together"),
    [
        ("JPEG", (96, 64), {}, 2),
        ("PNG", (96, 64), {}, 2),
        ("JPEG", (2100, 2000), {}, 2),
        ("JPEG", (96, 64), {"progressive": True}, 1),
        ("PNG", (2100, 2000), {"compress_level": 1}, 1),
        ("WEBP", (96, 64), {}, 1),
    ],
)
def test_large_pictures_are_decoded_one_at_a_time(
    kind: str,
    size: tuple[int, int],
    options: dict[str, object],
    together: int,
    pictures: Picture,
    encode: Encode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many threads there are; small ones, and JPEGs that are scaled down while decoded, are side by side."""
    data = encode(pictures(*size), kind, **options)
    condition = threading.Condition()
    inside: list[int] = []
    most: list[int] = []
    load = ImageFile.ImageFile.load

    def slowly(image: ImageFile.ImageFile) -> object:
        with condition:
            inside.append(1)
            most.append(len(inside))
            condition.notify_all()
            # Where they may meet they do; where they may not, there is nothing to wait for but time.
            condition.wait_for(lambda: max(most) > 1, 30 if together > 1 else 0.2)
        try:
            return load(image)
        finally:
            with condition:
                inside.pop()

    monkeypatch.setattr(ImageFile.ImageFile, "load", slowly)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(look, [data] * 2))

    assert max(most) == together
