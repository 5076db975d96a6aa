"""This is where the types of values have names and numbers."""

from __future__ import annotations

from enum import IntEnum


class MLFeatureType(IntEnum):
    """Kinds of value, with Apple's raw values."""

    INVALID = 0
    INT64 = 1
    DOUBLE = 2
    STRING = 3
    IMAGE = 4
    MULTI_ARRAY = 5
    DICTIONARY = 6
    SEQUENCE = 7
    STATE = 8
