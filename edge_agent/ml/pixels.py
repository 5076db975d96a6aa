"""This is where a picture in memory has a size and a pixel format and cannot change any more."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.members import member_of


class MLPixelFormat(IntEnum):
    """How pixels are stored, with the raw values of the colour spaces in Apple's model format."""

    GRAYSCALE = 10
    """uint8 [height, width]."""
    RGB = 20
    """uint8 [height, width, 3]."""
    BGR = 30
    """uint8 [height, width, 3], blue first."""
    GRAYSCALE_FLOAT16 = 40
    """float16 [height, width], 0 to 255 as grey is."""


class PixelBuffer:
    """A picture: read-only `pixels`, upright, in a known format. What Apple calls a `CVPixelBuffer`.

    `pixels` is copied. `pixel_format` None takes RGB for uint8 [height, width, 3], GRAYSCALE for uint8
    [height, width] and GRAYSCALE_FLOAT16 for float16 [height, width]. Two buffers are equal only when they
    are the same object: to compare what they show, compare `pixels`.

    Raises `MLModelError` FEATURE_TYPE for anything else, for an empty array and for numbers that are not
    finite.
    """

    __slots__ = ("_format", "_pixels")

    def __init__(self, pixels: object, pixel_format: MLPixelFormat | int | None = None) -> None:
        if not isinstance(pixels, np.ndarray):
            raise _refused(f"a picture needs an array of pixels, not {type(pixels).__name__}")
        own = _format_of(pixels)
        wanted = own if pixel_format is None else pixel_format_of(pixel_format)
        # RGB and BGR look alike from outside, so only the caller can tell them apart.
        if own is None or wanted is None or (wanted is not own and {wanted, own} != {_RGB, _BGR}):
            name = "any pixel format" if pixel_format is None or wanted is None else wanted.name
            raise _refused(f"pixels {pixels.dtype} of shape {pixels.shape} are not {name}")
        if pixels.dtype == np.float16 and not np.isfinite(pixels).all():
            raise _refused("a pixel is not a finite number")
        copied = np.array(pixels, order="C", subok=False)
        copied.setflags(write=False)
        self._pixels = copied
        self._format = wanted

    @property
    def pixels(self) -> NDArray[Any]:
        """The array, read-only, as `pixel_format` says."""
        return self._pixels

    @property
    def pixel_format(self) -> MLPixelFormat:
        """How the pixels are stored."""
        return self._format

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self._pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self._pixels.shape[0])

    def __repr__(self) -> str:
        return f"PixelBuffer({self.width} x {self.height} {self._format.name})"


_RGB, _BGR = MLPixelFormat.RGB, MLPixelFormat.BGR


def pixel_format_of(given: object) -> MLPixelFormat:
    """A pixel format by itself or by its raw value; raises `MLModelError` FEATURE_TYPE for another."""
    found = member_of(MLPixelFormat, given)
    if found is None:
        known = ", ".join(one.name for one in MLPixelFormat)
        raise _refused(f"{given!r} is no pixel format; known are {known}")
    return found


def _format_of(pixels: NDArray[Any]) -> MLPixelFormat | None:
    if pixels.size == 0:
        return None
    if pixels.dtype == np.float16:
        return MLPixelFormat.GRAYSCALE_FLOAT16 if pixels.ndim == 2 else None
    if pixels.dtype != np.uint8:
        return None
    if pixels.ndim == 2:
        return MLPixelFormat.GRAYSCALE
    return _RGB if pixels.ndim == 3 and pixels.shape[2] == 3 else None


def _refused(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.FEATURE_TYPE, message)
