"""This is where a TFLite model is grown at both ends, and what it was stays as it is, byte for byte.

A new root with new lists is put in front of the old file. The lists point to the old operators, tensors and
buffers where these lie, so no table of the body needs to be understood, and none can be spoilt.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import DamagedError
from edge_agent.vision.flatbuffer import Table
from edge_agent.vision.flatbuffer_writer import (
    TAIL_ALIGNMENT,
    Field,
    NewTable,
    Numbers,
    Old,
    Scalar,
    Tables,
    Text,
    tail_shift,
    write_flatbuffer,
)
from edge_agent.vision.tflite_schema import (
    IDENTIFIER,
    TYPE_NUMBERS,
    TYPES,
    BufferField,
    MetadataField,
    ModelField,
    Operator,
    OperatorCodeField,
    OperatorField,
    OptionsType,
    QuantizationField,
    SignatureField,
    SubGraphField,
    TensorField,
    TensorMapField,
)

METADATA = "TFLITE_METADATA"
"""The name of the buffer that describes the model to other programs."""

SIGNATURE = "serving_default"

_MOST = 2**31 - 1


@dataclass(frozen=True)
class GraphTensor:
    """One tensor of the graph; a `scale` of 0 means that it is not quantised."""

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True)
class Step:
    """One operator with the tensors it reads and writes."""

    operator: Operator
    inputs: Sequence[GraphTensor]
    output: GraphTensor
    options_type: OptionsType = OptionsType.NONE
    options: Mapping[int, Scalar] | None = None
    version: int = 1


class Graft:
    """A model of one graph with one input and one output, to which steps are added before and behind.

    Raises `DamagedError` for bytes that are not a whole TFLite model, or one of another make.
    """

    def __init__(self, data: bytes) -> None:
        self._data = without_files(data)
        self._model = model = Table.root(self._data, IDENTIFIER)
        unknown = [number for number in model.present if number > max(ModelField)]
        graphs = model.tables(ModelField.SUBGRAPHS)
        if unknown or not graphs:
            raise DamagedError(
                f"the model has fields of a newer schema: {unknown}" if unknown else "it holds no graph"
            )
        self._graphs, self._graph = graphs, graphs[0]
        self._tensors = self._graph.tables(SubGraphField.TENSORS)
        self._buffers = model.tables(ModelField.BUFFERS)
        self._codes = model.tables(ModelField.OPERATOR_CODES)
        for operator in self._graph.tables(SubGraphField.OPERATORS):
            if operator.uint64(OperatorField.LARGE_OPTIONS_OFFSET) > 1:
                raise DamagedError("an operator keeps its options outside of the tables")
        self.input = self._only(SubGraphField.INPUTS, "input")
        self.output = self._only(SubGraphField.OUTPUTS, "output")
        self._new_tensors: list[NewTable] = []
        self._new_buffers: list[NewTable] = []
        self._before: list[Step] = []
        self._behind: list[Step] = []

    def _only(self, field: SubGraphField, what: str) -> GraphTensor:
        indices = self._graph.numbers(field, "i")
        if len(indices) != 1:
            raise DamagedError(f"an extractor has one {what}; this model has {len(indices)}")
        (index,) = indices
        if not 0 <= index < len(self._tensors):
            raise DamagedError(f"its {what} is tensor {index} of {len(self._tensors)}")
        tensor = self._tensors[index]
        number = tensor.int8(TensorField.TYPE)
        if number not in TYPES or TYPES[number] == np.int32:
            raise DamagedError(f"its {what} holds values of type {number}, neither float32 nor quantised")
        scale, zero_point = _quantisation(tensor, what) if TYPES[number].kind in "iu" else (0.0, 0)
        shape = tuple(int(side) for side in tensor.numbers(TensorField.SHAPE, "i"))
        if min(shape, default=0) < 1 or prod(shape) > _MOST:
            raise DamagedError(f"its {what} is of shape {shape}, which is no fixed one")
        return GraphTensor(int(index), shape, TYPES[number], scale, zero_point)

    def tensor(
        self, name: str, shape: Sequence[int], dtype: Any, *, scale: float = 0.0, zero_point: int = 0
    ) -> GraphTensor:
        """A new tensor that a step writes, or the graph's new input."""
        made = GraphTensor(
            len(self._tensors) + len(self._new_tensors), tuple(shape), np.dtype(dtype), scale, zero_point
        )
        self._new_tensors.append(_tensor(name, made, buffer=0))
        return made

    def constant(self, name: str, values: NDArray[Any]) -> GraphTensor:
        """A new tensor that always holds the same."""
        self._new_buffers.append(NewTable({BufferField.DATA: Numbers(_octets(values.tobytes()))}))
        made = GraphTensor(len(self._tensors) + len(self._new_tensors), values.shape, values.dtype)
        buffer = len(self._buffers) + len(self._new_buffers) - 1
        self._new_tensors.append(_tensor(name, made, buffer=buffer))
        return made

    def add_before(self, step: Step) -> None:
        """Let a step run before the body, behind those added so far."""
        self._before.append(step)

    def add_behind(self, step: Step) -> None:
        """Let a step run behind the body and those added so far."""
        self._behind.append(step)

    def finish(
        self,
        taken: tuple[str, GraphTensor],
        given: tuple[str, GraphTensor],
        metadata: bytes,
        description: str = "",
    ) -> bytes:
        """The grown model; `taken` and `given` name its one input and its one output.

        `metadata` describes it to other programs. Signatures and descriptions of the old model are left out:
        they are about another one. Raises `OverflowError` for more than 2 GiB.
        """
        # Bytes outside of the tables are told by where in the file they lie, which a first writing shows.
        blank = self._written(taken, given, metadata, description, shift=TAIL_ALIGNMENT)
        return self._written(
            taken, given, metadata, description, shift=tail_shift(blank, self._data), size=len(blank)
        )

    def _written(
        self,
        taken: tuple[str, GraphTensor],
        given: tuple[str, GraphTensor],
        metadata: bytes,
        description: str,
        *,
        shift: int,
        size: int | None = None,
    ) -> bytes:
        codes: dict[tuple[Operator, int], int] = {}
        before = [self._operator(step, codes) for step in self._before]
        behind = [self._operator(step, codes) for step in self._behind]
        body = _old(self._graph.tables(SubGraphField.OPERATORS))
        name = self._graph.text(SubGraphField.NAME)
        graph = NewTable(
            {
                SubGraphField.TENSORS: Tables([*_old(self._tensors), *self._new_tensors]),
                SubGraphField.INPUTS: _indices([taken[1]]),
                SubGraphField.OUTPUTS: _indices([given[1]]),
                SubGraphField.OPERATORS: Tables([*before, *body, *behind]),
                SubGraphField.NAME: Text(name or "main"),
            }
        )
        about = NewTable({BufferField.DATA: Numbers(_octets(metadata))})
        place = len(self._buffers) + len(self._new_buffers)
        kept: dict[int, Field] = {
            field: Old(found)
            for field in (
                ModelField.METADATA_BUFFER,
                ModelField.EXTERNAL_BUFFER_GROUPS,
                ModelField.EXTERNAL_BUFFERS,
            )
            if (found := self._model.place(field)) is not None
        }
        root = NewTable(
            {
                ModelField.VERSION: Scalar("I", 3),
                ModelField.OPERATOR_CODES: Tables([*_old(self._codes), *(_code(*one) for one in codes)]),
                ModelField.SUBGRAPHS: Tables([graph, *_old(self._graphs[1:])]),
                ModelField.DESCRIPTION: Text(description),
                ModelField.BUFFERS: Tables(
                    [*(_buffer(one, shift) for one in self._buffers), *self._new_buffers, about]
                ),
                ModelField.METADATA: Tables([*self._metadata(), _named(METADATA, place)]),
                ModelField.SIGNATURES: Tables([_signature(taken, given)]),
                **kept,
            }
        )
        written = write_flatbuffer(root, IDENTIFIER, self._data)
        assert size is None or (len(written) == size and tail_shift(written, self._data) == shift)
        return written

    def _metadata(self) -> list[Old]:
        """What is said of the old model and still holds, such as what its body needs of a runtime."""
        entries = self._model.tables(ModelField.METADATA)
        return [Old(entry.at) for entry in entries if entry.text(MetadataField.NAME) != METADATA]

    def _operator(self, step: Step, codes: dict[tuple[Operator, int], int]) -> NewTable:
        code = codes.setdefault((step.operator, step.version), len(self._codes) + len(codes))
        fields: dict[int, Field] = {
            OperatorField.CODE_INDEX: Scalar("I", code),
            OperatorField.INPUTS: _indices(step.inputs),
            OperatorField.OUTPUTS: _indices([step.output]),
        }
        if step.options_type:
            fields[OperatorField.OPTIONS_TYPE] = Scalar("B", step.options_type)
            fields[OperatorField.OPTIONS] = NewTable(step.options or {})
        return NewTable(fields)


