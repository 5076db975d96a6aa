"""This is where it is written down which sizes, shapes, types and counts a value may have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.members import is_listed, member_of
from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer, pixel_format_of
from edge_agent.ml.values import MLFeatureType, MLFeatureValue

if TYPE_CHECKING:
    from edge_agent.ml.description import MLFeatureDescription

Span = tuple[int, int | None]
"""The least and the greatest count allowed, both included; None is without end."""

_ANY: Span = (1, None)


class MLMultiArrayDataType(IntEnum):
    """The numbers of an array, with Apple's raw values."""

    INT8 = 0x20000 | 8
    INT32 = 0x20000 | 32
    FLOAT16 = 0x10000 | 16
    FLOAT32 = 0x10000 | 32
    DOUBLE = 0x10000 | 64
    # Apple's other names for two of them:
    FLOAT = FLOAT32
    FLOAT64 = DOUBLE

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of such an array."""
        return np.dtype("float64" if self is MLMultiArrayDataType.DOUBLE else self.name.lower())


class MLMultiArrayShapeConstraintType(IntEnum):
    """How shapes are limited, with Apple's raw values."""

    UNSPECIFIED = 1
    ENUMERATED = 2
    RANGE = 3


class MLImageSizeConstraintType(IntEnum):
    """How sizes of pictures are limited, with Apple's raw values."""

    UNSPECIFIED = 0
    ENUMERATED = 2
    RANGE = 3


def _bad(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.GENERIC, message)


def _expect(value: object, wanted: type) -> None:
    if not isinstance(value, wanted):
        raise _bad(f"expected {wanted.__name__}, got {type(value).__name__}")


def _member(kind: Any, value: object) -> Any:
    found = member_of(kind, value)
    if found is None:
        raise _bad(f"{value!r} is no {kind.__name__}")
    return found


def _listed(value: Any, what: str) -> tuple[Any, ...]:
    if not is_listed(value):
        raise _bad(f"{what} must be listed, not {type(value).__name__}")
    return tuple(value)


