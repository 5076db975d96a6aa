"""This is where a head becomes a model: described, predicting, written to disk and read back."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import (
    FEATURES,
    LABEL,
    ArrayProvider,
    MLArrayBatchProvider,
    MLBatchProvider,
    checked_features,
)
from edge_agent.ml.description import (
    MLFeatureDescription,
    MLModelConfiguration,
    MLModelDescription,
    MLModelMetadata,
)
from edge_agent.ml.features import (
    MLDictionaryFeatureProvider,
    MLFeatureProvider,
    MLFeatureType,
    MLFeatureValue,
)
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.heads.softmax import SoftmaxHead
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey, ParameterValue, resolve
from edge_agent.store.atomic import TEMPORARY_PREFIX, publish_directory, remove_file, remove_tree, write_file

__all__ = [
    "BUILT_IN_HEADS",
    "FORMAT",
    "MLFeatureDescription",
    "MLModel",
    "MLModelConfiguration",
    "MLModelDescription",
    "MLModelMetadata",
]

FORMAT = 1
"""The version of the layout on disk; older and newer ones are refused."""

PROBABILITIES = "label_probabilities"
BUILT_IN_HEADS: Mapping[str, type[Head]] = {LDAHead.name: LDAHead, SoftmaxHead.name: SoftmaxHead}

_DESCRIPTION_FILE = "model.json"
_ARRAYS_FILE = "head.npz"
_ROWS = 512
_staging = itertools.count()


class _Format(msgspec.Struct):
    format: int


class _ModelFile(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    head: str
    labels: list[str]
    n_features: int
    extractor_fingerprint: str
    parameters: dict[str, bool | int | float | str]
    metadata: dict[str, Any]
    learned: dict[str, Any]
    arrays_file: str
    arrays_sha256: str


class MLModel:
    """A head with its description: features in, label and probabilities out.

    `MLModel.factory` makes an empty one, `MLModel.load` reads one from disk, an update task gives a better one. Only
    factory models and results of finished updates can be written. A model is never changed after it was made.
    """

    def __init__(
        self,
        head: Head,
        *,
        extractor_fingerprint: str = "",
        metadata: MLModelMetadata | None = None,
        parameters: Mapping[MLParameterKey, object] | None = None,
        configuration: MLModelConfiguration | None = None,
        is_writable: bool = False,
    ) -> None:
        self.head = head
        self.extractor_fingerprint = extractor_fingerprint
        self.metadata = metadata or MLModelMetadata()
        self.configuration = configuration or MLModelConfiguration()
        self.is_writable = is_writable
        own = resolve(head.parameter_descriptions, parameters)
        self.parameters = resolve(head.parameter_descriptions, {**own, **self.configuration.parameters})
        """The values an update uses unless it is told otherwise."""

    @classmethod
    def factory(
        cls,
        head: str | type[Head],
        n_features: int,
        *,
        extractor_fingerprint: str = "",
        metadata: MLModelMetadata | None = None,
        parameters: Mapping[MLParameterKey, object] | None = None,
        heads: Mapping[str, type[Head]] | None = None,
    ) -> Self:
        """An empty, updatable and writable model around a registered head or a head class.

        Raises `MLModelError`: CUSTOM_MODEL for an unknown head, PARAMETERS for a bad parameter, GENERIC unless
        `n_features` is at least 1.
        """
        if n_features < 1:
            raise MLModelError(
                MLModelErrorCode.GENERIC, f"a model needs at least one feature, not {n_features}"
            )
        head_class = _head_named(head, heads) if isinstance(head, str) else head
        return cls(
            head_class(n_features),
            extractor_fingerprint=extractor_fingerprint,
            metadata=metadata,
            parameters=parameters,
            is_writable=True,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.head.classes_

    @property
    def n_features(self) -> int:
        """How many features a sample has."""
        return self.head.n_features

    @property
    def unknown_threshold(self) -> float | None:
        """The distance above which a sample is unlike everything learned; None where the head cannot tell."""
        return self.head.unknown_threshold

    @property
    def model_description(self) -> MLModelDescription:
        """Inputs, outputs, labels and parameters."""
        features = MLFeatureDescription(FEATURES, MLFeatureType.MULTI_ARRAY, (self.n_features,))
        label = MLFeatureDescription(LABEL, MLFeatureType.STRING)
        return MLModelDescription(
            input_descriptions_by_name={FEATURES: features},
            output_descriptions_by_name={
                LABEL: label,
                PROBABILITIES: MLFeatureDescription(PROBABILITIES, MLFeatureType.DICTIONARY),
            },
            training_input_descriptions_by_name={FEATURES: features, LABEL: label},
            predicted_feature_name=LABEL,
            predicted_probabilities_name=PROBABILITIES,
            class_labels=self.classes,
            is_updatable=True,
            parameter_descriptions_by_key={one.key: one for one in self.parameter_descriptions},
            metadata=self.metadata,
        )

    @property
    def parameter_descriptions(self) -> tuple[MLParameterDescription, ...]:
        """The head's parameters with this model's defaults."""
        return tuple(
            replace(one, default_value=self.parameters[one.key]) for one in self.head.parameter_descriptions
        )

    def parameter_value(self, key: MLParameterKey) -> ParameterValue:
        """The value of a parameter; raises `MLModelError` PARAMETERS for one the model does not have."""
        if key not in self.parameters:
            raise MLModelError(MLModelErrorCode.PARAMETERS, f"parameter {key} is not supported by this model")
        return self.parameters[key]

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities [n, C] of features [n, D] in the order of `classes`; [n, 0] before anything was learned.

        Raises `MLModelError` FEATURE_TYPE, naming the row, for a wrong shape, type or a number that is not finite.
        """
        return self.head.predict_proba(checked_features(X, self.n_features))

    def distances(self, X: NDArray[Any]) -> NDArray[np.float64] | None:
        """How far each of [n, D] is from the nearest class [n]; None where the head cannot tell."""
        return self.head.distances(checked_features(X, self.n_features))

    def is_unknown(self, X: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of [n, D] are unlike everything learned [n]; none where the head cannot tell."""
        distances, threshold = self.distances(X), self.unknown_threshold
        if distances is None or threshold is None:
            return np.zeros(len(X), dtype=np.bool_)
        return np.asarray(distances > threshold)

    def predict(self, from_: MLFeatureProvider) -> MLDictionaryFeatureProvider:
        """Label and probability of each class for one sample; the label is undefined before anything was learned.

        Raises `MLModelError` FEATURE_TYPE for a missing feature, a wrong type, shape or a number that is not finite.
        """
        return self._answers(self.predict_proba(self._row(from_, "")[None, :]))[0]

    def predictions(self, from_: MLBatchProvider) -> MLArrayBatchProvider:
        """Predictions for a whole batch, in its order; raises as `predict` does, naming the index of the sample."""
        answers: list[MLFeatureProvider] = []
        for start, X in self._blocks(from_):
            try:
                answers += self._answers(self.predict_proba(X))
            except MLModelError as error:
                raise MLModelError(error.code, f"in the samples from {start} on: {error}") from None
        return MLArrayBatchProvider(answers)

    def _blocks(self, batch: MLBatchProvider) -> Iterator[tuple[int, NDArray[Any]]]:
        for start in range(0, batch.count, _ROWS):
            stop = min(start + _ROWS, batch.count)
            if isinstance(batch, ArrayProvider):
                yield start, batch.arrays(slice(start, stop))[0]
            else:
                rows = [self._row(batch.features(at), f"sample {at}: ") for at in range(start, stop)]
                yield start, np.stack(rows)

    def _row(self, sample: MLFeatureProvider, who: str) -> NDArray[Any]:
        value = sample.feature_value(FEATURES)
        if value is None:
            has = ", ".join(sorted(sample.feature_names)) or "none"
            raise MLModelError(
                MLModelErrorCode.FEATURE_TYPE, f"{who}there is no feature named {FEATURES!r}; it has {has}"
            )
        if not self.model_description.input_descriptions_by_name[FEATURES].is_allowed_value(value):
            shape = (
                ""
                if value.type is not MLFeatureType.MULTI_ARRAY
                else f" of shape {value.multi_array_value.shape}"
            )
            raise MLModelError(
                MLModelErrorCode.FEATURE_TYPE,
                f"{who}feature {FEATURES!r} is {value.type.name}{shape}, expected MULTI_ARRAY of ({self.n_features},)",
            )
        if not np.isfinite(value.multi_array_value).all():
            raise MLModelError(MLModelErrorCode.FEATURE_TYPE, f"{who}a feature is not a finite number")
        return value.multi_array_value

    def _answers(self, P: NDArray[np.float64]) -> list[MLDictionaryFeatureProvider]:
        classes = self.classes
        if not classes:
            nothing = {LABEL: MLFeatureValue(undefined=MLFeatureType.STRING), PROBABILITIES: {}}
            return [MLDictionaryFeatureProvider(nothing) for _ in P]
        return [
            MLDictionaryFeatureProvider(
                {
                    LABEL: classes[int(row.argmax())],
                    PROBABILITIES: dict(zip(classes, row.tolist(), strict=True)),
                }
            )
            for row in P
        ]

    def with_head(
        self, head: Head, parameters: Mapping[MLParameterKey, object], *, is_writable: bool
    ) -> MLModel:
        """This model's description around another head, trained with `parameters`."""
        return MLModel(
            head,
            extractor_fingerprint=self.extractor_fingerprint,
            metadata=self.metadata,
            parameters=parameters,
            is_writable=is_writable,
        )

    def write(self, to: Path | str) -> None:
        """Save as a directory `to` of `model.json` and `head.npz`, whole or not at all.

        A new directory is built aside and renamed into place. In a directory that exists, `model.json` is replaced
        last, in one step, so that a model that was there stays loadable until then.

        Raises `MLModelError` UPDATE for a model that cannot be written, `StoreError` (`DiskFullError`) with the path
        when the disk refuses.
        """
        if not self.is_writable:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                "only models from MLModel.factory and from a finished update can be written",
            )
        folder = Path(to)
        buffer = io.BytesIO()
        np.savez(buffer, **self.head.arrays())  # type: ignore[arg-type]
        arrays = buffer.getvalue()
        if folder.is_dir():
            self._write_into(folder, arrays)
            return
        staging = folder.parent / f"{TEMPORARY_PREFIX}{folder.name}-{os.getpid()}-{next(_staging)}"
        try:
            staging.mkdir(mode=0o700)
        except OSError as error:
            raise MLModelError(
                MLModelErrorCode.IO, f"{folder}: cannot be written: {error.strerror}"
            ) from error
        try:
            self._write_into(staging, arrays)
            publish_directory(staging, folder)
        finally:
            remove_tree(staging)

    def _write_into(self, folder: Path, arrays: bytes) -> None:
        digest = hashlib.sha256(arrays).hexdigest()
        # A model that is replaced keeps its arrays until the new description names the new ones.
        name = f"head-{digest[:12]}.npz" if (folder / _DESCRIPTION_FILE).exists() else _ARRAYS_FILE
        before = {path for path in folder.glob("head*.npz") if path.name != name}
        write_file(folder / name, arrays)
        content = _ModelFile(
            format=FORMAT,
            head=self.head.name,
            labels=list(self.classes),
            n_features=self.n_features,
            extractor_fingerprint=self.extractor_fingerprint,
            parameters={str(key): value for key, value in self.parameters.items()},
            metadata=asdict(self.metadata),
            learned=self.head.describe(),
            arrays_file=name,
            arrays_sha256=digest,
        )
        text = msgspec.json.format(msgspec.json.encode(content), indent=2)
        write_file(folder / _DESCRIPTION_FILE, text + b"\n")
        for path in before:
            remove_file(path)

    @classmethod
    def load(
        cls,
        path: Path | str,
        configuration: MLModelConfiguration | None = None,
        heads: Mapping[str, type[Head]] | None = None,
    ) -> Self:
        """Read a written model. It predicts exactly as the one that was written; it cannot itself be written.

        Raises `MLModelError` with the path: IO when it is missing, damaged or of another format version,
        CUSTOM_MODEL for a head that is not in `heads` (default: the built-in ones), PARAMETERS for a bad configuration.
        """
        folder = Path(path)
        content = _read_description(folder)
        head_class = _head_named(content.head, heads)
        try:
            head = head_class.restore(_read_arrays(folder, content), content.learned)
        except MLModelError as error:
            raise MLModelError(error.code, f"{folder}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(folder, f"what was learned cannot be restored: {error!r}") from error
        if list(head.classes_) != content.labels or head.n_features != content.n_features:
            raise _damaged(folder, "labels or features do not match what was learned")
        return cls(
            head,
            extractor_fingerprint=content.extractor_fingerprint,
            metadata=_metadata(folder, content),
            parameters={MLParameterKey(name): value for name, value in content.parameters.items()},
            configuration=configuration,
        )


def _head_named(name: str, heads: Mapping[str, type[Head]] | None) -> type[Head]:
    known = BUILT_IN_HEADS if heads is None else heads
    if name not in known:
        raise MLModelError(
            MLModelErrorCode.CUSTOM_MODEL,
            f"the head {name!r} is not known here (known: {', '.join(sorted(known))}); is its plugin installed?",
        )
    return known[name]


def _read_description(folder: Path) -> _ModelFile:
    path = folder / _DESCRIPTION_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MLModelError(MLModelErrorCode.IO, f"{path}: cannot be read: {error.strerror}") from error
    try:
        version = msgspec.json.decode(data, type=_Format).format
        if version != FORMAT:
            age = "new" if version > FORMAT else "old"
            raise MLModelError(
                MLModelErrorCode.IO,
                f"{path}: format {version} is too {age} for this edge_agent, which reads format {FORMAT}",
            )
        return msgspec.json.decode(data, type=_ModelFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _read_arrays(folder: Path, content: _ModelFile) -> dict[str, NDArray[Any]]:
    path = folder / Path(content.arrays_file).name
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != content.arrays_sha256:
                raise _damaged(path, "its bytes are not the ones that were written")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise MLModelError(
            MLModelErrorCode.IO, f"{path}: cannot be read: {error.strerror or error}"
        ) from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, str(error)) from error


def _metadata(folder: Path, content: _ModelFile) -> MLModelMetadata:
    try:
        return msgspec.convert(content.metadata, MLModelMetadata)
    except msgspec.ValidationError as error:
        raise _damaged(folder / _DESCRIPTION_FILE, str(error)) from error


def _damaged(path: Path, problem: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.IO, f"{path}: damaged: {problem}")
