"""This is where a model says what it takes, what it answers, what may be set on it and whether it can learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.answering import Answering
from edge_agent.ml.description import MLModelDescription, MLModelMetadata
from edge_agent.ml.features import MLFeatureType
from edge_agent.ml.front import Front
from edge_agent.ml.heads.protocol import is_layer_key, layered
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey, ParameterValue
from edge_agent.ml.ports import Ports
from edge_agent.ml.stages import scoped


class Described(Answering):
    """The part of a model that tells of itself."""

    front: Front | None
    """The frozen stages of a pipeline, before the head; None for a model that is no pipeline."""
    metadata: MLModelMetadata
    input_name: str
    output_name: str
    label_type: MLFeatureType | None
    """STRING or INT64: what the labels are; None while the first update may decide; DOUBLE for numbers."""
    not_updatable_because: str
    """Why the model cannot be updated; empty when it can."""
    parameters: dict[MLParameterKey, ParameterValue]
    """The values an update uses unless it is told otherwise, under the names the head knows."""
    _allowed: tuple[MLParameterDescription, ...] | None

    @property
    def ports(self) -> Ports:
        """The names, types and sizes of what goes in and comes out."""
        label_type = self.label_type or MLFeatureType.STRING
        return Ports(
            self.input_name, self.output_name, self.n_features, label_type, self.front, self.n_values
        )

    @property
    def is_updatable(self) -> bool:
        """Whether an update task can train this model; `not_updatable_because` says why not."""
        return not self.not_updatable_because

    def __repr__(self) -> str:
        learned = f"{self.n_values} values" if self.n_values is not None else f"{len(self.classes)} labels"
        kind = f"{self.head.name} of {self.n_features} features, {learned}"
        how = "updatable" if not self.not_updatable_because else "not updatable"
        return f"<MLModel {kind}, {how}{'' if self.front is None else ', a pipeline'}>"

    @property
    def model_description(self) -> MLModelDescription:
        """Inputs, outputs, labels and parameters."""
        ports = self.ports
        classifies = self.n_values is None
        return MLModelDescription(
            input_descriptions_by_name={self.input_name: ports.features},
            output_descriptions_by_name=ports.outputs,
            training_input_descriptions_by_name=(
                {self.input_name: ports.features, self.output_name: ports.label} if self.is_updatable else {}
            ),
            predicted_feature_name=self.output_name,
            predicted_probabilities_name=ports.probabilities_name if classifies else None,
            class_labels=self.classes if classifies else None,
            not_updatable_because=self.not_updatable_because,
            parameter_descriptions_by_key={one.key: one for one in self.parameter_descriptions},
            metadata=self.metadata,
        )

    @property
    def parameter_descriptions(self) -> tuple[MLParameterDescription, ...]:
        """The parameters with this model's defaults, and what its author allows; those of a pipeline with the
        names of its stages."""
        own = self.learning_parameters
        return own if self.front is None else self.front.descriptions(own)

    @property
    def learning_parameters(self) -> tuple[MLParameterDescription, ...]:
        """The parameters of the head, under the names it knows itself."""
        allowed = self.head.parameter_descriptions if self._allowed is None else self._allowed
        return tuple(replace(one, default_value=self.parameters[one.key]) for one in allowed)

    def unscoped(self, given: Mapping[MLParameterKey, object]) -> Mapping[MLParameterKey, object]:
        """Parameters under the names the head knows; raises `MLModelError` PARAMETERS for another stage's."""
        return given if self.front is None else self.front.own(given)

    def scoped(self, own: Mapping[MLParameterKey, Any]) -> dict[MLParameterKey, Any]:
        """Parameters of the head under the names that `parameter_descriptions` has."""
        if self.front is None:
            return dict(own)
        return {scoped(key, self.front.last): value for key, value in own.items()}

    def parameter_value(self, key: MLParameterKey) -> ParameterValue | NDArray[Any]:
        """The value of a parameter, or weights and biases of any layer by a scoped key.

        Raises `MLModelError` PARAMETERS for what the model does not have.
        """
        if isinstance(key, MLParameterKey):
            known = {one.key: one.default_value for one in self.parameter_descriptions}
            if key in known:
                return known[key]
            own = next(iter(self.unscoped({key: None})))
            if is_layer_key(own):
                return layered(self.head, own).layer_value(own)
            if own in self.parameters:
                return self.parameters[own]
        raise MLModelError(MLModelErrorCode.PARAMETERS, f"parameter {key} is not supported by this model")
