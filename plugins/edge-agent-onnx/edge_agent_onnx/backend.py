"""This is where ONNX Runtime turns pixels into features; only the engine process imports it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from edge_agent.errors import ExtractorError
from edge_agent.vision.extractor import read_model
from edge_agent.vision.preprocessing import ExtractorCard, Preprocessor, fingerprint_of
from edge_agent.vision.runtime import RuntimeFacts

CPU = "CPUExecutionProvider"

TYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(uint8)": np.dtype(np.uint8),
}
"""What an input may hold; uint8 takes whole numbers, as (pixel - mean) / std gives them."""

ERRORS_ONLY = 3
"""Of what ONNX Runtime prints."""


class OnnxExtractor:
    """A model in ONNX's format with one picture as its input.

    Raises `ExtractorError` that names the file and what does not fit its card, and, when `strict`, the provider
    that is not there.
    """

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        self._card = card
        wanted = [str(name) for name in card.options.get("providers", ()) if name != CPU]
        available = onnxruntime.get_available_providers()
        session = onnxruntime.InferenceSession(
            read_model(card),
            _session_options(threads),
            providers=[*(name for name in wanted if name in available), CPU],
        )
        taken = [name for name in session.get_providers() if name != CPU]
        self.notice = _notice([name for name in wanted if name not in taken], available)
        if self.notice and card.options.get("strict"):
            raise ExtractorError(f"{card.path}: {self.notice}; `strict` is set, so nothing else is used")
        self._session = session
        self._input, dtype = _input(session, card)
        self._output = _output(session, card)
        self._prepare = Preprocessor(card.input, dtype, 1.0, 0)
        self.runtime = RuntimeFacts("onnxruntime", onnxruntime.__version__)
        self.delegate = "+".join(_short(name) for name in taken) or "cpu"
        self.fingerprint = fingerprint_of(card, self.runtime.release, self.delegate)

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Features float32 [n_features] for RGB pixels uint8 [height, width, 3] as the card has them.

        Raises `ExtractorError` when the model gives something else. What ONNX Runtime itself raises ends the engine
        process, which is started again: a provider whose device is gone does not come back by itself.
        """
        (given,) = self._session.run([self._output], {self._input: self._prepare(pixels)})
        if given.size != self._card.n_features or given.dtype.kind != "f":
            raise ExtractorError(
                f"{self._card.path}: the output {self._output!r} is {given.dtype} {list(given.shape)}, not"
                f" {self._card.n_features} features; name another as `output`, or mend n_features in the card"
            )
        features: npt.NDArray[np.float32] = given.reshape(-1).astype(np.float32)
        return features


def _session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    # A thread that waits must not keep the board busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _notice(missing: list[str], available: list[str]) -> str:
    if not missing:
        return ""
    return (
        f"{', '.join(missing)} cannot be used by this ONNX Runtime, which has {', '.join(available)}; install the"
        " build of it that has the provider, and the driver of the device"
    )


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider").lower()


def _input(session: Any, card: ExtractorCard) -> tuple[str, np.dtype[Any]]:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(repr(one.name) for one in inputs)
        raise ExtractorError(f"{card.path}: has the inputs {names}; an extractor has one, a picture")
    (one,) = inputs
    shape = (
        [1, card.height, card.width, 3] if card.input.layout == "NHWC" else [1, 3, card.height, card.width]
    )
    free = [
        wanted if not isinstance(side, int) else side for side, wanted in zip(one.shape, shape, strict=False)
    ]
    if len(one.shape) != 4 or free != shape:
        raise ExtractorError(
            f"{card.path}: takes {list(one.shape)}, and its card says {shape}; mend width, height and layout there"
        )
    if one.type not in TYPES:
        raise ExtractorError(f"{card.path}: takes {one.type}; known are {', '.join(TYPES)}")
    return str(one.name), TYPES[one.type]


def _output(session: Any, card: ExtractorCard) -> str:
    names = [str(one.name) for one in session.get_outputs()]
    if card.output is None and len(names) == 1:
        return names[0]
    if card.output not in names:
        what = f", and no {card.output!r}" if card.output is not None else ""
        raise ExtractorError(
            f"{card.path}: has the outputs {', '.join(map(repr, names))}{what}; name the one that is the features as"
            " `output`"
        )
    return card.output
