"""This is where pictures, from files or from memory, become feature values as a model wants them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from numbers import Real
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import PicturesConfig
from edge_agent.errors import ImageError, MLModelError, MLModelErrorCode
from edge_agent.ml.constraints import MLImageConstraint
from edge_agent.ml.members import member_of
from edge_agent.ml.package import opened_file
from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer
from edge_agent.ml.values import MLFeatureValue
from edge_agent.vision.images import decode_upright, resize_region

__all__ = [
    "CropAndScale",
    "ImageOption",
    "ImageOrientation",
    "image_value",
    "image_value_at",
]

Region = tuple[float, float, float, float]
"""x, y of the upper left corner, width and height."""

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


class ImageOrientation(IntEnum):
    """How the camera was held, with the values of EXIF, which are also Apple's `CGImagePropertyOrientation`."""

    UP = 1
    UP_MIRRORED = 2
    DOWN = 3
    DOWN_MIRRORED = 4
    LEFT_MIRRORED = 5
    RIGHT = 6
    RIGHT_MIRRORED = 7
    LEFT = 8


class CropAndScale(IntEnum):
    """How a picture of other proportions comes to the size wanted; Apple's `VNImageCropAndScaleOption`."""

    CENTER_CROP = 0
    """Fills the size; what protrudes on two sides is cut off equally."""
    SCALE_FIT = 1
    """All of it is seen; black on two sides."""
    SCALE_FILL = 2
    """All of it is seen and fills the size; proportions change."""


class ImageOption(Enum):
    """The keys of `options`."""

    CROP_RECT = "crop_rect"
    """(x, y, width, height) of the part to use, as shares (0 to 1) of the upright picture."""
    CROP_AND_SCALE = "crop_and_scale"
    """A `CropAndScale`, its raw value or its name in small letters."""


@dataclass(frozen=True)
class _Wish:
    width: int
    height: int
    pixel_format: MLPixelFormat
    crop_rect: Region
    crop_and_scale: CropAndScale


def image_value_at(
    path: Path | str,
    *,
    constraint: MLImageConstraint | None = None,
    pixels_wide: int | None = None,
    pixels_high: int | None = None,
    pixel_format: MLPixelFormat | None = None,
    orientation: ImageOrientation | int | None = None,
    options: Mapping[ImageOption | str, object] | None = None,
    limits: PicturesConfig | None = None,
) -> MLFeatureValue:
    """A picture from a file, of the size and format of `constraint` or of the three that say so themselves.

    It is turned upright as its EXIF data says, or as `orientation` says, which goes before the file. Then it
    is cut to the option `crop_rect`, then scaled as `crop_and_scale` says (`scale_fill` unless given).
    `limits` are those of the agent's pictures.

    Raises `MLModelError`, naming the file: IO where it cannot be read or decoded, FEATURE_TYPE or GENERIC for
    a bad size, format, orientation or option.
    """
    wish = _wish(constraint, pixels_wide, pixels_high, pixel_format, options)
    turn = None if orientation is None else _orientation(orientation)
    if not isinstance(path, Path | str):
        raise _bad(f"a path is expected, not {type(path).__name__}")
    limits = limits or PicturesConfig()
    try:
        with opened_file(Path(path)) as file:
            data = file.read(limits.max_file_bytes + 1)
        pixels = decode_upright(data, limits=limits, orientation=turn)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except ValueError as error:  # a zero byte in the path
        raise _unreadable(path, str(error)) from error
    except ImageError as error:
        raise _unreadable(path, str(error)) from error
    return _value(pixels, wish)


def image_value(
    pixels: NDArray[np.uint8] | PixelBuffer,
    *,
    constraint: MLImageConstraint | None = None,
    pixels_wide: int | None = None,
    pixels_high: int | None = None,
    pixel_format: MLPixelFormat | None = None,
    orientation: ImageOrientation | int = ImageOrientation.UP,
    options: Mapping[ImageOption | str, object] | None = None,
) -> MLFeatureValue:
    """A picture from memory: uint8 [height, width, 3] RGB, uint8 [height, width] grey, or a buffer.

    Upright unless `orientation` says otherwise; the rest as for `image_value_at`. Raises `MLModelError`
    FEATURE_TYPE for what is no picture, FEATURE_TYPE or GENERIC for a bad size, format or option.
    """
    wish = _wish(constraint, pixels_wide, pixels_high, pixel_format, options)
    buffer = pixels if isinstance(pixels, PixelBuffer) else PixelBuffer(pixels)
    plain = buffer.pixels
    if buffer.pixel_format is MLPixelFormat.BGR:
        plain = plain[:, :, ::-1]
    if buffer.pixel_format is MLPixelFormat.GRAYSCALE_FLOAT16:
        plain = np.clip(np.rint(plain.astype(np.float32)), 0, 255).astype(np.uint8)
    return _value(_turned(plain, _orientation(orientation)), wish)


