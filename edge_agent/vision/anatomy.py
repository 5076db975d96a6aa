"""This is where the tensors and steps of any `.tflite` are looked through, before native code sees them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import DamagedError
from edge_agent.vision.flatbuffer import Table
from edge_agent.vision.graft import without_files
from edge_agent.vision.tflite_schema import (
    IDENTIFIER,
    TYPES,
    BufferField,
    ModelField,
    Operator,
    OperatorCodeField,
    OperatorField,
    QuantizationField,
    SubGraphField,
    TensorField,
)

TYPE_NAMES = ("float32", "float16", "int32", "uint8", "int64", "text", "bool", "int16", "complex64", "int8")
"""Names of types by their numbers; there are more, which no picture or feature has."""


@dataclass(frozen=True)
class Part:
    """One tensor of the graph; a `scale` of 0 means that it is not quantised as a whole."""

    index: int
    name: str
    shape: tuple[int, ...]
    """As it is stored: 1 where the length is free, empty where it is not told."""
    free: tuple[int, ...]
    """Places of the lengths that are free."""
    kind: int
    """The number of its type."""
    scale: float
    zero_point: int
    buffer: int

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Its type, None for one that is not understood here."""
        return TYPES.get(self.kind)

    @property
    def type_name(self) -> str:
        """Its type in words."""
        return TYPE_NAMES[self.kind] if self.kind < len(TYPE_NAMES) else f"type {self.kind}"

    @property
    def size(self) -> int:
        """How many numbers it holds; 0 where it is not told."""
        return prod(self.shape) if self.shape else 0

    @property
    def is_vector(self) -> bool:
        """Whether it is [n], [1, n], [1, 1, 1, n] or the like."""
        return bool(self.shape) and self.size == self.shape[-1]

    def range(self) -> tuple[float, float] | None:
        """The least and the greatest number a quantised one can hold."""
        if not self.scale or self.dtype is None or self.dtype.kind not in "iu":
            return None
        limits = np.iinfo(self.dtype)
        return (
            self.scale * (int(limits.min) - self.zero_point),
            self.scale * (int(limits.max) - self.zero_point),
        )


