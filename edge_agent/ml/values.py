"""This is where one value of a sample gets a type and cannot change any more."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.feature_types import MLFeatureType
from edge_agent.ml.members import member_of
from edge_agent.ml.pixels import PixelBuffer
from edge_agent.ml.sequences import MLSequence

__all__ = ["MLFeatureType", "MLFeatureValue"]

INT64_LIMIT = 2**63


class MLFeatureValue:
    """An immutable typed value, made from exactly one keyword.

    `MLFeatureValue(int64=3)`, `(double=0.5)`, `(string="cat")`, `(multi_array=array)`, `(dictionary={"cat":
    0.9})`, `(sequence=MLSequence(strings=["a", "b"]))`, `(pixel_buffer=PixelBuffer(array))`, or
    `(undefined=MLFeatureType.STRING)` for a missing value of a known type. Arrays and dictionaries are
    copied. Pictures that have to be read, turned, cut or scaled are made by
    `edge_agent.vision.image_values`, which needs a picture library.

    Whole numbers and doubles compare by number, everything else only with its own type, pictures by being
    the same buffer. Accessors never convert: asking for another type than `type`, or for
    an undefined value, raises `MLModelError` FEATURE_TYPE. So does the constructor for a value that cannot
    be represented.
    """

    __slots__ = ("_type", "_value")

    _type: MLFeatureType
    _value: Any

    def __init__(self, **given: object) -> None:
        if len(given) != 1:
            raise TypeError("MLFeatureValue takes exactly one keyword: " + ", ".join(_KEYWORDS))
        [(kind, value)] = given.items()
        if kind == "undefined":
            made: tuple[MLFeatureType, Any] = (_undefined(value), None)
        elif kind in _MAKERS:
            made = _MAKERS[kind](value)
        else:
            raise TypeError(f"MLFeatureValue has no kind {kind!r}; known are {', '.join(_KEYWORDS)}")
        object.__setattr__(self, "_type", made[0])
        object.__setattr__(self, "_value", made[1])

    @classmethod
    def of(cls, raw: object) -> MLFeatureValue:
        """Wrap a plain Python or numpy value by its own type; a feature value is returned as it is.

        Raises `MLModelError` FEATURE_TYPE for what has no feature type (truth values and lists among them).
        """
        if isinstance(raw, MLFeatureValue):
            return raw
        if isinstance(raw, str):
            return cls(string=raw)
        if isinstance(raw, np.ndarray):
            return cls(multi_array=raw)
        if isinstance(raw, Mapping):
            return cls(dictionary=raw)
        if isinstance(raw, MLSequence):
            return cls(sequence=raw)
        if isinstance(raw, PixelBuffer):
            return cls(pixel_buffer=raw)
        if isinstance(raw, Integral) and not isinstance(raw, bool):
            return cls(int64=raw)
        if isinstance(raw, Real) and not isinstance(raw, bool):
            return cls(double=raw)
        raise _refused(f"a value of type {type(raw).__name__} cannot be a feature value")

    @property
    def type(self) -> MLFeatureType:
        """The type of the value."""
        return self._type

    @property
    def is_undefined(self) -> bool:
        """Whether the value is missing."""
        return self._value is None

    @property
    def int64_value(self) -> int:
        """The whole number."""
        return self._get(MLFeatureType.INT64)  # type: ignore[no-any-return]

    @property
    def double_value(self) -> float:
        """The number."""
        return self._get(MLFeatureType.DOUBLE)  # type: ignore[no-any-return]

    @property
    def string_value(self) -> str:
        """The text."""
        return self._get(MLFeatureType.STRING)  # type: ignore[no-any-return]

    @property
    def multi_array_value(self) -> np.ndarray[Any, Any]:
        """The array, read-only, of the dtype it was given with."""
        return self._get(MLFeatureType.MULTI_ARRAY)  # type: ignore[no-any-return]

    @property
    def dictionary_value(self) -> dict[str | int, float]:
        """A copy of the dictionary."""
        return dict(self._get(MLFeatureType.DICTIONARY))

    @property
    def image_buffer_value(self) -> PixelBuffer:
        """The picture."""
        return self._get(MLFeatureType.IMAGE)  # type: ignore[no-any-return]

    @property
    def sequence_value(self) -> MLSequence:
        """The sequence."""
        return self._get(MLFeatureType.SEQUENCE)  # type: ignore[no-any-return]

    def _get(self, wanted: MLFeatureType) -> Any:
        if self._type is not wanted:
            raise _refused(f"the value is of type {self._type.name}, not {wanted.name}")
        if self._value is None:
            raise _refused(f"the value of type {wanted.name} is undefined")
        return self._value

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a feature value cannot be changed ({name})")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MLFeatureValue):
            return NotImplemented
        numbers = {MLFeatureType.INT64, MLFeatureType.DOUBLE}
        if self._type is not other._type and not {self._type, other._type} <= numbers:
            return False
        if self.is_undefined or other.is_undefined:
            return self.is_undefined and other.is_undefined
        if self._type is MLFeatureType.MULTI_ARRAY:
            return np.array_equal(self._value, other._value)
        return bool(self._value == other._value)

    def __hash__(self) -> int:
        if isinstance(self._value, np.ndarray):
            # Equal arrays of different dtypes must hash alike, so only the shape takes part.
            return hash((self._type, self._value.shape))
        if isinstance(self._value, dict):
            return hash((self._type, frozenset(self._value.items())))
        return hash(self._value)

    def __repr__(self) -> str:
        shown = "undefined" if self.is_undefined else repr(self._value)
        return f"MLFeatureValue({self._type.name.lower()}: {shown})"


def _refused(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.FEATURE_TYPE, message)


def _int64(value: object) -> tuple[MLFeatureType, int]:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _refused(f"int64 needs a whole number, not {type(value).__name__}")
    if not -INT64_LIMIT <= int(value) < INT64_LIMIT:
        raise _refused(f"{int(value)} does not fit into 64 bits")
    return MLFeatureType.INT64, int(value)


def _double(value: object) -> tuple[MLFeatureType, float]:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _refused(f"double needs a number, not {type(value).__name__}")
    return MLFeatureType.DOUBLE, _as_float(value)


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _refused("the number is too large for a double") from None


def _string(value: object) -> tuple[MLFeatureType, str]:
    if not isinstance(value, str):
        raise _refused(f"string needs text, not {type(value).__name__}")
    return MLFeatureType.STRING, str(value)


def _multi_array(value: object) -> tuple[MLFeatureType, np.ndarray[Any, Any]]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise _refused(f"multi_array needs a numpy array of numbers, not {kind}")
    array = np.array(value, subok=False)
    array.setflags(write=False)
    return MLFeatureType.MULTI_ARRAY, array


def _dictionary(value: object) -> tuple[MLFeatureType, dict[str | int, float]]:
    if not isinstance(value, Mapping):
        raise _refused(f"dictionary needs a mapping, not {type(value).__name__}")
    plain: dict[str | int, float] = {}
    for key, number in value.items():
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise _refused(f"keys of a dictionary are text or whole numbers, not {type(key).__name__}")
        if isinstance(number, bool) or not isinstance(number, Real):
            raise _refused(f"the value of {key!r} is no number but {type(number).__name__}")
        plain[key] = _int64(number)[1] if isinstance(number, Integral) else _as_float(number)
    if len({type(key) for key in plain}) > 1:
        raise _refused("keys of a dictionary are either all text or all whole numbers")
    return MLFeatureType.DICTIONARY, plain


def _sequence(value: object) -> tuple[MLFeatureType, MLSequence]:
    if not isinstance(value, MLSequence):
        raise _refused(f"sequence needs an MLSequence, not {type(value).__name__}")
    return MLFeatureType.SEQUENCE, value


def _pixel_buffer(value: object) -> tuple[MLFeatureType, PixelBuffer]:
    if not isinstance(value, PixelBuffer):
        raise _refused(f"pixel_buffer needs a PixelBuffer, not {type(value).__name__}")
    return MLFeatureType.IMAGE, value


def _undefined(value: object) -> MLFeatureType:
    kind = member_of(MLFeatureType, value)
    if kind is None:
        raise _refused(f"{value!r} is no feature type")
    if kind is MLFeatureType.INVALID:
        raise _refused("a missing value needs a type other than INVALID")
    return kind


_MAKERS = {
    "int64": _int64,
    "double": _double,
    "string": _string,
    "multi_array": _multi_array,
    "dictionary": _dictionary,
    "sequence": _sequence,
    "pixel_buffer": _pixel_buffer,
}

_KEYWORDS = sorted([*_MAKERS, "undefined"])
