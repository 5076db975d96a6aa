"""This is where an extractor is the frozen first stage of a pipeline: a picture in, features out."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ExtractorError, MLModelError, MLModelErrorCode
from edge_agent.ml.constraints import MLImageConstraint
from edge_agent.ml.description import MLFeatureDescription
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey
from edge_agent.ml.pixels import MLPixelFormat
from edge_agent.ml.values import MLFeatureType, MLFeatureValue
from edge_agent.store.whole_file import read_whole_file
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard, card_from, fingerprint_start, load_card

IMAGE = "image"
REMEMBERED = 64
"""Pictures whose features are kept, so that several models with one extractor look at a picture once."""


class ExtractorStage:
    """A TFLite extractor behind the protocol of frozen stages; any number of models and threads may share it.

    The file is checked and loaded when the first picture comes. Raises `MLModelError` IO when there is no
    such file.
    """

    kind: ClassVar[str] = "extractor"
    parameter_descriptions: tuple[MLParameterDescription, ...] = ()

    def __init__(self, card: ExtractorCard, *, runtime: str = "auto", threads: int = 1) -> None:
        if not card.path.is_file():
            raise MLModelError(MLModelErrorCode.IO, f"{card.path}: cannot be read: there is no such file")
        if card.backend != TFLITE:
            raise MLModelError(
                MLModelErrorCode.CUSTOM_MODEL,
                f"{card.path}: is run by {card.backend}; only a TFLite extractor can be a part of a model",
            )
        self._card = card
        self._runtime = runtime
        self._threads = threads
        self._extractor: FeatureExtractor | None = None
        # The interpreter serves one caller at a time.
        self._lock = threading.Lock()
        self._recent: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._extractions = 0

    @property
    def input(self) -> MLFeatureDescription:
        """A picture in RGB, of the size the extractor looks at."""
        constraint = MLImageConstraint(self._card.width, self._card.height, MLPixelFormat.RGB)
        return MLFeatureDescription(IMAGE, MLFeatureType.IMAGE, image_constraint=constraint)

    @property
    def n_features(self) -> int:
        """How many features it gives."""
        return self._card.n_features

    @property
    def fingerprint(self) -> str:
        """Name, sum of the file and what else of the card counts; the runtime is that of whoever asks."""
        card = self._card
        output = "" if card.output is None else f":{card.output}"
        return fingerprint_start(card).removesuffix(":") + output

    @property
    def extractions(self) -> int:
        """How many pictures the network itself has looked at."""
        return self._extractions

    @property
    def _file_name(self) -> str:
        """Not that of the file, which a package names after its sum: it would grow with every model saved."""
        return f"{self._card.name}.tflite"

    def features(self, value: MLFeatureValue) -> NDArray[np.float32]:
        """Features [n_features] of a picture that `input` allows.

        Raises `MLModelError` CUSTOM_MODEL when the file is damaged or the runtime refuses.
        """
        pixels = value.image_buffer_value.pixels
        key = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        with self._lock:
            known = self._recent.get(key)
            if known is None:
                known = self._recent[key] = self._extract(pixels)
                if len(self._recent) > REMEMBERED:
                    self._recent.popitem(last=False)
            self._recent.move_to_end(key)
        return known

    def _extract(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            if self._extractor is None:
                self._extractor = FeatureExtractor(self._card, runtime=self._runtime, threads=self._threads)
            self._extractions += 1
            row = self._extractor.extract(pixels)
        except ExtractorError as error:
            raise MLModelError(MLModelErrorCode.CUSTOM_MODEL, str(error)) from error
        row.setflags(write=False)
        return row

    def describe(self) -> dict[str, Any]:
        """The card."""
        card = self._card
        return {
            "name": card.name,
            "path": self._file_name,
            "sha256": card.sha256,
            "n_features": card.n_features,
            "input": msgspec.to_builtins(card.input),
        } | ({} if card.output is None else {"output": card.output})

    def files(self) -> Mapping[str, bytes]:
        """The model's file; raises `MLModelError` IO when it is no longer there or no longer the same."""
        path = self._card.path
        try:
            data = read_whole_file(path)
        except OSError as error:
            raise MLModelError(
                MLModelErrorCode.IO, f"{path}: cannot be read: {error.strerror or error}"
            ) from error
        if hashlib.sha256(data).hexdigest() != self._card.sha256:
            raise MLModelError(MLModelErrorCode.IO, f"{path}: damaged: not the file its card describes")
        return {self._file_name: data}


def open_stage(
    description: Mapping[str, Any],
    files: Mapping[str, Path],
    *,
    folder: Path,  # noqa: ARG001 - all its files are named
    parameters: Mapping[MLParameterKey, object],
) -> ExtractorStage:
    """The stage that another described, with its file; as `edge_agent.ml.kinds.StageOpener` says."""
    for key in parameters:
        raise MLModelError(MLModelErrorCode.PARAMETERS, f"parameter {key} is unknown: an extractor has none")
    path = files[str(description["path"])]
    try:
        return ExtractorStage(card_from(dict(description), path=path, source=path.name))
    except ExtractorError as error:
        raise MLModelError(MLModelErrorCode.IO, str(error)) from error


def open_card(path: Path) -> ExtractorStage:
    """The stage for the extractor that a card (JSON) describes; raises `MLModelError` IO."""
    try:
        return ExtractorStage(load_card(path))
    except ExtractorError as error:
        raise MLModelError(MLModelErrorCode.IO, str(error)) from error
