"""This is where it is decided what can be a label: a text or a whole number."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Literal

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.values import MLFeatureType, MLFeatureValue

LABEL_TYPES = (MLFeatureType.STRING, MLFeatureType.INT64)

_LIMIT = 2**63


LABEL_TYPE_NAMES: dict[MLFeatureType | None, Literal["", "string", "int64", "double"]] = {
    None: "",
    MLFeatureType.STRING: "string",
    MLFeatureType.INT64: "int64",
    MLFeatureType.DOUBLE: "double",
}
"""What a model on disk calls the type of its labels; empty while there is none."""


def label_type_named(name: str) -> MLFeatureType | None:
    """The type a model on disk names; raises KeyError for another name."""
    known: dict[str, MLFeatureType | None] = {text: kind for kind, text in LABEL_TYPE_NAMES.items()}
    return known[name]


def label_type_of(label: object) -> MLFeatureType | None:
    """The type of a plain label, None for what cannot be one: nothing, an empty text, a truth value.

    A text with half a surrogate pair cannot either: no model on disk could name it.
    """
    if isinstance(label, str):
        return MLFeatureType.STRING if label and _is_written(label) else None
    if isinstance(label, Integral) and not isinstance(label, bool) and -_LIMIT <= int(label) < _LIMIT:
        return MLFeatureType.INT64
    return None


def _is_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def label_kind(label: object, wanted: MLFeatureType | None) -> MLFeatureType | None:
    """The type of a plain label; DOUBLE, where that is wanted, for any finite number."""
    if wanted is not MLFeatureType.DOUBLE:
        return label_type_of(label)
    if not isinstance(label, Real) or isinstance(label, bool):
        return None
    try:
        return MLFeatureType.DOUBLE if math.isfinite(float(label)) else None
    except OverflowError:  # a whole number with hundreds of digits
        return None


def agreed_label_type(given: object, known: MLFeatureType | None) -> MLFeatureType | None:
    """The type of a model's labels, from what its author says and from the labels it knows; None for neither.

    Raises `MLModelError` GENERIC for another type than the two and where both disagree.
    """
    if given is None:
        return known
    if isinstance(given, MLFeatureType) and given in LABEL_TYPES and known in (None, given):
        return given
    shown = "" if known is None else f", and this model knows labels of type {known.name}"
    raise MLModelError(MLModelErrorCode.GENERIC, f"labels are STRING or INT64, not {given!r}{shown}")


def label_of(value: MLFeatureValue) -> str | int | None:
    """The plain label in a feature value, None where there is none."""
    if value.is_undefined or value.type not in LABEL_TYPES:
        return None
    return value.string_value if value.type is MLFeatureType.STRING else value.int64_value


def plain_label(value: MLFeatureValue, name: str, wanted: MLFeatureType | None) -> str | int | float:
    """What a sample is called, or the number it should be answered with where DOUBLE is `wanted`.

    Whether a text and a whole number are mixed is for others to see. Raises `MLModelError` FEATURE_TYPE for a
    value that can be neither.
    """
    if wanted is MLFeatureType.DOUBLE:
        if not value.is_undefined and value.type in (MLFeatureType.DOUBLE, MLFeatureType.INT64):
            number = value.double_value if value.type is MLFeatureType.DOUBLE else value.int64_value
            return float(number)
        expected = "DOUBLE"
    else:
        label = label_of(value)
        if label is not None:
            return label
        expected = " or ".join(kind.name for kind in LABEL_TYPES)
    shown = "undefined" if value.is_undefined else f"of type {value.type.name}"
    raise MLModelError(MLModelErrorCode.FEATURE_TYPE, f"feature {name!r} is {shown}, expected {expected}")
