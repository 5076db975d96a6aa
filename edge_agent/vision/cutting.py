"""This is where a part of a TFLite graph becomes a model of its own: between one tensor and another.

Only what leads from one to the other is written: other steps, tensors and buffers are left out, and buffers
that lay outside of the tables come into them. Signatures and descriptions are about the whole, and stay behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_agent.errors import DamagedError
from edge_agent.vision.anatomy import Anatomy, Part
from edge_agent.vision.flatbuffer import Table
from edge_agent.vision.flatbuffer_writer import (
    Copied,
    Field,
    NewTable,
    Numbers,
    Scalar,
    Tables,
    Text,
    write_flatbuffer,
)
from edge_agent.vision.tflite_schema import (
    IDENTIFIER,
    BufferField,
    ModelField,
    Operator,
    OperatorCodeField,
    OperatorField,
    OptionsType,
    QuantizationField,
    SubGraphField,
    TensorField,
)

NEWEST_OPTIONS = 126
"""Options up to this number are known to hold numbers only, but for those below."""
ONE_LIST = {OptionsType.RESHAPE: "i", OptionsType.SQUEEZE: "i"}
"""Options whose first field is a list of such numbers, and that have no other list."""
UNKNOWN_LISTS = {3, 111, 115}
"""Options with lists or texts, of steps that no extractor has."""
OTHER_GRAPHS = {Operator.CALL, Operator.IF, Operator.WHILE, Operator.CALL_ONCE}

_OLD_FIELDS = range(OperatorField.LARGE_OPTIONS_OFFSET)


def cut(
    anatomy: Anatomy, taken: Part, given: Part, *, averaged: bool = False, description: str = ""
) -> bytes:
    """A model that takes one tensor of a graph and gives another.

    `averaged`: a map [1, h, w, c] or [1, c, h, w] is given as the mean over its places, [1, c]. Raises
    `DamagedError` where a step in between cannot be written, `OverflowError` for more than 2 GiB.
    """
    return _Cut(anatomy).written(taken, given, averaged=averaged, description=description)


def map_axes(shape: Sequence[int]) -> tuple[int, int]:
    """Which two lengths of a map are its height and width; channels come first only where the others are alike."""
    return (2, 3) if shape[2] == shape[3] and shape[1] > shape[3] else (1, 2)


class _Cut:
    def __init__(self, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        self._tensors: dict[int, int] = {}
        self._codes: dict[int, int] = {}
        self._buffers: dict[int, int] = {0: 0}

    def written(self, taken: Part, given: Part, *, averaged: bool, description: str) -> bytes:
        anatomy = self._anatomy
        steps = anatomy.needed([given.index], [taken.index])
        operators = [self._operator(number) for number in steps]
        for part in (taken, given):
            self._tensors.setdefault(part.index, len(self._tensors))
        tensors = [self._tensor(index, as_input=index == taken.index) for index in self._tensors]
        buffers = [NewTable({})]
        for index in list(self._buffers)[1:]:
            raw = np.frombuffer(anatomy.raw(index), np.uint8)
            buffers.append(NewTable({BufferField.DATA: Numbers(raw)} if len(raw) else {}))
        codes = [_code(anatomy.codes[index]) for index in self._codes]
        out = self._tensors[given.index]
        if averaged:
            operators.append(_mean(len(codes), out, len(tensors)))
            codes.append(_mean_code(given))
            axes = np.frombuffer(np.array(map_axes(given.shape), np.int32).tobytes(), np.uint8)
            tensors.append(_plain_tensor("axes", (2,), 2, len(buffers)))
            buffers.append(NewTable({BufferField.DATA: Numbers(axes)}))
            tensors.append(_averaged(given))
            out = len(tensors) - 1
        graph = NewTable(
            {
                SubGraphField.TENSORS: Tables(tensors),
                SubGraphField.INPUTS: _integers([self._tensors[taken.index]]),
                SubGraphField.OUTPUTS: _integers([out]),
                SubGraphField.OPERATORS: Tables(operators),
                SubGraphField.NAME: Text("main"),
            }
        )
        root = NewTable(
            {
                ModelField.VERSION: Scalar("I", 3),
                ModelField.OPERATOR_CODES: Tables(codes),
                ModelField.SUBGRAPHS: Tables([graph]),
                ModelField.DESCRIPTION: Text(description),
                ModelField.BUFFERS: Tables(buffers),
            }
        )
        return write_flatbuffer(root, IDENTIFIER)

    def _operator(self, number: int) -> NewTable:
        table, step = self._anatomy.step_tables[number], self._anatomy.steps[number]
        if step.custom:
            raise DamagedError(f"step {number} is {step.custom!r}, which is not built into TFLite")
        if step.operator in OTHER_GRAPHS:
            raise DamagedError(f"step {number} calls another graph of the file")
        if any(table.uint64(field) for field in table.present if field not in _OLD_FIELDS):
            raise DamagedError(f"step {number} is of a newer kind than is known here")
        index = table.uint32(OperatorField.CODE_INDEX)
        fields: dict[int, Field] = {
            OperatorField.CODE_INDEX: Scalar("I", self._codes.setdefault(index, len(self._codes))),
            OperatorField.INPUTS: self._indices(step.inputs),
            OperatorField.OUTPUTS: self._indices(step.outputs),
        }
        options = table.table(OperatorField.OPTIONS)
        if options is not None:
            kind = table.uint8(OperatorField.OPTIONS_TYPE)
            fields[OperatorField.OPTIONS_TYPE] = Scalar("B", kind)
            fields[OperatorField.OPTIONS] = _options(number, kind, options)
        for field, dtype in ((OperatorField.CUSTOM_OPTIONS, np.uint8), (OperatorField.MUTATED, np.uint8)):
            if raw := table.raw(field):
                fields[field] = Numbers(np.frombuffer(raw, dtype))
        if table.count(OperatorField.INTERMEDIATES):
            fields[OperatorField.INTERMEDIATES] = self._indices(
                table.numbers(OperatorField.INTERMEDIATES, "i")
            )
        return NewTable(fields)

    def _indices(self, indices: Sequence[int]) -> Numbers:
        return _integers(
            [-1 if index < 0 else self._tensors.setdefault(index, len(self._tensors)) for index in indices]
        )

    def _tensor(self, index: int, *, as_input: bool) -> NewTable:
        table, part = self._anatomy.tensor_tables[index], self._anatomy.tensors[index]
        known = set(TensorField)
        if any(field not in known and table.uint32(field) for field in table.present):
            raise DamagedError(f"tensor {index} has fields of a newer schema")
        if table.place(TensorField.SPARSITY) is not None:
            raise DamagedError(f"tensor {index} is kept sparse")
        buffer = 0 if as_input else part.buffer
        fields: dict[int, Field] = {
            TensorField.SHAPE: _integers(part.shape),
            TensorField.TYPE: Scalar("b", part.kind),
            TensorField.BUFFER: Scalar("I", self._buffers.setdefault(buffer, len(self._buffers))),
            TensorField.NAME: Text(part.name),
        }
        if flag := table.uint8(TensorField.IS_VARIABLE):
            fields[TensorField.IS_VARIABLE] = Scalar("B", flag)
        if flag := table.uint8(TensorField.HAS_RANK):
            fields[TensorField.HAS_RANK] = Scalar("B", flag)
        if signature := table.numbers(TensorField.SHAPE_SIGNATURE, "i"):
            fields[TensorField.SHAPE_SIGNATURE] = _integers(signature)
        if (told := table.table(TensorField.QUANTIZATION)) is not None:
            fields[TensorField.QUANTIZATION] = _quantisation(index, told)
        return NewTable(fields)


def _options(number: int, kind: int, options: Table) -> NewTable | Copied:
    if kind in ONE_LIST:
        values = options.numbers(0, ONE_LIST[OptionsType(kind)])
        return NewTable({0: _integers(values)} if values else {})
    if kind in UNKNOWN_LISTS or kind > NEWEST_OPTIONS:
        raise DamagedError(f"step {number} has options of kind {kind}, which are not known here")
    return Copied(*options.inline(), options.at)


def _quantisation(index: int, told: Table) -> NewTable:
    if told.uint8(QuantizationField.DETAILS_TYPE):
        raise DamagedError(f"tensor {index} is quantised in a way that is not known here")
    fields: dict[int, Field] = {}
    for field, kind, dtype in (
        (QuantizationField.LEAST, "f", np.float32),
        (QuantizationField.MOST, "f", np.float32),
        (QuantizationField.SCALE, "f", np.float32),
        (QuantizationField.ZERO_POINT, "q", np.int64),
    ):
        if values := told.numbers(field, kind):
            fields[field] = Numbers(np.array(values, dtype))
    if dimension := told.int32(QuantizationField.DIMENSION):
        fields[QuantizationField.DIMENSION] = Scalar("i", dimension)
    return NewTable(fields)


def _code(code: Table) -> NewTable:
    return NewTable(
        {
            OperatorCodeField.OLD_CODE: Scalar("b", code.int8(OperatorCodeField.OLD_CODE)),
            OperatorCodeField.VERSION: Scalar("i", max(code.int32(OperatorCodeField.VERSION), 1)),
            OperatorCodeField.CODE: Scalar("i", code.int32(OperatorCodeField.CODE)),
        }
    )


def _mean_code(given: Part) -> NewTable:
    version = 2 if given.type_name == "int8" else 1
    return NewTable(
        {
            OperatorCodeField.OLD_CODE: Scalar("b", Operator.MEAN),
            OperatorCodeField.VERSION: Scalar("i", version),
            OperatorCodeField.CODE: Scalar("i", Operator.MEAN),
        }
    )


def _mean(code: int, read: int, axes: int) -> NewTable:
    return NewTable(
        {
            OperatorField.CODE_INDEX: Scalar("I", code),
            OperatorField.INPUTS: _integers([read, axes]),
            OperatorField.OUTPUTS: _integers([axes + 1]),
            OperatorField.OPTIONS_TYPE: Scalar("B", OptionsType.REDUCER),
            OperatorField.OPTIONS: NewTable({}),
        }
    )


def _averaged(given: Part) -> NewTable:
    height, width = map_axes(given.shape)
    shape = [side for place, side in enumerate(given.shape) if place not in (height, width)]
    fields = dict(_plain_tensor("features", shape, given.kind, 0).fields)
    if given.scale:
        fields[TensorField.QUANTIZATION] = NewTable(
            {
                QuantizationField.SCALE: Numbers(np.array([given.scale], np.float32)),
                QuantizationField.ZERO_POINT: Numbers(np.array([given.zero_point], np.int64)),
            }
        )
    return NewTable(fields)


def _plain_tensor(name: str, shape: Sequence[int], kind: int, buffer: int) -> NewTable:
    return NewTable(
        {
            TensorField.SHAPE: _integers(shape),
            TensorField.TYPE: Scalar("b", kind),
            TensorField.BUFFER: Scalar("I", buffer),
            TensorField.NAME: Text(name),
        }
    )


def _integers(values: Sequence[int]) -> Numbers:
    return Numbers(np.array(values, np.int32))