def _wish(
    constraint: MLImageConstraint | None,
    pixels_wide: int | None,
    pixels_high: int | None,
    pixel_format: MLPixelFormat | None,
    options: Mapping[ImageOption | str, object] | None,
) -> _Wish:
    """What is wanted, checked."""
    given = (pixels_wide, pixels_high, pixel_format)
    if constraint is None:
        if pixels_wide is None or pixels_high is None:
            raise _bad("give a constraint, or pixels_wide and pixels_high")
        constraint = MLImageConstraint(
            pixels_wide, pixels_high, MLPixelFormat.RGB if pixel_format is None else pixel_format
        )
    elif given != (None, None, None):
        raise _bad("give a constraint or a size and format, not both")
    elif not isinstance(constraint, MLImageConstraint):
        raise _bad(f"an MLImageConstraint is expected, not {type(constraint).__name__}")
    rect, way = WHOLE, CropAndScale.SCALE_FILL
    if not isinstance(options, Mapping | None):
        raise _bad(f"options are a mapping, not {type(options).__name__}")
    for key, value in (options or {}).items():
        if _option(key) is ImageOption.CROP_RECT:
            rect = _crop_rect(value)
        else:
            way = _crop_and_scale(value)
    return _Wish(constraint.pixels_wide, constraint.pixels_high, constraint.pixel_format, rect, way)


def _option(key: object) -> ImageOption:
    found = member_of(ImageOption, key)
    if found is None:
        known = ", ".join(one.value for one in ImageOption)
        raise _bad(f"there is no option {key!r}; there are {known}")
    return found


def _crop_and_scale(value: object) -> CropAndScale:
    by_name = {one.name.lower(): one for one in CropAndScale}
    found = by_name.get(value) if isinstance(value, str) else member_of(CropAndScale, value)
    if found is None:
        known = ", ".join(by_name)
        raise _bad(f"crop_and_scale is one of {known}, not {value!r}")
    return found


def _crop_rect(value: object) -> Region:
    numbers = value if isinstance(value, tuple | list) else ()
    if len(numbers) != 4 or not all(isinstance(one, Real) and not isinstance(one, bool) for one in numbers):
        raise _bad(f"crop_rect is (x, y, width, height), not {value!r}")
    x, y, width, height = numbers
    # A part that ends at the edge may protrude by what rounding adds.
    inside = x >= 0 and y >= 0 and x + width <= 1 + 1e-9 and y + height <= 1 + 1e-9
    if not (inside and width > 0 and height > 0):  # also false for what is not a number
        raise _bad(f"crop_rect {value!r} is not a part of the picture, whose sides are 1")
    return float(x), float(y), float(width), float(height)


def _orientation(value: object) -> int:
    found = member_of(ImageOrientation, value)
    if found is None:
        raise _bad(f"an orientation is a number from 1 to 8, not {value!r}")
    return int(found)


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Upright pixels. 5 to 8 are the four of 1 to 4 with rows and columns exchanged."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
        # Beginning at the first column, and whether from left or right, is what is left to undo.
        orientation = {5: 1, 6: 2, 7: 3, 8: 4}[orientation]
    if orientation in (2, 3):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4):
        pixels = pixels[::-1]
    return pixels


def _value(pixels: NDArray[np.uint8], wish: _Wish) -> MLFeatureValue:
    """Upright RGB or grey pixels, cut and scaled."""
    height, width = pixels.shape[:2]
    x, y, part_width, part_height = wish.crop_rect
    box = x * width, y * height, part_width * width, part_height * height
    canvas = wish.width, wish.height
    inner = canvas
    if wish.crop_and_scale is CropAndScale.CENTER_CROP:
        box = _centered(box, wish.width / wish.height)
    elif wish.crop_and_scale is CropAndScale.SCALE_FIT:
        scale = min(wish.width / box[2], wish.height / box[3])
        inner = max(1, round(box[2] * scale)), max(1, round(box[3] * scale))
        inner = min(inner[0], canvas[0]), min(inner[1], canvas[1])
    scaled = resize_region(np.ascontiguousarray(pixels), box, inner, grey=wish.pixel_format in _GREY)
    if inner != canvas:
        whole = np.zeros((wish.height, wish.width, *scaled.shape[2:]), dtype=np.uint8)
        left, top = (canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2
        whole[top : top + inner[1], left : left + inner[0]] = scaled
        scaled = whole
    if wish.pixel_format is MLPixelFormat.BGR:
        scaled = scaled[:, :, ::-1]
    if wish.pixel_format is MLPixelFormat.GRAYSCALE_FLOAT16:
        return MLFeatureValue(pixel_buffer=PixelBuffer(scaled.astype(np.float16), wish.pixel_format))
    return MLFeatureValue(pixel_buffer=PixelBuffer(scaled, wish.pixel_format))


_GREY = (MLPixelFormat.GRAYSCALE, MLPixelFormat.GRAYSCALE_FLOAT16)


def _centered(box: Region, proportion: float) -> Region:
    """The largest part of a box, in its middle, whose width is `proportion` times its height."""
    x, y, width, height = box
    inner_width, inner_height = min(width, height * proportion), min(height, width / proportion)
    if math.isclose(inner_width, width):
        return x, y + (height - inner_height) / 2, width, inner_height
    return x + (width - inner_width) / 2, y, inner_width, height


def _bad(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.GENERIC, message)


def _unreadable(path: object, problem: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.IO, f"{path}: {problem}")
