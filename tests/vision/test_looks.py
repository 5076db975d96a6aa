"""A file becomes pixels once, however many copies of it are asked for, and by whichever thread."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_agent.config import PicturesConfig
from edge_agent.errors import ImageError, ImageMemoryError
from edge_agent.ml.augmentation import AugmentationSettings, Variant
from edge_agent.vision import images, wire
from edge_agent.vision.images import DecodedImage
from edge_agent.vision.looks import REMEMBERED, Decode, Looks, read_whole
from edge_agent.vision.picture_metadata import without_metadata

LIMITS = PicturesConfig()
SIDE = (32, 32)
SECONDS = 30.0

Encode = Callable[..., bytes]
Picture = Callable[[int, int], Image.Image]


class Decoder:
    """Decodes and counts; waits for `gate`; goes wrong as often as `troubles` says, each in its way."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.troubles: list[BaseException] = []

    def __call__(self, data: bytes, *, limits: PicturesConfig, target: tuple[int, int]) -> DecodedImage:
        self.seen.append(data)
        self.begun.release()
        assert self.gate.wait(SECONDS)
        if self.troubles:
            raise self.troubles.pop()
        return images.decode(data, limits=limits, target=target)


def looks(decode: Decode = images.decode) -> Looks:
    """Looks of a small size."""
    return Looks(LIMITS, SIDE, AugmentationSettings(), decode)


def asked(path: Path, *, variant: Variant | None = None, digest: bool = True) -> tuple[wire.Picture, int]:
    """A message about a file, and the file."""
    return wire.Picture(7, variant, digest=digest), os.open(path, os.O_RDONLY)


@pytest.fixture(name="path")
def _path(tmp_path: Path, photo: bytes) -> Path:
    path = tmp_path / "photo"
    path.write_bytes(photo)
    return path


COPIES = [Variant("crop", number) for number in range(1, 7)]


def test_copies_of_a_picture_are_made_of_one_decoding(path: Path) -> None:
    """After the picture itself, or after one another, its copies cost no decoding, and are those of a fresh one."""
    decoder = Decoder()
    one = looks(decoder)

    first = one.look(*asked(path))
    copies = [one.look(*asked(path, variant=variant)) for variant in COPIES]

    assert len(decoder.seen) == 1
    fresh = [looks().look(*asked(path, variant=variant)) for variant in COPIES]
    for copy, other in zip(copies, fresh, strict=True):
        assert (copy.number, copy.digest, copy.error) == (7, first.digest, None)
        assert copy.image is not None
        assert other.image is not None
        assert first.image is not None
        np.testing.assert_array_equal(copy.image.pixels, other.image.pixels)
        assert not np.array_equal(copy.image.pixels, first.image.pixels)


def test_copies_asked_for_at_once_are_made_of_one_decoding(path: Path) -> None:
    """Threads that want copies of a picture that is being decoded wait for it instead of decoding it again."""
    decoder = Decoder()
    decoder.gate.clear()
    one = looks(decoder)
    with ThreadPoolExecutor(len(COPIES)) as threads:
        first = threads.submit(one.look, *asked(path, variant=COPIES[0]))
        assert decoder.begun.acquire(timeout=SECONDS)
        others = [threads.submit(one.look, *asked(path, variant=variant)) for variant in COPIES[1:]]
        again = decoder.begun.acquire(timeout=0.05)
        decoder.gate.set()
        seen = [first.result(SECONDS), *(other.result(SECONDS) for other in others)]

    assert not again
    assert len(decoder.seen) == 1
    assert {one.digest for one in seen} == {seen[0].digest}
    assert all(one.image is not None for one in seen)


def test_a_few_pictures_are_remembered(tmp_path: Path, pictures: Picture, encode: Encode) -> None:
    """Those that came last; an older one is decoded again, and memory does not grow."""
    decoder = Decoder()
    one = looks(decoder)
    paths = [tmp_path / str(number) for number in range(REMEMBERED + 1)]
    for number, path in enumerate(paths):
        path.write_bytes(encode(pictures(40 + number, 40), "PNG"))
        one.look(*asked(path))

    for path in paths[1:]:
        one.look(*asked(path, variant=COPIES[0]))
    assert len(decoder.seen) == len(paths)
    one.look(*asked(paths[0], variant=COPIES[0]))

    assert len(decoder.seen) == len(paths) + 1


def test_a_refused_picture_is_refused_once(path: Path) -> None:
    """What is wrong with the picture is wrong with its copies, which nobody reads again."""
    decoder = Decoder()
    decoder.troubles = [ImageError("the picture is damaged")]
    one = looks(decoder)

    seen = [one.look(*asked(path, variant=variant)) for variant in (None, *COPIES)]

    assert {(each.error, each.permanent, each.image) for each in seen} == {
        ("the picture is damaged", True, None)
    }
    assert len(decoder.seen) == 1


def test_a_picture_without_memory_for_it_is_tried_again(path: Path) -> None:
    """What was short then may not be short later: it is no fault of the picture, which is read anew."""
    decoder = Decoder()
    decoder.troubles = [ImageMemoryError("there is not enough memory to decode it")]
    one = looks(decoder)

    first, second = (one.look(*asked(path, variant=variant)) for variant in (None, *COPIES[:1]))

    assert (first.error, first.permanent) == ("there is not enough memory to decode it", False)
    assert second.error is None


