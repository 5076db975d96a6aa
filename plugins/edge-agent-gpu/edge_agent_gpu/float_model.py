"""This is where an int8 model is written down in float32, for a GPU that computes in nothing else.

Weights become the numbers they stood for, and what is computed is not rounded any more; steps that only quantised
or gave back floats are left out. Features are those of the int8 model but for its rounding: what was learned with one
is not to be mixed with the other, and its card has another name and hash.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.errors import DamagedError, ExtractorError
from edge_agent.vision.anatomy import Anatomy, Part
from edge_agent.vision.flatbuffer import Table
from edge_agent.vision.flatbuffer_writer import (
    Field,
    NewTable,
    Numbers,
    Old,
    Scalar,
    Tables,
    Text,
    write_flatbuffer,
)
from edge_agent.vision.preprocessing import load_card
from edge_agent.vision.tflite_schema import (
    IDENTIFIER,
    BufferField,
    ModelField,
    Operator,
    OperatorCodeField,
    OperatorField,
    QuantizationField,
    SubGraphField,
    TensorField,
)

UNDERSTOOD = frozenset(
    {
        Operator.ADD,
        Operator.AVERAGE_POOL_2D,
        Operator.CONV_2D,
        Operator.DEPTHWISE_CONV_2D,
        Operator.DEQUANTIZE,
        Operator.FULLY_CONNECTED,
        Operator.MEAN,
        Operator.MUL,
        Operator.PAD,
        Operator.QUANTIZE,
        Operator.RESHAPE,
    }
)
"""Steps that compute the same of floats as of what these were quantised to."""

_DROPPED = (Operator.QUANTIZE, Operator.DEQUANTIZE)
_FLOAT32 = 0


def float_model(data: bytes) -> bytes:
    """The bytes of the float32 model of a quantised one.

    Raises `DamagedError` for bytes that are no whole model, and for one with steps that are not understood here.
    """
    anatomy = Anatomy(data)
    strange = sorted({step.operator for step in anatomy.steps} - UNDERSTOOD)
    if strange or anatomy.graphs != 1:
        raise DamagedError(f"it has steps that are not rewritten here, of the kinds {strange}")
    alias: dict[int, int] = {}
    for step in anatomy.steps:
        if step.operator in _DROPPED:
            alias[step.outputs[0]] = alias.get(step.inputs[0], step.inputs[0])
    buffers: list[NewTable] = [NewTable({})]
    tensors = [_tensor(anatomy, part, buffers) for part in anatomy.tensors]
    steps = [
        _step(anatomy, number, alias)
        for number, step in enumerate(anatomy.steps)
        if step.operator not in _DROPPED
    ]
    graph = NewTable(
        {
            SubGraphField.TENSORS: Tables(tensors),
            SubGraphField.INPUTS: _indices([part.index for part in anatomy.inputs], alias),
            SubGraphField.OUTPUTS: _indices([part.index for part in anatomy.outputs], alias),
            SubGraphField.OPERATORS: Tables(steps),
            SubGraphField.NAME: Text("main"),
        }
    )
    root = NewTable(
        {
            ModelField.VERSION: Scalar("I", 3),
            ModelField.OPERATOR_CODES: Tables([_code(anatomy.codes[i]) for i in range(len(anatomy.codes))]),
            ModelField.SUBGRAPHS: Tables([graph]),
            ModelField.DESCRIPTION: Text("float32, from a quantised model"),
            ModelField.BUFFERS: Tables(buffers),
        }
    )
    return write_flatbuffer(root, IDENTIFIER, anatomy.data)


def write_float_model(model: Path, to: Path) -> None:
    """Write the float32 model of an extractor, and its card beside it; the extractor's card lies beside that.

    Raises `ExtractorError` where either cannot be read or rewritten, `OSError` where nothing can be written.
    """
    card = load_card(model.with_suffix(".json"))
    try:
        made = float_model(model.read_bytes())
    except DamagedError as error:
        raise ExtractorError(f"{model}: {error}") from None
    said = json.loads(model.with_suffix(".json").read_bytes())
    to.write_bytes(made)
    document = {
        "name": to.stem,
        "file": to.name,
        "sha256": hashlib.sha256(made).hexdigest(),
        "n_features": card.n_features,
        "input": said["input"],
        "origin": f"{card.name} in float32; its weights are still those of 8 bits",
    }
    to.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n")


def _tensor(anatomy: Anatomy, part: Part, buffers: list[NewTable]) -> NewTable:
    values = _constant(anatomy, part)
    quantised = anatomy.tensor_tables[part.index].table(TensorField.QUANTIZATION) is not None
    kind = part.kind
    if part.dtype is not None and part.dtype.kind in "iu" and (quantised or part.dtype != np.int32):
        kind = _FLOAT32
    place = 0
    if values is not None:
        place = len(buffers)
        octets = np.frombuffer(values.tobytes(), np.uint8)
        buffers.append(NewTable({BufferField.DATA: Numbers(octets)}))
        kind = _FLOAT32 if values.dtype == np.float32 else part.kind
    return NewTable(
        {
            TensorField.SHAPE: Numbers(np.array(part.shape, dtype=np.int32)),
            TensorField.TYPE: Scalar("b", kind),
            TensorField.BUFFER: Scalar("I", place),
            TensorField.NAME: Text(part.name),
        }
    )


def _constant(anatomy: Anatomy, part: Part) -> npt.NDArray[np.generic] | None:
    """What a tensor always holds: float32 for what was quantised, per channel where it was so; else as it is."""
    raw = anatomy.raw(part.buffer)
    if part.dtype is None or not raw or part.index in anatomy.makers:
        return None
    values = np.frombuffer(raw, part.dtype)
    told = anatomy.tensor_tables[part.index].table(TensorField.QUANTIZATION)
    scales = np.array([] if told is None else told.numbers(QuantizationField.SCALE, "f"), np.float64)
    if told is None or not scales.size:
        return values
    points = np.array(told.numbers(QuantizationField.ZERO_POINT, "q") or [0], np.float64)
    along = [1] * len(part.shape)
    if scales.size > 1:
        along[told.int32(QuantizationField.DIMENSION)] = scales.size
        points = np.broadcast_to(points, scales.shape).reshape(along)
        scales = scales.reshape(along)
    meant: npt.NDArray[np.float32] = ((values.reshape(part.shape) - points) * scales).astype(np.float32)
    return meant


def _step(anatomy: Anatomy, number: int, alias: dict[int, int]) -> NewTable:
    table, step = anatomy.step_tables[number], anatomy.steps[number]
    fields: dict[int, Field] = {
        OperatorField.CODE_INDEX: Scalar("I", table.uint32(OperatorField.CODE_INDEX)),
        OperatorField.INPUTS: _indices(step.inputs, alias),
        OperatorField.OUTPUTS: _indices(step.outputs, {}),
    }
    if kind := table.uint8(OperatorField.OPTIONS_TYPE):
        fields[OperatorField.OPTIONS_TYPE] = Scalar("B", kind)
        place = table.place(OperatorField.OPTIONS)
        if place is not None:
            fields[OperatorField.OPTIONS] = Old(place)
    return NewTable(fields)


def _code(code: Table) -> NewTable:
    """The same kind of step in its first version, which knows floats only."""
    number = max(code.int8(OperatorCodeField.OLD_CODE), code.int32(OperatorCodeField.CODE))
    return NewTable(
        {
            OperatorCodeField.OLD_CODE: Scalar("b", number),
            OperatorCodeField.VERSION: Scalar("i", 1),
            OperatorCodeField.CODE: Scalar("i", number),
        }
    )


def _indices(indices: list[int] | tuple[int, ...], alias: dict[int, int]) -> Numbers:
    return Numbers(np.array([alias.get(index, index) for index in indices], dtype=np.int32))


def main(arguments: list[str]) -> int:
    """Write the float32 model of a `.tflite` that has a card; the two paths are the arguments."""
    if len(arguments) != 2:
        print("usage: python -m edge_agent_gpu.float_model INT8.tflite FLOAT32.tflite", file=sys.stderr)
        return 2
    try:
        write_float_model(*(Path(argument).expanduser() for argument in arguments))
    except (ExtractorError, OSError) as error:
        print(f"float_model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
