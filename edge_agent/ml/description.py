"""This is where it is said what a model takes, what it gives and what may be set on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from edge_agent.ml.features import MLFeatureType, MLFeatureValue
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey


@dataclass(frozen=True)
class MLFeatureDescription:
    """One named input or output; `shape` is that of an array, None for other types."""

    name: str
    type: MLFeatureType
    shape: tuple[int, ...] | None = None
    is_optional: bool = False

    def is_allowed_value(self, value: MLFeatureValue) -> bool:
        """Whether type and shape are right; a missing value is allowed where the feature is optional."""
        if value.type is not self.type:
            return False
        if value.is_undefined:
            return self.is_optional
        return self.shape is None or value.multi_array_value.shape == self.shape


@dataclass(frozen=True)
class MLModelMetadata:
    """Who made a model and what for; all of it optional."""

    description: str = ""
    version_string: str = ""
    author: str = ""
    license: str = ""
    creator_defined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MLModelConfiguration:
    """What to set on a model when it is loaded or updated; a copy, later changes have no effect."""

    parameters: Mapping[MLParameterKey, object] = field(default_factory=dict)
    model_display_name: str = ""
    """A name for logs and the thread that trains."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))


@dataclass(frozen=True)
class MLModelDescription:
    """The inputs, outputs, labels and parameters of a model."""

    input_descriptions_by_name: Mapping[str, MLFeatureDescription]
    output_descriptions_by_name: Mapping[str, MLFeatureDescription]
    training_input_descriptions_by_name: Mapping[str, MLFeatureDescription]
    predicted_feature_name: str
    predicted_probabilities_name: str
    class_labels: tuple[str, ...]
    is_updatable: bool
    parameter_descriptions_by_key: Mapping[MLParameterKey, MLParameterDescription]
    metadata: MLModelMetadata