def _count(value: object, what: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise _bad(f"{what} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def _shape(value: object) -> tuple[int, ...]:
    return tuple(_count(size, "a dimension", least=1) for size in _listed(value, "a shape"))


def _span(value: object) -> Span:
    ends = _listed(value, "a range")
    if len(ends) != 2:
        raise _bad(f"a range has a least and a greatest number, not {value!r}")
    low = _count(ends[0], "the least number", least=0)
    return low, None if ends[1] is None else _count(ends[1], "the greatest number", least=low)


def _within(count: int, span: Span) -> bool:
    return span[0] <= count and (span[1] is None or count <= span[1])


def _shown(span: Span) -> str:
    return f"at least {span[0]}" if span[1] is None else f"{span[0]} to {span[1]}"


@dataclass(frozen=True)
class MLMultiArrayShapeConstraint:
    """The shapes allowed: one of `enumerated_shapes`, or each dimension within its range; or no more than
    what the array's constraint says itself. The `type` follows from what is given.

    Raises `MLModelError` GENERIC for both at once and for what is no shape or no range.
    """

    enumerated_shapes: tuple[tuple[int, ...], ...] = ()
    size_range_for_dimension: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        shapes = tuple(_shape(one) for one in _listed(self.enumerated_shapes, "enumerated_shapes"))
        ranges = tuple(_span(one) for one in _listed(self.size_range_for_dimension, "ranges of dimensions"))
        if shapes and ranges:
            raise _bad("shapes are limited by a list or by ranges, not by both")
        object.__setattr__(self, "enumerated_shapes", shapes)
        object.__setattr__(self, "size_range_for_dimension", ranges)

    @property
    def type(self) -> MLMultiArrayShapeConstraintType:
        """Which of the ways of limiting this is."""
        if self.enumerated_shapes:
            return MLMultiArrayShapeConstraintType.ENUMERATED
        if self.size_range_for_dimension:
            return MLMultiArrayShapeConstraintType.RANGE
        return MLMultiArrayShapeConstraintType.UNSPECIFIED

    def allows(self, shape: tuple[int, ...], required: tuple[int, ...]) -> bool:
        """Whether a shape is allowed; `required` counts where nothing else is said, () is any shape."""
        if self.enumerated_shapes:
            return shape in self.enumerated_shapes
        ranges = self.size_range_for_dimension
        if ranges:
            return len(shape) == len(ranges) and all(map(_within, shape, ranges))
        return not required or shape == required


@dataclass(frozen=True)
class MLMultiArrayConstraint:
    """Shape and type of an array. `shape` is required, or the default where `shape_constraint` allows more.

    With `converts` arrays of every type of number are taken and converted to `data_type`; without, exactly
    that type. Raises `MLModelError` GENERIC for what is no shape or no data type, and for a default shape
    that is not allowed.
    """

    shape: tuple[int, ...] = ()
    data_type: MLMultiArrayDataType = MLMultiArrayDataType.FLOAT32
    shape_constraint: MLMultiArrayShapeConstraint = MLMultiArrayShapeConstraint()
    converts: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _shape(self.shape))
        object.__setattr__(self, "data_type", _member(MLMultiArrayDataType, self.data_type))
        _expect(self.shape_constraint, MLMultiArrayShapeConstraint)
        if self.shape and not self.shape_constraint.allows(self.shape, self.shape):
            raise _bad(f"the default shape {self.shape} is not among the shapes allowed")

    def problem(self, value: MLFeatureValue) -> str | None:
        """What is wrong with an array, or None."""
        array: NDArray[Any] = value.multi_array_value
        if not self.converts and array.dtype != self.data_type.dtype:
            return f"an array of {array.dtype}, expected {self.data_type.dtype}"
        if not self.shape_constraint.allows(array.shape, self.shape):
            return f"an array of shape {array.shape}, expected {self._expected()}"
        return None

    def _expected(self) -> str:
        limit = self.shape_constraint
        if limit.enumerated_shapes:
            return f"one of {', '.join(map(str, limit.enumerated_shapes))}"
        if limit.size_range_for_dimension:
            return f"dimensions of {', '.join(map(_shown, limit.size_range_for_dimension))}"
        return f"an array of shape {self.shape}"


@dataclass(frozen=True)
class MLImageSize:
    """A size of a picture; raises `MLModelError` GENERIC unless both are at least 1."""

    pixels_wide: int
    pixels_high: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels_wide", _count(self.pixels_wide, "pixels_wide", least=1))
        object.__setattr__(self, "pixels_high", _count(self.pixels_high, "pixels_high", least=1))


@dataclass(frozen=True)
class MLImageSizeConstraint:
    """The sizes allowed: one of `enumerated_image_sizes`, or width and height each within its range, or no
    more than what the picture's constraint says itself. The `type` follows from what is given.

    Raises `MLModelError` GENERIC for both at once and for what is no size or no range.
    """

    enumerated_image_sizes: tuple[MLImageSize, ...] = ()
    pixels_wide_range: Span = _ANY
    pixels_high_range: Span = _ANY

    def __post_init__(self) -> None:
        sizes = tuple(_listed(self.enumerated_image_sizes, "enumerated_image_sizes"))
        for size in sizes:
            _expect(size, MLImageSize)
        ranges = _span(self.pixels_wide_range), _span(self.pixels_high_range)
        if sizes and ranges != (_ANY, _ANY):
            raise _bad("sizes are limited by a list or by ranges, not by both")
        object.__setattr__(self, "enumerated_image_sizes", sizes)
        object.__setattr__(self, "pixels_wide_range", ranges[0])
        object.__setattr__(self, "pixels_high_range", ranges[1])

    @property
    def type(self) -> MLImageSizeConstraintType:
        """Which of the ways of limiting this is."""
        if self.enumerated_image_sizes:
            return MLImageSizeConstraintType.ENUMERATED
        if (self.pixels_wide_range, self.pixels_high_range) != (_ANY, _ANY):
            return MLImageSizeConstraintType.RANGE
        return MLImageSizeConstraintType.UNSPECIFIED

    def allows(self, size: MLImageSize, required: MLImageSize) -> bool:
        """Whether a size is allowed; `required` counts where nothing else is said."""
        if self.type is MLImageSizeConstraintType.ENUMERATED:
            return size in self.enumerated_image_sizes
        if self.type is MLImageSizeConstraintType.RANGE:
            wide = _within(size.pixels_wide, self.pixels_wide_range)
            return wide and _within(size.pixels_high, self.pixels_high_range)
        return size == required


@dataclass(frozen=True)
class MLImageConstraint:
    """Size and format of a picture; width and height are required, or the default where `size_constraint`
    allows more.

    Raises `MLModelError` GENERIC for a bad size or one that is not allowed, FEATURE_TYPE for a bad format.
    """

    pixels_wide: int
    pixels_high: int
    pixel_format: MLPixelFormat = MLPixelFormat.RGB
    size_constraint: MLImageSizeConstraint = MLImageSizeConstraint()

    def __post_init__(self) -> None:
        size = MLImageSize(self.pixels_wide, self.pixels_high)
        object.__setattr__(self, "pixels_wide", size.pixels_wide)
        object.__setattr__(self, "pixels_high", size.pixels_high)
        object.__setattr__(self, "pixel_format", pixel_format_of(self.pixel_format))
        _expect(self.size_constraint, MLImageSizeConstraint)
        if not self.size_constraint.allows(size, size):
            raise _bad(f"the default size {size.pixels_wide} x {size.pixels_high} is not among those allowed")

    @property
    def pixel_format_type(self) -> MLPixelFormat:
        """Apple's name for `pixel_format`."""
        return self.pixel_format

    def problem(self, value: MLFeatureValue) -> str | None:
        """What is wrong with a picture, or None."""
        buffer: PixelBuffer = value.image_buffer_value
        if buffer.pixel_format is not self.pixel_format:
            return f"a picture in {buffer.pixel_format.name}, expected {self.pixel_format.name}"
        required = MLImageSize(self.pixels_wide, self.pixels_high)
        if not self.size_constraint.allows(MLImageSize(buffer.width, buffer.height), required):
            limit = self.size_constraint.type.name.lower()
            expected = "x".join(map(str, (self.pixels_wide, self.pixels_high)))
            also = f" or another of the {limit} sizes" if limit != "unspecified" else ""
            return f"a picture of {buffer.width}x{buffer.height} pixels, expected {expected}{also}"
        return None


@dataclass(frozen=True)
class MLDictionaryConstraint:
    """What the keys of a dictionary are, STRING or INT64; raises `MLModelError` GENERIC for another type."""

    key_type: MLFeatureType

    def __post_init__(self) -> None:
        kind = _member(MLFeatureType, self.key_type)
        if kind not in (MLFeatureType.STRING, MLFeatureType.INT64):
            raise _bad(f"keys of a dictionary are STRING or INT64, not {kind.name}")
        object.__setattr__(self, "key_type", kind)

    def problem(self, value: MLFeatureValue) -> str | None:
        """What is wrong with a dictionary, or None; one without entries has keys of any type."""
        wanted = str if self.key_type is MLFeatureType.STRING else int
        if all(isinstance(key, wanted) for key in value.dictionary_value):
            return None
        return f"a dictionary with other keys than {self.key_type.name}"


@dataclass(frozen=True)
class MLSequenceConstraint:
    """What the members of a sequence are (a description of type STRING or INT64) and how many there may be.

    Raises `MLModelError` GENERIC for another type of member and for what is no range.
    """

    value_description: MLFeatureDescription
    count_range: Span = (0, None)

    def __post_init__(self) -> None:
        kind = getattr(self.value_description, "type", None)
        if kind not in (MLFeatureType.STRING, MLFeatureType.INT64):
            raise _bad("members of a sequence are described as STRING or INT64")
        object.__setattr__(self, "count_range", _span(self.count_range))

    def problem(self, value: MLFeatureValue) -> str | None:
        """What is wrong with a sequence, or None."""
        sequence = value.sequence_value
        wanted = self.value_description.type
        if sequence.kind != wanted.name.lower() and len(sequence):
            return f"a sequence of {sequence.kind}, expected {wanted.name}"
        if not _within(len(sequence), self.count_range):
            return f"a sequence of {len(sequence)}, expected {_shown(self.count_range)}"
        return None


@dataclass(frozen=True)
class MLStateConstraint:
    """Shape and type of the buffer that a model keeps from one prediction to the next."""

    buffer_shape: tuple[int, ...]
    data_type: MLMultiArrayDataType = MLMultiArrayDataType.FLOAT16

    def __post_init__(self) -> None:
        object.__setattr__(self, "buffer_shape", _shape(self.buffer_shape))
        object.__setattr__(self, "data_type", _member(MLMultiArrayDataType, self.data_type))