def without_files(data: bytes) -> bytes:
    """A model without the zip archive of labels and the like that may stand behind it."""
    with suppress(zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            begins = [entry.header_offset for entry in archive.infolist()]
        if begins and all(data[begin : begin + 4] == b"PK\3\4" for begin in begins):
            return data[: min(begins)]
    return data


def _quantisation(tensor: Table, what: str) -> tuple[float, int]:
    """Scale and zero point."""
    told = tensor.table(TensorField.QUANTIZATION)
    scales = [] if told is None else list(told.numbers(QuantizationField.SCALE, "f"))
    points = [] if told is None else list(told.numbers(QuantizationField.ZERO_POINT, "q"))
    if len(scales) != 1 or not scales[0] > 0.0 or len(points) > 1:
        raise DamagedError(f"its {what} holds quantised numbers without one scale for all of them")
    return float(scales[0]), int(points[0]) if points else 0


def _old(tables: Sequence[Table]) -> list[Old]:
    return [Old(table.at) for table in tables]


def _octets(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _indices(tensors: Sequence[GraphTensor]) -> Numbers:
    return Numbers(np.array([tensor.index for tensor in tensors], dtype=np.int32))


def _tensor(name: str, tensor: GraphTensor, *, buffer: int) -> NewTable:
    fields: dict[int, Field] = {
        TensorField.SHAPE: Numbers(np.array(tensor.shape, dtype=np.int32)),
        TensorField.TYPE: Scalar("b", TYPE_NUMBERS[tensor.dtype]),
        TensorField.BUFFER: Scalar("I", buffer),
        TensorField.NAME: Text(name),
    }
    if tensor.scale:
        fields[TensorField.QUANTIZATION] = NewTable(
            {
                QuantizationField.SCALE: Numbers(np.array([tensor.scale], dtype=np.float32)),
                QuantizationField.ZERO_POINT: Numbers(np.array([tensor.zero_point], dtype=np.int64)),
            }
        )
    return NewTable(fields)


def _code(operator: Operator, version: int) -> NewTable:
    return NewTable(
        {
            OperatorCodeField.OLD_CODE: Scalar("b", operator),
            OperatorCodeField.VERSION: Scalar("i", version),
            OperatorCodeField.CODE: Scalar("i", operator),
        }
    )


def _buffer(buffer: Table, shift: int) -> Old | NewTable:
    """The same buffer; where its bytes are told by their place in the file, with the place they have now."""
    offset, size = buffer.uint64(BufferField.OFFSET), buffer.uint64(BufferField.SIZE)
    if offset <= 1:  # 0 and 1 are what converters leave there when the bytes are in the table
        return Old(buffer.at)
    return NewTable({BufferField.OFFSET: Scalar("Q", offset + shift), BufferField.SIZE: Scalar("Q", size)})


def _named(name: str, buffer: int) -> NewTable:
    return NewTable({MetadataField.NAME: Text(name), MetadataField.BUFFER: Scalar("I", buffer)})


def _signature(taken: tuple[str, GraphTensor], given: tuple[str, GraphTensor]) -> NewTable:
    def ports(name: str, tensor: GraphTensor) -> Tables:
        return Tables(
            [NewTable({TensorMapField.NAME: Text(name), TensorMapField.TENSOR: Scalar("I", tensor.index)})]
        )

    return NewTable(
        {
            SignatureField.INPUTS: ports(*taken),
            SignatureField.OUTPUTS: ports(*given),
            SignatureField.KEY: Text(SIGNATURE),
            SignatureField.SUBGRAPH: Scalar("I", 0),
        }
    )
