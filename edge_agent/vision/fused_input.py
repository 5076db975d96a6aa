"""This is where a model is given steps in front that turn plain RGB pixels into what its body looks at.

Every way gives bit for bit what the preprocessing of the agent gives: the exported model sees the same
pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ExtractorError
from edge_agent.vision.flatbuffer_writer import Scalar
from edge_agent.vision.graft import Graft, GraphTensor, Step
from edge_agent.vision.preprocessing import ExtractorCard, InputCard, Preprocessor
from edge_agent.vision.tflite_schema import TYPE_NUMBERS, Operator, OptionsType

LEVELS = 256


@dataclass(frozen=True)
class PixelInput:
    """The exported model's input: uint8 RGB pixels [1, height, width, 3].

    A program that normalises by `mean` and `std` and then quantises as the tensor says, as those do that go by
    the metadata, comes back to the pixels as they are.
    """

    tensor: GraphTensor
    width: int
    height: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def add_pixel_input(graft: Graft, card: ExtractorCard) -> PixelInput:
    """Make the model take uint8 pixels; raises `ExtractorError` where its input is not what the card says."""
    wanted, body = card.input, graft.input
    shape = (1, wanted.height, wanted.width, 3)
    if body.shape != ((1, 3, *shape[1:3]) if wanted.layout == "NCHW" else shape):
        raise ExtractorError(f"{card.path}: the model's input has shape {body.shape}, not {shape}")
    tables = _tables(wanted, body)
    plain = wanted.layout == "NHWC" and wanted.color == "RGB"
    levels = np.arange(LEVELS)
    same = all(bool(np.array_equal(table, levels)) for table in tables)
    if plain and same and body.dtype == np.uint8:
        return _described(body, wanted, own_scale=True)
    if plain and body.dtype == np.int8 and all(np.array_equal(table, levels - 128) for table in tables):
        pixels = graft.tensor("image", shape, np.uint8, scale=body.scale, zero_point=body.zero_point + 128)
        graft.add_before(Step(Operator.QUANTIZE, [pixels], body, OptionsType.QUANTIZE, version=2))
        return _described(pixels, wanted, own_scale=True)
    # A scale of 1 says that the numbers mean themselves.
    pixels = graft.tensor("image", shape, np.uint8, scale=1.0)
    at = _reversed(graft, pixels) if wanted.color == "BGR" else pixels
    end = body if wanted.layout == "NHWC" else graft.tensor("normalised", shape, body.dtype)
    if body.dtype == np.float32 and _is_exact(wanted, tables):
        _normalise(graft, wanted, at, end)
    else:
        _look_up(graft, tables, at, end)
    if end is not body:
        order = graft.constant("channels_first", np.array([0, 3, 1, 2], dtype=np.int32))
        graft.add_before(Step(Operator.TRANSPOSE, [end, order], body, OptionsType.TRANSPOSE, version=2))
    return _described(pixels, wanted, own_scale=False)


def _described(tensor: GraphTensor, wanted: InputCard, *, own_scale: bool) -> PixelInput:
    mean, std = (tuple(_three(wanted.mean)), tuple(_three(wanted.std))) if own_scale else ((0.0,), (1.0,))
    return PixelInput(tensor, wanted.width, wanted.height, mean, std)


def _tables(wanted: InputCard, body: GraphTensor) -> list[NDArray[Any]]:
    """What each of the 256 levels of a pixel becomes, for red, green and blue as the picture has them."""
    card = msgspec.structs.replace(wanted, width=LEVELS, height=1, layout="NHWC", color="RGB")
    prepare = Preprocessor(card, body.dtype, body.scale, body.zero_point)
    ramp = np.repeat(np.arange(LEVELS, dtype=np.uint8)[None, :, None], 3, axis=2)
    return [np.ascontiguousarray(channel) for channel in prepare(ramp)[0, 0].T]


def _is_exact(wanted: InputCard, tables: list[NDArray[Any]]) -> bool:
    """Whether subtracting and dividing in float32 gives the same bits as the tables."""
    levels = np.arange(LEVELS, dtype=np.float32)
    return all(
        bool(np.array_equal((levels - np.float32(mean)) / np.float32(std), table))
        for table, mean, std in zip(tables, _three(wanted.mean), _three(wanted.std), strict=True)
    )


def _normalise(graft: Graft, wanted: InputCard, pixels: GraphTensor, end: GraphTensor) -> None:
    steps: list[tuple[Operator, OptionsType, str, tuple[float, float, float]]] = []
    if any(_three(wanted.mean)):
        steps.append((Operator.SUB, OptionsType.SUB, "mean", _three(wanted.mean)))
    if _three(wanted.std) != (1.0, 1.0, 1.0):
        steps.append((Operator.DIV, OptionsType.DIV, "std", _three(wanted.std)))
    at = graft.tensor("levels", end.shape, np.float32) if steps else end
    _cast(graft, pixels, at)
    for number, (operator, options, name, values) in enumerate(steps, start=1):
        after = end if number == len(steps) else graft.tensor(f"without_{name}", end.shape, np.float32)
        constant = graft.constant(name, np.array(values, dtype=np.float32))
        graft.add_before(Step(operator, [at, constant], after, options))
        at = after


def _look_up(graft: Graft, tables: list[NDArray[Any]], pixels: GraphTensor, end: GraphTensor) -> None:
    """By a table of all levels, one behind the other for each channel."""
    indices = graft.tensor("level_indices", end.shape, np.int32)
    _cast(graft, pixels, indices)
    joined = np.concatenate(tables)
    if all(np.array_equal(table, tables[0]) for table in tables):
        joined = tables[0]
    else:
        first = graft.constant("channel_begins", LEVELS * np.arange(3, dtype=np.int32))
        at = indices
        indices = graft.tensor("table_indices", end.shape, np.int32)
        graft.add_before(Step(Operator.ADD, [at, first], indices, OptionsType.ADD))
    table = graft.constant("table", joined)
    graft.add_before(Step(Operator.GATHER, [table, indices], end, OptionsType.GATHER, version=2))


def _cast(graft: Graft, pixels: GraphTensor, end: GraphTensor) -> None:
    # The kernels go by the tensors' own types; the options are for readers.
    graft.add_before(Step(Operator.CAST, [pixels], end, OptionsType.CAST, _cast_options(pixels, end)))


def _cast_options(source: GraphTensor, target: GraphTensor) -> dict[int, Any]:
    """From which type to which."""
    return {
        0: Scalar("b", TYPE_NUMBERS[source.dtype]),
        1: Scalar("b", TYPE_NUMBERS[target.dtype]),
    }


def _reversed(graft: Graft, pixels: GraphTensor) -> GraphTensor:
    """Blue, green, red, for a body that wants it so."""
    order = graft.constant("channel_order", np.array([2, 1, 0], dtype=np.int32))
    swapped = graft.tensor("swapped", pixels.shape, np.uint8, scale=1.0)
    options = {0: Scalar("i", 3)}
    graft.add_before(Step(Operator.GATHER, [pixels, order], swapped, OptionsType.GATHER, options, version=2))
    return swapped


def _three(value: float | tuple[float, float, float]) -> tuple[float, float, float]:
    return value if isinstance(value, tuple) else (value, value, value)