@dataclass(frozen=True)
class StepFound:
    """One step; -1 among its inputs stands for one that is left out."""

    operator: int
    custom: str
    """The name of one that is not built in."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def reads(self) -> frozenset[int]:
        """The tensors it reads."""
        return frozenset(index for index in self.inputs if index >= 0)


class Anatomy:
    """What a file holds: its tensors, its steps in their order, and what it takes and gives.

    Raises `DamagedError` for bytes that are not a whole TFLite model of at least one graph.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        model = Table.root(without_files(data), IDENTIFIER)
        graphs = model.tables(ModelField.SUBGRAPHS)
        if not graphs:
            raise DamagedError("it holds no graph")
        self.model, self.graph, self.graphs = model, graphs[0], len(graphs)
        self.buffers = model.tables(ModelField.BUFFERS)
        self.codes = model.tables(ModelField.OPERATOR_CODES)
        self.tensor_tables = self.graph.tables(SubGraphField.TENSORS)
        self.tensors = [_part(index, table) for index, table in enumerate(self.tensor_tables)]
        self.step_tables = self.graph.tables(SubGraphField.OPERATORS)
        self.steps = [self._step(number, table) for number, table in enumerate(self.step_tables)]
        self.inputs = self._known(self.graph.numbers(SubGraphField.INPUTS, "i"), "input")
        self.outputs = self._known(self.graph.numbers(SubGraphField.OUTPUTS, "i"), "output")
        self.makers = {index: number for number, step in enumerate(self.steps) for index in step.outputs}
        """Which step makes a tensor."""

    def _step(self, number: int, table: Table) -> StepFound:
        index = table.uint32(OperatorField.CODE_INDEX)
        if index >= len(self.codes):
            raise DamagedError(f"step {number} is of kind {index} of {len(self.codes)}")
        code = self.codes[index]
        operator = max(code.int8(OperatorCodeField.OLD_CODE), code.int32(OperatorCodeField.CODE))
        custom = ""
        if operator == Operator.CUSTOM:
            custom = code.text(OperatorCodeField.CUSTOM_NAME) or "without a name"
        lists = []
        for field in (OperatorField.INPUTS, OperatorField.OUTPUTS):
            indices = table.numbers(field, "i")
            if any(not -1 <= one < len(self.tensors) for one in indices):
                raise DamagedError(f"step {number} names a tensor that is not there")
            lists.append(tuple(int(one) for one in indices))
        return StepFound(operator, custom, *lists)

    def _known(self, indices: Iterable[int], what: str) -> list[Part]:
        found = []
        for index in indices:
            if not 0 <= index < len(self.tensors):
                raise DamagedError(f"its {what} is tensor {index} of {len(self.tensors)}")
            found.append(self.tensors[index])
        return found

    def raw(self, index: int) -> bytes:
        """The bytes of a buffer, wherever in the file they lie; empty for what is computed."""
        if not 0 <= index < len(self.buffers):
            raise DamagedError(f"a tensor is kept in buffer {index} of {len(self.buffers)}")
        buffer = self.buffers[index]
        offset, size = buffer.uint64(BufferField.OFFSET), buffer.uint64(BufferField.SIZE)
        if offset <= 1:  # 0 and 1 are what converters leave there when the bytes are in the table
            return buffer.raw(BufferField.DATA)
        if offset + size > len(self.data):
            raise DamagedError(f"buffer {index} does not end within the file")
        return self.data[offset : offset + size]

    def constant(self, part: Part) -> NDArray[np.float64] | None:
        """The numbers a tensor always holds, flat; None for one that is computed or not understood."""
        if part.dtype is None or part.index in self.makers:
            return None
        raw = self.raw(part.buffer)
        if not raw or len(raw) % part.dtype.itemsize:
            return None
        values = np.frombuffer(raw, part.dtype).astype(np.float64)
        return (values - part.zero_point) * part.scale if part.scale else values

    def needed(self, wanted: Collection[int], given: Collection[int] = ()) -> list[int]:
        """The places of the steps that lead to some tensors, in their order; what is `given` needs none."""
        known, steps, open_ones = set(given), set(), list(wanted)
        while open_ones:
            index = open_ones.pop()
            if index in known:
                continue
            known.add(index)
            number = self.makers.get(index)
            if number is not None and number not in steps:
                steps.add(number)
                open_ones += self.steps[number].reads
        return sorted(steps)

    def depend(self, wanted: Collection[int], on: int, given: Collection[int] = ()) -> bool:
        """Whether tensors are computed from one when others are given."""
        steps = self.needed(wanted, given)
        return on in wanted or any(on in self.steps[number].reads for number in steps)

    def is_bottleneck(self, index: int) -> bool:
        """Whether all that is given follows from this tensor alone, and this one from what is taken."""
        taken = [part.index for part in self.inputs]
        outputs = [part.index for part in self.outputs]
        return any(self.depend([index], one) for one in taken) and not any(
            self.depend(outputs, one, given=[index]) for one in taken if one != index
        )


def _part(index: int, table: Table) -> Part:
    shape = tuple(int(side) for side in table.numbers(TensorField.SHAPE, "i"))
    signature = table.numbers(TensorField.SHAPE_SIGNATURE, "i")
    sides = signature if len(signature) == len(shape) else shape
    told = table.table(TensorField.QUANTIZATION)
    scales = () if told is None else told.numbers(QuantizationField.SCALE, "f")
    points = () if told is None else told.numbers(QuantizationField.ZERO_POINT, "q")
    single = len(scales) == 1 and 0.0 < scales[0] < np.inf and len(points) <= 1
    return Part(
        index=index,
        name=table.text(TensorField.NAME),
        shape=shape,
        free=tuple(place for place, side in enumerate(sides) if side < 1),
        kind=table.int8(TensorField.TYPE),
        scale=float(scales[0]) if single else 0.0,
        zero_point=int(points[0]) if single and points else 0,
        buffer=table.uint32(TensorField.BUFFER),
    )
