"""This is where a head becomes a model: described, predicting, written to disk and read back."""

from __future__ import annotations

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
from edge_agent.ml.package import FORMAT, ModelPackage, damaged, read_package, write_package
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey, ParameterValue, resolve

__all__ = [
    "BUILT_IN_HEADS",
    "FORMAT",
    "MLFeatureDescription",
    "MLModel",
    "MLModelConfiguration",
    "MLModelDescription",
    "MLModelMetadata",
]

PROBABILITIES = "label_probabilities"
BUILT_IN_HEADS: Mapping[str, type[Head]] = {LDAHead.name: LDAHead, SoftmaxHead.name: SoftmaxHead}

_ROWS = 512


class MLModel:
    """A head with its description: features in, label and probabilities out.

    `MLModel.factory` makes an empty one, `MLModel.load` reads one from disk, an update task gives a better
    one. Only factory models and results of finished updates can be written. A model is never changed after it
    was made.
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

        Raises `MLModelError`: CUSTOM_MODEL for an unknown head, PARAMETERS for a bad parameter, GENERIC
        unless `n_features` is at least 1.
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
        """Probabilities [n, C] of features [n, D] in the order of `classes`; [n, 0] before training.

        Raises `MLModelError` FEATURE_TYPE, naming the row, for a wrong shape, type or a number that is not
        finite.
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
        """Label and probability of each class for one sample; before training the label is undefined.

        Raises `MLModelError` FEATURE_TYPE for a missing feature, a wrong type, shape or a number that is not
        finite.
        """
        return self._answers(self.predict_proba(self._row(from_, "")[None, :]))[0]

    def predictions(self, from_: MLBatchProvider) -> MLArrayBatchProvider:
        """Predictions for a whole batch, in its order; raises as `predict`, naming the sample's index."""
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
            raise MLModelError(
                MLModelErrorCode.FEATURE_TYPE,
                f"{who}feature {FEATURES!r} is {_shown(value)},"
                f" expected an array of shape ({self.n_features},)",
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

    def with_head(self, head: Head, *, is_writable: bool) -> MLModel:
        """This model around another head."""
        return MLModel(
            head,
            extractor_fingerprint=self.extractor_fingerprint,
            metadata=self.metadata,
            parameters=self.parameters,
            is_writable=is_writable,
        )

    def write(self, to: Path | str) -> None:
        """Save as the directory `to`, which holds `model.json` and `head.npz`, whole or not at all.

        Raises `MLModelError` UPDATE for a model that cannot be written, IO where the directory cannot be
        made, `StoreError` (`DiskFullError`) with the path when the disk refuses.
        """
        if not self.is_writable:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                "only models from MLModel.factory and from an update that did not fail can be written",
            )
        package = ModelPackage(
            head=self.head.name,
            labels=self.classes,
            n_features=self.n_features,
            extractor_fingerprint=self.extractor_fingerprint,
            parameters={str(key): value for key, value in self.parameters.items()},
            metadata=asdict(self.metadata),
            learned=self.head.describe(),
        )
        write_package(Path(to), package, self.head.arrays())

    @classmethod
    def load(
        cls,
        path: Path | str,
        configuration: MLModelConfiguration | None = None,
        heads: Mapping[str, type[Head]] | None = None,
    ) -> Self:
        """Read a written model. It predicts exactly as the one that was written; it cannot itself be written.

        Raises `MLModelError` with the path: IO when it is missing, damaged or of another format version,
        CUSTOM_MODEL for a head that is not in `heads` (default: the built-in ones), PARAMETERS for a bad
        configuration.
        """
        folder = Path(path)
        package, arrays = read_package(folder)
        try:
            head = _head_named(package.head, heads).restore(arrays, package.learned)
            metadata = msgspec.convert(package.metadata, MLModelMetadata)
        except MLModelError as error:
            raise MLModelError(error.code, f"{folder}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder, f"what was learned cannot be restored: {error!r}") from error
        if head.classes_ != package.labels or head.n_features != package.n_features:
            raise damaged(folder, "labels or features are not those that were learned")
        return cls(
            head,
            extractor_fingerprint=package.extractor_fingerprint,
            metadata=metadata,
            parameters={MLParameterKey(name): value for name, value in package.parameters.items()},
            configuration=configuration,
        )


def _shown(value: MLFeatureValue) -> str:
    if value.is_undefined or value.type is not MLFeatureType.MULTI_ARRAY:
        return f"{'undefined ' * value.is_undefined}{value.type.name}"
    return f"an array of shape {value.multi_array_value.shape}"


def _head_named(name: str, heads: Mapping[str, type[Head]] | None) -> type[Head]:
    known = BUILT_IN_HEADS if heads is None else heads
    if name not in known:
        raise MLModelError(
            MLModelErrorCode.CUSTOM_MODEL,
            f"the head {name!r} is not known here (known: {', '.join(sorted(known))}); is its plugin there?",
        )
    return known[name]
