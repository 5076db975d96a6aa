"""This is where a head becomes a model: described, predicting, written to disk and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import FEATURES, LABEL, MLArrayBatchProvider, MLBatchProvider, checked_features
from edge_agent.ml.configuration import MLComputeUnits, MLModelConfiguration, usable_configuration
from edge_agent.ml.description import MLFeatureDescription, MLModelDescription, MLModelMetadata
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureProvider, MLFeatureType
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS, file_reader, head_named
from edge_agent.ml.heads.protocol import (
    Head,
    TunableHead,
    is_layer_key,
    layered,
    split_layer_values,
    with_layer_values,
)
from edge_agent.ml.labels import LABEL_TYPE_NAMES, agreed_label_type, label_type_named, label_type_of
from edge_agent.ml.package import FORMAT, ModelPackage, damaged, read_package, write_package
from edge_agent.ml.parameters import (
    MLParameterDescription,
    MLParameterKey,
    ParameterValue,
    description_from_json,
    description_to_json,
    resolve,
)
from edge_agent.ml.ports import Ports

__all__ = [
    "BUILT_IN_HEADS",
    "FORMAT",
    "MLComputeUnits",
    "MLFeatureDescription",
    "MLModel",
    "MLModelConfiguration",
    "MLModelDescription",
    "MLModelMetadata",
]


MOST_FEATURES = 1_000_000
"""Far above any extractor; more is a mistake, and would ask for more memory than there is."""


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
        parameter_descriptions: Sequence[MLParameterDescription] | None = None,
        input_name: str = FEATURES,
        output_name: str = LABEL,
        not_updatable_because: str = "",
        label_type: MLFeatureType | None = None,
    ) -> None:
        self.extractor_fingerprint = extractor_fingerprint
        self.metadata = metadata or MLModelMetadata()
        self._configuration = (configuration or MLModelConfiguration()).copy()
        self.is_writable = is_writable
        self.input_name = input_name
        self.output_name = output_name
        self.not_updatable_because = not_updatable_because
        """Why the model cannot be updated; empty when it can."""
        self._allowed = None if parameter_descriptions is None else tuple(parameter_descriptions)
        allowed = head.parameter_descriptions if self._allowed is None else self._allowed
        values, given = split_layer_values(self._configuration.parameters)
        own = resolve(allowed, parameters)
        self.parameters = resolve(allowed, {**own, **given})
        """The values an update uses unless it is told otherwise."""
        head = with_layer_values(head, values)
        if isinstance(head, TunableHead):
            tuning = {key: self.parameters[key] for key in head.tuning if key in self.parameters}
            head = cast("Head", head.tuned(tuning))
        self.head = head
        first = next(iter(head.classes_), self.default_label)
        self.label_type = agreed_label_type(label_type, label_type_of(first))
        """STRING or INT64: what the labels are; None while the first update may decide."""

    @property
    def configuration(self) -> MLModelConfiguration:
        """A copy of what the model was loaded with."""
        return self._configuration.copy()

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
        label_type: MLFeatureType | None = None,
    ) -> Self:
        """An empty, updatable and writable model around a registered head or a head class.

        `label_type` STRING or INT64 says what labels it takes; None leaves that to the first update.

        Raises `MLModelError`: CUSTOM_MODEL for an unknown head, PARAMETERS for a bad parameter, GENERIC
        for a number of features that no model has.
        """
        whole = isinstance(n_features, int) and not isinstance(n_features, bool)
        if not whole or not 1 <= n_features <= MOST_FEATURES:
            raise MLModelError(
                MLModelErrorCode.GENERIC, f"a model has 1 to {MOST_FEATURES} features, not {n_features!r}"
            )
        head_class = head_named(head, heads) if isinstance(head, str) else head
        return cls(
            head_class(n_features),
            extractor_fingerprint=extractor_fingerprint,
            metadata=metadata,
            parameters=parameters,
            is_writable=True,
            label_type=label_type,
        )

    @property
    def classes(self) -> tuple[Any, ...]:
        """The labels, all text or all whole numbers, in the order of the columns of `predict_proba`."""
        return self.head.classes_

    @property
    def n_features(self) -> int:
        """How many features a sample has."""
        return self.head.n_features

    @property
    def is_updatable(self) -> bool:
        """Whether an update task can train this model; `not_updatable_because` says why not."""
        return not self.not_updatable_because

    @property
    def default_label(self) -> Any:
        """The label of what is unknown, where the head has one; None otherwise."""
        return self.head.default_label if isinstance(self.head, TunableHead) else None

    @property
    def _ports(self) -> Ports:
        label_type = self.label_type or MLFeatureType.STRING
        return Ports(self.input_name, self.output_name, self.n_features, label_type)

    @property
    def unknown_threshold(self) -> float | None:
        """The distance above which a sample is unlike everything learned; None where the head cannot tell."""
        return self.head.unknown_threshold

    @property
    def model_description(self) -> MLModelDescription:
        """Inputs, outputs, labels and parameters."""
        ports = self._ports
        return MLModelDescription(
            input_descriptions_by_name={self.input_name: ports.features},
            output_descriptions_by_name={
                self.output_name: ports.label,
                ports.probabilities_name: ports.probabilities,
            },
            training_input_descriptions_by_name=(
                {self.input_name: ports.features, self.output_name: ports.label} if self.is_updatable else {}
            ),
            predicted_feature_name=self.output_name,
            predicted_probabilities_name=ports.probabilities_name,
            class_labels=self.classes,
            not_updatable_because=self.not_updatable_because,
            parameter_descriptions_by_key={one.key: one for one in self.parameter_descriptions},
            metadata=self.metadata,
        )

    @property
    def parameter_descriptions(self) -> tuple[MLParameterDescription, ...]:
        """The parameters with this model's defaults, and what its author allows."""
        allowed = self.head.parameter_descriptions if self._allowed is None else self._allowed
        return tuple(replace(one, default_value=self.parameters[one.key]) for one in allowed)

    def parameter_value(self, key: MLParameterKey) -> ParameterValue | NDArray[Any]:
        """The value of a parameter, or weights and biases of any layer by a scoped key.

        Raises `MLModelError` PARAMETERS for what the model does not have.
        """
        if isinstance(key, MLParameterKey) and is_layer_key(key):
            return layered(self.head, key).layer_value(key)
        if not isinstance(key, MLParameterKey) or key not in self.parameters:
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
        return self._answers(self._ports.row(from_)[None, :])[0]

    def predictions(self, from_: MLBatchProvider) -> MLArrayBatchProvider:
        """Predictions for a whole batch, in its order; raises as `predict`, naming the sample's index."""
        answers: list[MLFeatureProvider] = []
        for start, X in self._ports.blocks(from_):
            try:
                answers += self._answers(X)
            except MLModelError as error:
                raise MLModelError(error.code, f"in the samples from {start} on: {error}") from None
        return MLArrayBatchProvider(answers)

    def _answers(self, X: NDArray[Any]) -> list[MLDictionaryFeatureProvider]:
        P, default = self.predict_proba(X), self.default_label
        unknown = self.is_unknown(X) if self.classes and default is not None else np.zeros(len(X), np.bool_)
        return self._ports.answers(P, self.classes, default, unknown)

    def with_head(self, head: Head, *, is_writable: bool, label_type: MLFeatureType | None = None) -> MLModel:
        """This model around another head, with what that head's answers depend on.

        `label_type` is for a model that has none yet.
        """
        tuning = head.tuning if isinstance(head, TunableHead) else {}
        return MLModel(
            head,
            extractor_fingerprint=self.extractor_fingerprint,
            metadata=self.metadata,
            parameters={key: tuning.get(key, value) for key, value in self.parameters.items()},
            is_writable=is_writable,
            parameter_descriptions=self._allowed,
            input_name=self.input_name,
            output_name=self.output_name,
            not_updatable_because=self.not_updatable_because,
            label_type=self.label_type or label_type,
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
            input_name=self.input_name,
            output_name=self.output_name,
            not_updatable_because=self.not_updatable_because,
            label_type=LABEL_TYPE_NAMES[self.label_type],
            parameter_descriptions=(
                None if self._allowed is None else [description_to_json(one) for one in self._allowed]
            ),
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

        A file, such as a `.tflite` that trains itself, is read by the head in `heads` that knows its kind.

        Raises `MLModelError` with the path: IO when it is missing, damaged or of another format version,
        CUSTOM_MODEL for a head that is not in `heads` (default: the built-in ones), PARAMETERS for a bad
        configuration.
        """
        configuration = usable_configuration(configuration)
        folder = Path(path)
        from_file = file_reader(folder, heads)
        if from_file is not None:
            return cls(from_file(folder), configuration=configuration)
        package, arrays = read_package(folder)
        try:
            head = head_named(package.head, heads).restore(arrays, package.learned)
            metadata = msgspec.convert(package.metadata, MLModelMetadata)
            allowed = package.parameter_descriptions
            descriptions = None if allowed is None else [description_from_json(one) for one in allowed]
        except MLModelError as error:
            raise MLModelError(error.code, f"{folder}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder, f"what was learned cannot be restored: {error!r}") from error
        if tuple(head.classes_) != package.labels or head.n_features != package.n_features:
            raise damaged(folder, "labels or features are not those that were learned")
        return cls(
            head,
            extractor_fingerprint=package.extractor_fingerprint,
            metadata=metadata,
            parameters={MLParameterKey(name): value for name, value in package.parameters.items()},
            configuration=configuration,
            parameter_descriptions=descriptions,
            input_name=package.input_name,
            output_name=package.output_name,
            not_updatable_because=package.not_updatable_because,
            label_type=label_type_named(package.label_type),
        )
