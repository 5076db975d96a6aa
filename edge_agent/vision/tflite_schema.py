"""This is where the numbers are that the schema of TensorFlow Lite, version 3, gives its fields and operators."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

IDENTIFIER = b"TFL3"


class ModelField(IntEnum):
    """Fields of a model."""

    VERSION = 0
    OPERATOR_CODES = 1
    SUBGRAPHS = 2
    DESCRIPTION = 3
    BUFFERS = 4
    METADATA_BUFFER = 5
    METADATA = 6
    SIGNATURES = 7
    EXTERNAL_BUFFER_GROUPS = 8
    EXTERNAL_BUFFERS = 9


class SubGraphField(IntEnum):
    """Fields of a graph."""

    TENSORS = 0
    INPUTS = 1
    OUTPUTS = 2
    OPERATORS = 3
    NAME = 4


class TensorField(IntEnum):
    """Fields of a tensor."""

    SHAPE = 0
    TYPE = 1
    BUFFER = 2
    NAME = 3
    QUANTIZATION = 4
    IS_VARIABLE = 5
    SPARSITY = 6
    SHAPE_SIGNATURE = 7
    HAS_RANK = 8


class QuantizationField(IntEnum):
    """Fields of how numbers were quantised."""

    LEAST = 0
    MOST = 1
    SCALE = 2
    ZERO_POINT = 3
    DETAILS_TYPE = 4
    DETAILS = 5
    DIMENSION = 6


class BufferField(IntEnum):
    """Fields of a buffer; with an offset its bytes lie behind the tables, counted from the file's begin."""

    DATA = 0
    OFFSET = 1
    SIZE = 2


class OperatorField(IntEnum):
    """Fields of a step of a graph."""

    CODE_INDEX = 0
    INPUTS = 1
    OUTPUTS = 2
    OPTIONS_TYPE = 3
    OPTIONS = 4
    CUSTOM_OPTIONS = 5
    CUSTOM_OPTIONS_FORMAT = 6
    MUTATED = 7
    INTERMEDIATES = 8
    LARGE_OPTIONS_OFFSET = 9


class OperatorCodeField(IntEnum):
    """Fields of a kind of step; the first could only count to 127."""

    OLD_CODE = 0
    CUSTOM_NAME = 1
    VERSION = 2
    CODE = 3


class MetadataField(IntEnum):
    """Fields of a named buffer that is about the model."""

    NAME = 0
    BUFFER = 1


class SignatureField(IntEnum):
    """Fields of a signature."""

    INPUTS = 0
    OUTPUTS = 1
    KEY = 2
    SUBGRAPH = 4


class TensorMapField(IntEnum):
    """Fields of a signature's name for a tensor."""

    NAME = 0
    TENSOR = 1


class Operator(IntEnum):
    """Steps that are written or looked for here, and the number of all that are not built in."""

    ADD = 0
    AVERAGE_POOL_2D = 1
    CONV_2D = 3
    DEPTHWISE_CONV_2D = 4
    DEQUANTIZE = 6
    FULLY_CONNECTED = 9
    L2_NORMALIZATION = 11
    LOGISTIC = 14
    MUL = 18
    RELU = 19
    RESHAPE = 22
    SOFTMAX = 25
    TANH = 28
    CALL = 31
    CUSTOM = 32
    PAD = 34
    GATHER = 36
    TRANSPOSE = 39
    MEAN = 40
    SUB = 41
    DIV = 42
    SQUEEZE = 43
    CAST = 53
    MAXIMUM = 55
    MINIMUM = 57
    SUM = 74
    SQRT = 75
    ABS = 101
    QUANTIZE = 114
    IF = 118
    WHILE = 119
    CALL_ONCE = 129


class OptionsType(IntEnum):
    """Which table of options a step has, where the runtimes look into it."""

    NONE = 0
    FULLY_CONNECTED = 8
    SOFTMAX = 9
    ADD = 11
    RESHAPE = 17
    MUL = 21
    GATHER = 23
    TRANSPOSE = 26
    REDUCER = 27
    SUB = 28
    DIV = 29
    SQUEEZE = 30
    CAST = 37
    DEQUANTIZE = 38
    MAXIMUM_MINIMUM = 39
    ABS = 78
    QUANTIZE = 89


TYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype(np.float32),
    2: np.dtype(np.int32),
    3: np.dtype(np.uint8),
    7: np.dtype(np.int16),
    9: np.dtype(np.int8),
}
"""The types of tensors that are understood here, by their numbers."""

TYPE_NUMBERS = {dtype: number for number, dtype in TYPES.items()}
