"""Thumbnails: of the right shape, made elsewhere, and none for what cannot be shown."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from edge_agent.config import PicturesConfig
from edge_agent.vision.images import difference_hash, thumbnail
from edge_agent.vision.thumbnails import difference_hashes, thumbnails


def write(path: Path, size: tuple[int, int] = (300, 200), **how: object) -> Path:
    """A picture, red on the left and blue on the right."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2, 0] = 255
    pixels[:, size[0] // 2 :, 2] = 255
    Image.fromarray(pixels).save(path, **how)
    return path


def opened(jpeg: bytes) -> Image.Image:
    """The pixels of a thumbnail."""
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return image


def test_a_thumbnail_keeps_the_proportions(tmp_path):
    """96 pixels on the longer side, the other one in proportion, and the same picture."""
    small = opened(thumbnail(write(tmp_path / "a.png").read_bytes(), limits=PicturesConfig(), side=96))

    assert small.size == (96, 64)
    red, _, blue = small.getpixel((10, 32))
    assert red > 200
    assert blue < 60


def test_a_thumbnail_is_upright_and_never_enlarged(tmp_path):
    """A camera held sideways gives a picture of swapped sides; a small one stays as small as it is."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = write(tmp_path / "a.jpg", (300, 200), exif=exif).read_bytes()

    assert opened(thumbnail(turned, limits=PicturesConfig(), side=96)).size == (64, 96)
    tiny = write(tmp_path / "b.png", (20, 10)).read_bytes()
    assert opened(thumbnail(tiny, limits=PicturesConfig(), side=96)).size == (20, 10)


def test_what_cannot_be_shown_is_left_out_and_the_others_are_made(tmp_path):
    """No file, no picture, a folder, a pipe that nobody writes to: none of them stops the others."""
    good = [write(tmp_path / "a.jpg"), write(tmp_path / "z.png")]
    (tmp_path / "text.jpg").write_text("no picture")
    os.mkfifo(tmp_path / "pipe.jpg")
    bad = [tmp_path / "gone.jpg", tmp_path / "text.jpg", tmp_path, tmp_path / "pipe.jpg"]

    found = thumbnails([good[0], *bad, good[1], good[0]])

    assert sorted(found) == good
    assert all(max(opened(one).size) == 96 for one in found.values())


def test_a_name_that_is_no_text_is_found(tmp_path):
    """Linux allows any bytes in a name."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.png"))
    write(tmp_path / "a.png").rename(path)

    assert list(thumbnails([path])) == [path]


def test_a_picture_that_ends_the_child_is_left_out(tmp_path, monkeypatch):
    """The pictures before and behind it are made all the same, by another child."""
    (tmp_path / "fragile_maker.py").write_text(
        "import os, sys\n"
        "from edge_agent.vision import thumbnail_maker\n"
        "real = thumbnail_maker.thumbnail\n"
        "def fragile(data, **given):\n"
        "    if data == b'deadly':\n"
        "        os.abort()\n"
        "    return real(data, **given)\n"
        "thumbnail_maker.thumbnail = fragile\n"
        "sys.exit(thumbnail_maker.main())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    good = [write(tmp_path / f"{name}.png") for name in "abc"]
    deadly = tmp_path / "d.png"
    deadly.write_bytes(b"deadly")

    found = thumbnails([good[0], deadly, good[1], deadly, good[2]], module="fragile_maker")

    assert sorted(found) == good


def test_nothing_is_loaded_into_the_process_that_asks(tmp_path):
    """Asking for thumbnails brings neither Pillow nor a runtime into the process."""
    path = write(tmp_path / "a.png")
    code = (
        "import sys; from pathlib import Path; from edge_agent.vision.thumbnails import thumbnails;"
        f"assert thumbnails([Path({str(path)!r})]);"
        "assert not {'PIL', 'ai_edge_litert', 'tflite_runtime'} & set(sys.modules)"
    )
    places = os.pathsep.join(map(os.path.abspath, sys.path))

    assert (
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": places}).returncode == 0
    )


def test_a_hash_hardly_changes_with_the_picture(tmp_path):
    """Re-encoded, scaled, brightened, blurred, made grey: five bits at most; another picture: many more."""
    rng = np.random.default_rng(0)

    def scene():
        fields = rng.integers(0, 255, size=(12, 16, 3)).astype(np.uint8)
        return Image.fromarray(fields).resize((320, 240), Image.Resampling.BICUBIC)

    one, other = scene(), scene()
    changed = {
        "quality.jpg": one,
        "small.png": one.resize((160, 120), Image.Resampling.BILINEAR),
        "bright.png": ImageEnhance.Brightness(one).enhance(1.2),
        "blur.png": one.filter(ImageFilter.GaussianBlur(3)),
        "grey.png": one.convert("L"),
    }
    one.save(tmp_path / "one.png")
    other.save(tmp_path / "other.png")
    for name, picture in changed.items():
        picture.save(tmp_path / name, quality=30)
    (tmp_path / "text.jpg").write_text("no picture")

    found = difference_hashes(sorted(tmp_path.iterdir()))

    assert set(found) == {tmp_path / name for name in [*changed, "one.png", "other.png"]}
    apart = {path.name: (value ^ found[tmp_path / "one.png"]).bit_count() for path, value in found.items()}
    assert max(apart[name] for name in changed) <= 5, apart
    assert apart["other.png"] > 15


def test_the_bits_are_those_of_darker_left_neighbours():
    """Sixty-four comparisons, row by row, the first is the most significant bit."""
    brightening = np.tile(np.linspace(0, 250, 90).astype(np.uint8), (80, 1))
    file = io.BytesIO()
    Image.fromarray(brightening).save(file, "PNG")

    assert difference_hash(file.getvalue(), limits=PicturesConfig()) == 2**64 - 1
    brightening[:16] = 0
    file = io.BytesIO()
    Image.fromarray(brightening).save(file, "PNG")
    assert difference_hash(file.getvalue(), limits=PicturesConfig()) == 2**56 - 1
