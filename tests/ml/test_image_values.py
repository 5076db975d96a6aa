"""Checklist 49 to 51: pictures from files and from memory as feature values."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from edge_agent.config import PicturesConfig
from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.constraints import MLImageConstraint
from edge_agent.ml.description import MLFeatureDescription
from edge_agent.ml.features import MLFeatureType
from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer
from edge_agent.vision.image_values import (
    CropAndScale,
    ImageOption,
    ImageOrientation,
    image_value,
    image_value_at,
)

RED, GREEN, BLUE, GREY, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (80, 80, 80), (0, 0, 0)

QUARTERS = np.zeros((4, 6, 3), np.uint8)
QUARTERS[:2, :3], QUARTERS[:2, 3:], QUARTERS[2:, :3], QUARTERS[2:, 3:] = RED, GREEN, BLUE, GREY
"""6 x 4: red and green above, blue and grey below."""

STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}
"""How a camera held that way stores an upright picture."""


@pytest.fixture(name="saved")
def _saved(tmp_path):
    """Saves pixels as a PNG that says how the camera was held."""

    def save(pixels, orientation=None):
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        path = tmp_path / f"picture{orientation}.png"
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=exif)
        return path

    return save


def shown(value):
    """The pixels of a value."""
    return value.image_buffer_value.pixels


def test_checklist_49_from_a_file_or_memory_by_constraint_or_size(saved):
    """Four ways to the same picture; it is what the description of a feature with that constraint allows."""
    constraint = MLImageConstraint(6, 4)
    path = saved(QUARTERS)
    values = [
        image_value_at(path, constraint=constraint),
        image_value_at(str(path), pixels_wide=6, pixels_high=4),
        image_value(QUARTERS, constraint=constraint),
        image_value(PixelBuffer(QUARTERS), pixels_wide=6, pixels_high=4, pixel_format=MLPixelFormat.RGB),
    ]
    description = MLFeatureDescription("picture", MLFeatureType.IMAGE, image_constraint=constraint)

    for value in values:
        assert description.is_allowed_value(value)
        assert np.array_equal(shown(value), QUARTERS)
    assert values[0] != values[1]


def test_checklist_49_formats():
    """Grey by the weights of television, BGR with blue first, float16 grey, and back from each."""
    make = {
        one: image_value(QUARTERS, pixels_wide=6, pixels_high=4, pixel_format=one) for one in MLPixelFormat
    }

    assert shown(make[MLPixelFormat.BGR])[0, 0].tolist() == [0, 0, 255]
    assert shown(make[MLPixelFormat.GRAYSCALE])[0, [0, -1]].tolist() == [76, 150]
    assert shown(make[MLPixelFormat.GRAYSCALE_FLOAT16]).dtype == np.float16
    assert shown(make[MLPixelFormat.GRAYSCALE_FLOAT16])[-1, -1] == 80.0
    for pixel_format, value in make.items():
        buffer = value.image_buffer_value
        again = shown(image_value(buffer, pixels_wide=6, pixels_high=4))
        assert buffer.pixel_format is pixel_format
        assert again[-1, -1].tolist() == list(GREY)
        assert (again[0, 0].tolist() == list(RED)) is (pixel_format in (MLPixelFormat.RGB, MLPixelFormat.BGR))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pixels_wide": 3},
        {"constraint": MLImageConstraint(1, 1), "pixels_wide": 3},
        {"constraint": (3, 3)},
        {"pixels_wide": 0, "pixels_high": 3},
        {"constraint": MLImageConstraint(1, 1), "options": {"crop": (0, 0, 1, 1)}},
        {"constraint": MLImageConstraint(1, 1), "options": [1]},
        {"constraint": MLImageConstraint(1, 1), "orientation": 9},
        {"constraint": MLImageConstraint(1, 1), "orientation": "up"},
    ],
)
def test_checklist_49_bad_wishes_are_refused(saved, options):
    """Too little, too much or nonsense, for files and for memory alike, before anything is read."""
    for make in (
        lambda: image_value_at(saved(QUARTERS), **options),
        lambda: image_value(QUARTERS, **options),
    ):
        with pytest.raises(MLModelError) as caught:
            make()
        assert caught.value.code is MLModelErrorCode.GENERIC


def test_checklist_49_files_that_are_no_pictures_are_named(tmp_path, saved):
    """Missing, not a picture, too large, a folder, an impossible path: IO, with the path in the text."""
    (tmp_path / "text.png").write_text("no picture")
    constraint = MLImageConstraint(2, 2)
    small = PicturesConfig(max_megapixels=0.00001)
    for path, limits, says in [
        (tmp_path / "missing.png", None, "missing.png: No such file"),
        (tmp_path / "text.png", None, "text.png: not a picture"),
        (saved(QUARTERS), small, "megapixels"),
        (saved(QUARTERS), PicturesConfig(max_file_bytes=10), "limit is 10"),
        (tmp_path, None, "directory"),
        ("a\0b", None, "null byte"),
    ]:
        with pytest.raises(MLModelError, match=says) as caught:
            image_value_at(path, constraint=constraint, limits=limits)
        assert caught.value.code is MLModelErrorCode.IO
    with pytest.raises(MLModelError, match="a path is expected"):
        image_value_at(3, constraint=constraint)
    with pytest.raises(MLModelError, match="picture needs"):
        image_value([[1]], constraint=constraint)


@pytest.mark.parametrize("orientation", STORED)
def test_checklist_50_the_files_orientation_is_honoured(saved, orientation):
    """However the camera was held, the value is upright."""
    path = saved(STORED[orientation](QUARTERS), orientation)

    assert np.array_equal(shown(image_value_at(path, pixels_wide=6, pixels_high=4)), QUARTERS)


@pytest.mark.parametrize("orientation", ImageOrientation)
def test_checklist_50_an_explicit_orientation_goes_before_the_file(saved, orientation):
    """What the file says does not matter then; in memory it is the only way to say it."""
    stored = STORED[orientation](QUARTERS)
    for value in (
        image_value_at(saved(stored, 3), pixels_wide=6, pixels_high=4, orientation=orientation),
        image_value(stored, pixels_wide=6, pixels_high=4, orientation=int(orientation)),
    ):
        assert np.array_equal(shown(value), QUARTERS)


def test_checklist_50_memory_is_upright():
    """A picture in memory is taken as it is."""
    turned = np.rot90(QUARTERS)

    assert np.array_equal(shown(image_value(turned, pixels_wide=4, pixels_high=6)), turned)


def test_checklist_51_the_region_is_a_share_of_the_upright_picture(saved):
    """The same quarter, whether the file lies on its side or not, and all of it in the size wanted."""
    options = {ImageOption.CROP_RECT: (0.5, 0.0, 0.5, 0.5)}
    for orientation in (1, 6):
        path = saved(STORED[orientation](QUARTERS), orientation)
        value = image_value_at(path, pixels_wide=5, pixels_high=5, options=options)
        assert (shown(value) == GREEN).all()
    value = image_value(QUARTERS, pixels_wide=3, pixels_high=2, options={"crop_rect": [0, 0.5, 0.5, 0.5]})
    assert (shown(value) == BLUE).all()


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (CropAndScale.CENTER_CROP, [[RED, RED, GREEN, GREEN], [BLUE, BLUE, GREY, GREY]]),
        ("scale_fill", [[RED, RED, GREEN, GREEN], [BLUE, BLUE, GREY, GREY]]),
        (
            CropAndScale.SCALE_FIT,
            [[BLACK] * 4, [RED, RED, GREEN, GREEN], [BLUE, BLUE, GREY, GREY], [BLACK] * 4],
        ),
    ],
)
def test_checklist_51_ways_to_come_to_a_size(way, expected):
    """A wide picture in a square: sides cut off, squeezed, or black above and below."""
    wide = np.repeat(np.repeat(QUARTERS, 8, axis=0), 16, axis=1)[:, :64]  # 64 x 32: red and blue 48 wide
    wide = np.concatenate([wide[:, 16:48], wide[:, 48:], wide[:, 48:]], axis=1)  # colours meet in the middle
    value = image_value(wide, pixels_wide=32, pixels_high=32, options={"crop_and_scale": way})
    pixels = shown(value)
    rows = len(expected)
    step = 32 // rows
    for row, colours in enumerate(expected):
        for column, colour in enumerate(colours):
            assert pixels[row * step + step // 2, column * 8 + 4].tolist() == list(colour), (row, column)


def test_checklist_51_the_centre_is_cut_from_the_longer_side():
    """Bands at both ends of the longer side are gone, in wide and in high pictures; squeezed they stay."""
    striped = np.full((10, 30, 3), 200, np.uint8)
    striped[:, :9] = striped[:, -9:] = 0
    for picture in (striped, striped.swapaxes(0, 1)):
        cut = image_value(picture, pixels_wide=10, pixels_high=10, options={"crop_and_scale": "center_crop"})
        squeezed = image_value(picture, pixels_wide=10, pixels_high=10)
        assert shown(cut).min() == 200
        assert shown(squeezed).min() == 0


def test_checklist_51_first_the_region_then_the_size():
    """The region's own proportions are the ones that are fitted."""
    options = {"crop_rect": (0.0, 0.0, 0.5, 1.0), "crop_and_scale": 1}
    pixels = shown(image_value(QUARTERS, pixels_wide=8, pixels_high=8, options=options))  # a region of 3 x 4

    assert (pixels[:, 0] == 0).all()
    assert (pixels[:, -1] == 0).all()
    assert (pixels[0, 1:7] == RED).all()
    assert (pixels[7, 1:7] == BLUE).all()


@pytest.mark.parametrize(
    "options",
    [
        {"crop_rect": (0, 0, 1.1, 1)},
        {"crop_rect": (-0.1, 0, 0.5, 1)},
        {"crop_rect": (0, 0, 0, 1)},
        {"crop_rect": (0, 0, float("nan"), 1)},
        {"crop_rect": (0, 0, 1)},
        {"crop_rect": "0011"},
        {"crop_rect": None},
        {"crop_and_scale": "stretch"},
        {"crop_and_scale": 3},
        {"crop_and_scale": True},
        {"crop_and_scale": "1"},
    ],
)
def test_checklist_51_bad_options_are_refused(options):
    """A region outside the picture, an empty one, an unknown way."""
    with pytest.raises(MLModelError, match="crop_") as caught:
        image_value(QUARTERS, pixels_wide=2, pixels_high=2, options=options)
    assert caught.value.code is MLModelErrorCode.GENERIC


def test_a_pipe_is_no_picture(tmp_path):
    """It is refused at once; nobody waits for what may never be written to it."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(MLModelError, match="not a regular file") as caught:
        image_value_at(tmp_path / "pipe.png", pixels_wide=3, pixels_high=3)
    assert caught.value.code is MLModelErrorCode.IO
