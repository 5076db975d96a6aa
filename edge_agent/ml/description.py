"""This is where it is said what a model takes, what it gives and what may be set on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.constraints import (
    MLDictionaryConstraint,
    MLImageConstraint,
    MLMultiArrayConstraint,
    MLSequenceConstraint,
    MLStateConstraint,
)
from edge_agent.ml.members import member_of
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey
from edge_agent.ml.values import MLFeatureType, MLFeatureValue

__all__ = ["MLFeatureDescription", "MLModelDescription", "MLModelMetadata", "MLModelMetadataKey"]

_CONSTRAINTS = {
    MLFeatureType.IMAGE: ("image_constraint", MLImageConstraint),
    MLFeatureType.MULTI_ARRAY: ("multi_array_constraint", MLMultiArrayConstraint),
    MLFeatureType.DICTIONARY: ("dictionary_constraint", MLDictionaryConstraint),
    MLFeatureType.SEQUENCE: ("sequence_constraint", MLSequenceConstraint),
    MLFeatureType.STATE: ("state_constraint", MLStateConstraint),
}


@dataclass(frozen=True)
class MLFeatureDescription:
    """One named input, output or state: its type and, for the types that have one, its constraint.

    Without a constraint every value of the type is allowed. Raises `MLModelError` GENERIC, naming the
    feature, for a constraint that does not belong to the type.
    """

    name: str
    type: MLFeatureType
    is_optional: bool = False
    image_constraint: MLImageConstraint | None = None
    multi_array_constraint: MLMultiArrayConstraint | None = None
    dictionary_constraint: MLDictionaryConstraint | None = None
    sequence_constraint: MLSequenceConstraint | None = None
    state_constraint: MLStateConstraint | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise _refused(f"the name of a feature is text, not {self.name!r}")
        kind_given = member_of(MLFeatureType, self.type)
        if kind_given is None:
            raise _refused(f"feature {self.name!r}: {self.type!r} is no feature type")
        object.__setattr__(self, "type", kind_given)
        for kind, (slot, wanted) in _CONSTRAINTS.items():
            constraint = getattr(self, slot)
            if constraint is None:
                continue
            if kind is not self.type or not isinstance(constraint, wanted):
                raise _refused(
                    f"feature {self.name!r} of type {self.type.name} cannot have"
                    f" {type(constraint).__name__} as its {slot}"
                )

    def problem(self, value: object) -> str | None:
        """What is wrong with a value, for a person to read, or None when it is allowed."""
        if not isinstance(value, MLFeatureValue):
            return f"{type(value).__name__}, expected an MLFeatureValue"
        if value.type is not self.type:
            return f"{'undefined ' * value.is_undefined}{value.type.name}, expected {self._expected()}"
        if value.is_undefined:
            return None if self.is_optional else f"undefined {value.type.name}, expected {self._expected()}"
        constraint = self._limit()
        return None if constraint is None else constraint.problem(value)

    def is_allowed_value(self, value: object) -> bool:
        """Whether type and constraint are met; a missing value is allowed where the feature is optional."""
        return self.problem(value) is None

    def _limit(
        self,
    ) -> MLImageConstraint | MLMultiArrayConstraint | MLDictionaryConstraint | MLSequenceConstraint | None:
        return (
            self.image_constraint
            or self.multi_array_constraint
            or self.dictionary_constraint
            or self.sequence_constraint
        )

    def _expected(self) -> str:
        if self.multi_array_constraint is not None and self.multi_array_constraint.shape:
            return f"an array of shape {self.multi_array_constraint.shape}"
        return self.type.name


class MLModelMetadataKey(StrEnum):
    """What a model's metadata is asked for, with Apple's raw values."""

    DESCRIPTION = "MLModelDescriptionKey"
    VERSION_STRING = "MLModelVersionStringKey"
    AUTHOR = "MLModelAuthorKey"
    LICENSE = "MLModelLicenseKey"
    CREATOR_DEFINED_KEY = "MLModelCreatorDefinedKey"


@dataclass(frozen=True)
class MLModelMetadata:
    """Who made a model and what for; all of it optional. Asked for by attribute or by `MLModelMetadataKey`.

    Raises `MLModelError` GENERIC for what is not text.
    """

    description: str = ""
    version_string: str = ""
    author: str = ""
    license: str = ""
    creator_defined: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("description", "version_string", "author", "license"):
            if not isinstance(getattr(self, name), str):
                raise _refused(f"the {name} of a model is text, not {getattr(self, name)!r}")
        own = self.creator_defined
        if not isinstance(own, Mapping) or not all(
            isinstance(one, str) for pair in own.items() for one in pair
        ):
            raise _refused("what a creator defines is text by text")
        object.__setattr__(self, "creator_defined", dict(own))

    def __getitem__(self, key: MLModelMetadataKey) -> str | Mapping[str, str]:
        """What was said under a key; raises KeyError for what is no key."""
        found = member_of(MLModelMetadataKey, key)
        if found is None:
            raise KeyError(key)
        value: str | Mapping[str, str] = getattr(self, found.name.lower().removesuffix("_key"))
        return value


@dataclass(frozen=True)
class MLModelDescription:
    """The inputs, outputs, states, labels and parameters of a model; read-only."""

    input_descriptions_by_name: Mapping[str, MLFeatureDescription] = field(default_factory=dict)
    output_descriptions_by_name: Mapping[str, MLFeatureDescription] = field(default_factory=dict)
    training_input_descriptions_by_name: Mapping[str, MLFeatureDescription] = field(default_factory=dict)
    """What a sample to learn from has; empty for a model that cannot learn."""
    state_descriptions_by_name: Mapping[str, MLFeatureDescription] = field(default_factory=dict)
    """What is kept from one prediction to the next; no model of ours keeps anything."""
    predicted_feature_name: str | None = None
    predicted_probabilities_name: str | None = None
    class_labels: tuple[str, ...] | tuple[int, ...] | None = None
    """The labels, all text or all whole numbers; None for a model that does not classify."""
    not_updatable_because: str = ""
    """Why the model cannot be updated, for a person to read; empty when it can."""
    parameter_descriptions_by_key: Mapping[MLParameterKey, MLParameterDescription] = field(
        default_factory=dict
    )
    metadata: MLModelMetadata = MLModelMetadata()

    def __post_init__(self) -> None:
        for name in (
            "input_descriptions_by_name",
            "output_descriptions_by_name",
            "training_input_descriptions_by_name",
            "state_descriptions_by_name",
            "parameter_descriptions_by_key",
        ):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise _refused(f"{name} is a mapping, not {type(given).__name__}")
            object.__setattr__(self, name, MappingProxyType(dict(given)))

    @property
    def is_updatable(self) -> bool:
        """Whether an update task takes the model; `not_updatable_because` says why not."""
        return not self.not_updatable_because


def _refused(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.GENERIC, message)
