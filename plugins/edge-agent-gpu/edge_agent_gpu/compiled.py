"""This is where LiteRT compiles a model for the GPU and runs it there."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.errors import ExtractorError
from edge_agent.vision.extractor import read_model
from edge_agent.vision.preprocessing import ExtractorCard, Preprocessor
from edge_agent_gpu import vulkan

FLOAT32 = "float32"


class CompiledExtractor:
    """A whole model on the GPU, in float32; nothing of it runs on the processor.

    Raises `ExtractorError` with why the GPU, or this model on it, cannot be used.
    """

    def __init__(self, card: ExtractorCard) -> None:
        if driver := card.options.get("driver"):
            os.environ.update(dict.fromkeys(vulkan.NAMED, str(driver)))
        model = read_model(card)
        native = _compiled(model)
        # The runtime may go on reading from these bytes.
        self._kept = model
        self._native = native
        try:
            self._inputs = native.create_input_buffers(0)
            self._outputs = native.create_output_buffers(0)
        except (RuntimeError, ValueError) as error:
            raise ExtractorError(
                f"the GPU cannot take this model's inputs and outputs: {_words(error)}"
            ) from None
        # Buffers tell their shapes also where a file has no signatures, and so no names.
        taken = [_kind(buffer) for buffer in self._inputs]
        shape = (
            [1, card.height, card.width, 3]
            if card.input.layout == "NHWC"
            else [1, 3, card.height, card.width]
        )
        if taken != [(FLOAT32, shape)]:
            raise ExtractorError(f"the GPU takes {FLOAT32} {shape}; this model takes {_told(taken)}")
        self._at = _position(native, card) if len(self._outputs) > 1 else 0
        given = _kind(self._outputs[self._at])
        if given[0] != FLOAT32 or int(np.prod(given[1])) != card.n_features:
            raise ExtractorError(
                f"this model gives {_told([given])}, not {card.n_features} {FLOAT32} features"
            )
        self._n_features = card.n_features
        self._prepare = Preprocessor(card.input, np.dtype(np.float32), 0.0, 0)

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Features float32 [n_features] for RGB pixels uint8 [height, width, 3]; raises what LiteRT raises."""
        self._inputs[0].write(self._prepare(pixels))
        self._native.run_by_index(0, self._inputs, self._outputs)
        features: npt.NDArray[np.float32] = self._outputs[self._at].read(self._n_features, np.float32)
        return features


def _compiled(model: bytes) -> Any:
    try:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import GpuOptions, Options
    except ImportError as error:
        raise ExtractorError(
            f"LiteRT with a compiler for GPUs is not installed ({error}); `pip install -U ai-edge-litert` brings it"
            " where there is a wheel"
        ) from None
    if why := vulkan.missing():
        raise ExtractorError(why)
    options = Options(
        hardware_accelerators=HardwareAccelerator.GPU,
        # Half precision would be faster on some, and give other features than the processor.
        gpu_options=GpuOptions(enforce_f32=True),
    )
    try:
        native = CompiledModel.from_buffer(model, options=options)
    except (RuntimeError, ValueError) as error:
        raise ExtractorError(f"LiteRT could not use the GPU for this model: {_words(error)}") from None
    if not native.is_fully_accelerated():
        raise ExtractorError("the GPU cannot run every operator of this model")
    return native


def _words(error: Exception) -> str:
    """The part of LiteRT's words that says something: its places in C++ are cut off."""
    lines = [line.strip(" └") for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith("ERROR: [")]
    return " ".join(telling) or "it gave no reason; see whether `vulkaninfo` finds the GPU"


def _position(native: Any, card: ExtractorCard) -> int:
    """Which of several outputs the card names."""
    key = native.get_signature_by_index(0)["key"]
    names = [one["name"] for one in native.get_output_tensor_details(key).values()]
    if card.output not in names:
        raise ExtractorError(
            f"the model has the outputs {', '.join(map(repr, names))}; its card names {card.output!r}"
        )
    return names.index(card.output)


def _kind(buffer: Any) -> tuple[str, list[int]]:
    details = buffer.get_tensor_details()
    return str(details["dtype"]), [int(side) for side in details["shape"]]


def _told(kinds: list[tuple[str, list[int]]]) -> str:
    return ", ".join(f"{dtype} {shape}" for dtype, shape in kinds)
