"""This is where pixels become features."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from edge_agent.errors import DelegateError, ExtractorError
from edge_agent.store.whole_file import read_whole_file
from edge_agent.vision.delegate_spec import CPU, DelegateUse
from edge_agent.vision.preprocessing import (
    ExtractorCard,
    Preprocessor,
    dequantised,
    fingerprint_of,
)
from edge_agent.vision.runtime import Progress, load_interpreter

_ADVICE = "put the right file back, or choose another by `edge-agent extractors use`"


class FeatureExtractor:
    """The frozen part of the model: a picture in, a vector out.

    Opening one reads the file, checks its sha256 before native code sees a byte of it (damaged models crash
    one runtime and load silently in the other), loads it and compares it with its card. With a `delegate` its
    library is loaded too; `progress` is told of the stages, as `load_interpreter` says.

    `model` is what `read_model` gave, where that was done already.

    Raises `ExtractorError` that names the file and what is wrong, and `DelegateError` with what the delegate said.
    """

    def __init__(
        self,
        card: ExtractorCard,
        *,
        runtime: str = "auto",
        threads: int = 1,
        delegate: DelegateUse | None = None,
        progress: Progress = lambda _stage: None,
        model: bytes | None = None,
    ) -> None:
        self.card = card
        model = read_model(card) if model is None else model
        self._model = model
        try:
            interpreter = load_interpreter(
                model,
                runtime=runtime,
                threads=threads,
                output=card.output,
                delegate=delegate,
                progress=progress,
            )
        except DelegateError:
            raise
        except ExtractorError as error:
            raise ExtractorError(f"{card.path}: {error}") from None
        wanted = card.input
        shape = (1, wanted.height, wanted.width, 3)
        if wanted.layout == "NCHW":
            shape = (1, 3, wanted.height, wanted.width)
        if interpreter.input.shape != shape:
            raise ExtractorError(
                f"{card.path}: the model's input has shape {interpreter.input.shape}, not {shape}"
            )
        if (n_features := int(np.prod(interpreter.output.shape))) != card.n_features:
            raise ExtractorError(f"{card.path}: the model gives {n_features} features, not {card.n_features}")
        self._interpreter = interpreter
        self._prepare = Preprocessor(
            wanted, interpreter.input.dtype, interpreter.input.scale, interpreter.input.zero_point
        )
        self.runtime = interpreter.facts
        self.taken = interpreter.taken
        """How many operators the delegate took, and of how many; None where it is not known."""
        self.delegate = CPU if delegate is None else delegate.name
        self.notice = ""
        kind = CPU if delegate is None else delegate.kind
        self.fingerprint = fingerprint_of(card, self.runtime.release, kind)
        """Equal for two extractors exactly when their features may be compared: the last part but the output is
        `cpu` also for a delegate that was seen to agree with the CPU, and else the delegate's own name."""

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Features of shape [n_features] for RGB pixels uint8 of shape [height, width, 3] as the card has
        them.

        Raises `ExtractorError` when the pixels have another shape, the runtime refuses, or the features are
        not finite numbers.
        """
        raw = self._interpreter.run(self._prepare(pixels))
        output = self._interpreter.output
        features = dequantised(raw.reshape(-1), output.scale, output.zero_point)
        if not np.all(np.isfinite(features)):
            raise ExtractorError("the extractor gave features that are not finite numbers")
        return features

    def twin(self) -> FeatureExtractor:
        """Another one of the same model, for another thread; nothing is read. Raises `ExtractorError`."""
        return FeatureExtractor(self.card, runtime=self.runtime.name, model=self._model)

    def warm_up(self) -> None:
        """Run once on a grey picture, so that the first real one does not wait for lazy preparations."""
        width, height = self.card.size
        self.extract(np.full((height, width, 3), 127, dtype=np.uint8))


def read_model(card: ExtractorCard) -> bytes:
    """The bytes of a card's model file, seen to be the file that the card describes.

    Raises `ExtractorError` that names the file and what is wrong.
    """
    try:
        model = read_whole_file(card.path)
    except OSError as error:
        raise ExtractorError(f"{card.path}: cannot be read: {error.strerror}; {_ADVICE}") from None
    digest = hashlib.sha256(model).hexdigest()
    if digest != card.sha256:
        raise ExtractorError(
            f"{card.path}: damaged or not the file its card describes (sha256 {digest[:16]}..., expected"
            f" {card.sha256[:16]}...); it was not loaded; {_ADVICE}"
        )
    return model