def test_the_disks_trouble_is_not_remembered(path: Path) -> None:
    """What could not be read is read again for the next copy, and remembered from then on."""
    decoder = Decoder()
    decoder.troubles = [OSError(5, "Input/output error"), OSError(5, "Input/output error")]
    one = looks(decoder)

    seen = [one.look(*asked(path, variant=variant)) for variant in (None, *COPIES)]

    assert [(each.error, each.permanent) for each in seen] == [
        *[("the file cannot be read: Input/output error", False)] * 2,
        *[(None, True)] * (len(COPIES) - 1),
    ]
    assert len(decoder.seen) == 3


def test_who_waited_for_the_disks_trouble_reads_for_himself(path: Path) -> None:
    """A copy that was asked for while another one's reading failed may be luckier."""
    decoder = Decoder()
    decoder.gate.clear()
    decoder.troubles = [OSError(5, "Input/output error")]
    one = looks(decoder)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(one.look, *asked(path, variant=COPIES[0]))
        assert decoder.begun.acquire(timeout=SECONDS)
        other = threads.submit(one.look, *asked(path, variant=COPIES[1]))
        decoder.begun.acquire(timeout=0.05)
        decoder.gate.set()

        assert first.result(SECONDS).error == "the file cannot be read: Input/output error"
        assert other.result(SECONDS).error is None


@pytest.mark.parametrize("error", [KeyError("a mistake"), SystemExit(0), MemoryError()])
def test_nobody_waits_for_a_reading_that_went_wrong(path: Path, error: BaseException) -> None:
    """A mistake reaches the thread that made it and those that wait for the same picture; files are closed."""
    decoder = Decoder()
    decoder.gate.clear()
    decoder.troubles = [error]
    one = looks(decoder)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    found: list[BaseException] = []

    def look(variant: Variant) -> None:
        try:
            one.look(*asked(path, variant=variant))
        except BaseException as caught:
            found.append(caught)

    threads = [threading.Thread(target=look, args=(variant,), daemon=True) for variant in COPIES[:3]]
    threads[0].start()
    assert decoder.begun.acquire(timeout=SECONDS)
    for thread in threads[1:]:
        thread.start()
    decoder.gate.set()
    for thread in threads:
        thread.join(SECONDS)

    assert not any(thread.is_alive() for thread in threads)
    assert found
    assert all(caught is error for caught in found)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_without_a_digest_the_pixels_are_the_same(
    kind: str, orientation: int, tmp_path: Path, pictures: Picture, encode: Encode
) -> None:
    """None is made when none is wanted, and nothing is left out of the file then; it is seen alike all the same."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "a camera"
    data = encode(pictures(60, 40), kind, exif=tags)
    path = tmp_path / "p"
    path.write_bytes(data)
    decoder = Decoder()

    plain = looks(decoder).look(*asked(path, digest=False))
    known = looks(decoder).look(*asked(path))

    assert (plain.digest, known.digest) == ("", hashlib.sha256(without_metadata(data)).hexdigest())
    assert decoder.seen == [data, without_metadata(data)]
    assert plain.image is not None
    assert known.image is not None
    assert (plain.image.width, plain.image.height) == ((40, 60) if orientation == 6 else (60, 40))
    assert (known.image.width, known.image.height) == (plain.image.width, plain.image.height)
    np.testing.assert_array_equal(plain.image.pixels, known.image.pixels)


def test_a_copy_needs_the_digest_even_where_nobody_wants_it(path: Path) -> None:
    """A copy is changed by what the picture's digest says, so it is the same one with and without."""
    with_digest = looks().look(*asked(path, variant=COPIES[0]))
    without = looks().look(*asked(path, variant=COPIES[0], digest=False))

    assert with_digest.image is not None
    assert without.image is not None
    np.testing.assert_array_equal(with_digest.image.pixels, without.image.pixels)


def test_a_file_that_was_written_in_between_is_another_one(
    path: Path, pictures: Picture, encode: Encode
) -> None:
    """Its copies are made of what it holds now, though it has the same name, place and length."""
    data = encode(pictures(64, 64), "BMP")
    other = encode(pictures(64, 64).transpose(Image.Transpose.ROTATE_180), "BMP")
    assert len(data) == len(other)
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    one = looks()
    before = one.look(*asked(path))
    path.write_bytes(other)
    os.utime(path, ns=(2, 2))

    after = one.look(*asked(path, variant=COPIES[0]))

    assert before.digest == hashlib.sha256(data).hexdigest()
    assert after.digest == hashlib.sha256(other).hexdigest()


def test_a_picture_without_copies_is_read_each_time(path: Path) -> None:
    """Only copies are made of what is remembered: who asks for the picture itself has it read."""
    decoder = Decoder()
    one = looks(decoder)

    one.look(*asked(path))
    one.look(*asked(path))

    assert len(decoder.seen) == 2


def test_a_file_that_grows_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    """However long it says it is, no more is read than the limit allows."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * 100)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert read_whole(fd, PicturesConfig(max_file_bytes=100)) == b"x" * 100
        with pytest.raises(ImageError, match="the limit is 99"):
            read_whole(fd, PicturesConfig(max_file_bytes=99))
    finally:
        os.close(fd)
    fd = os.open("/proc/self/maps", os.O_RDONLY)  # says that it has no bytes, and has many
    try:
        with pytest.raises(ImageError, match="the limit is 99"):
            read_whole(fd, PicturesConfig(max_file_bytes=99))
    finally:
        os.close(fd)
