"""This is where it is written down what every learning method can do."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.arrays import stored_array
from edge_agent.ml.batches import MLBatchProvider
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey, ParameterValue

__all__ = [
    "FileHead",
    "Head",
    "LayeredHead",
    "Parameters",
    "Training",
    "TrainingProgress",
    "TunableHead",
    "ValueHead",
    "is_layer_key",
    "layered",
    "split_layer_values",
    "stored_array",
    "with_layer_values",
]

Matrix = NDArray[np.float64]
Parameters = Mapping[MLParameterKey, object]


@dataclass(frozen=True)
class TrainingProgress:
    """A mini-batch or an epoch is done. Indices start at 0; an epoch has that of its last mini-batch."""

    kind: Literal["mini_batch", "epoch"]
    epoch_index: int
    mini_batch_index: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the head knows at no extra cost: `loss_value`, `accuracy`."""


Training = Generator[TrainingProgress, Parameters | None, None]


@runtime_checkable
class Head(Protocol):
    """The part of a model that learns: features float32 [n, D] in, probabilities [n, C] out."""

    name: ClassVar[str]
    """The name it is registered, stored and configured under."""
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]]
    """Every parameter it knows."""

    def __init__(self, n_features: int) -> None: ...

    @property
    def n_features(self) -> int:
        """How many features a sample has."""

    @property
    def unknown_threshold(self) -> float | None:
        """A sample farther away is like nothing that was learned; None where nothing can be said."""

    @property
    def classes_(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""

    def train(self, data: MLBatchProvider, parameters: Parameters) -> Training:
        """Learn from all samples in addition to what is known; yields after every mini-batch and every epoch.

        What is sent in replaces parameters from the next mini-batch on. Closing the generator stops the
        training. Raises `MLModelError`: PARAMETERS for a bad parameter, FEATURE_TYPE or UPDATE for a bad
        sample, with its index.
        """

    def predict_proba(self, X: NDArray[np.float32]) -> Matrix:
        """Probabilities [n, C] of finite features [n, D], each row summing to 1; [n, 0] before training."""

    def distances(self, X: NDArray[np.float32]) -> Matrix | None:
        """How far each row is from the nearest class [n], to hold against `unknown_threshold`; or None."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learned that is an array."""

    def describe(self) -> dict[str, Any]:
        """Everything else that was learned, as JSON: at least `classes`."""

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Self:
        """The head that these came from; raises `MLModelError` IO when they do not fit together."""

    def copy(self) -> Self:
        """A head that knows the same and that training this one does not change."""


@runtime_checkable
class FileHead(Protocol):
    """What a head class has besides when it begins from a file of another program, not from nothing."""

    file_suffix: ClassVar[str]
    """How the names of such files end, with the dot."""

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """The head that a file holds; raises `MLModelError` with the path when it holds none."""


@runtime_checkable
class ValueHead(Protocol):
    """What a head may have besides: numbers for an answer, in place of a label with probabilities."""

    @property
    def n_values(self) -> int | None:
        """How many numbers it answers; None when it answers labels after all."""

    def values(self, X: NDArray[np.float32]) -> Matrix:
        """Numbers [n, n_values] for features [n, D]."""


@runtime_checkable
class TunableHead(Protocol):
    """What a head may have besides: answers that depend on parameters, and one for where nothing fits."""

    @property
    def default_label(self) -> Any:
        """The label of a sample beyond `unknown_threshold`, and of all before training; None: no label."""

    @property
    def tuning(self) -> dict[MLParameterKey, ParameterValue]:
        """The parameters that the answers depend on, as they are in force."""

    def tuned(self, parameters: Parameters) -> Self:
        """This head with other values for some of them."""


@runtime_checkable
class LayeredHead(Protocol):
    """What a head may have besides: named layers whose weights and biases can be read and replaced."""

    def layer_value(self, key: MLParameterKey) -> NDArray[Any]:
        """A copy of the array a scoped key names; raises `MLModelError` PARAMETERS where there is none."""

    def with_layer_values(self, values: Mapping[MLParameterKey, object]) -> Self:
        """This head with other arrays in updatable layers; raises `MLModelError` PARAMETERS otherwise."""


def split_layer_values(
    given: Mapping[MLParameterKey, object],
) -> tuple[dict[MLParameterKey, object], dict[MLParameterKey, object]]:
    """Weights and biases of layers, and all other parameters."""
    arrays = {key: value for key, value in given.items() if is_layer_key(key)}
    return arrays, {key: value for key, value in given.items() if key not in arrays}


def is_layer_key(key: MLParameterKey) -> bool:
    """Whether a key names weights or biases, of whatever layer."""
    return key.name in {MLParameterKey.WEIGHTS.name, MLParameterKey.BIASES.name}


def layered(head: Head, key: MLParameterKey) -> LayeredHead:
    """The head as one with layers; raises `MLModelError` PARAMETERS where it has none."""
    if not isinstance(head, LayeredHead):
        raise MLModelError(
            MLModelErrorCode.PARAMETERS, f"parameter {key}: a model of the kind {head.name!r} has no layers"
        )
    return head


def with_layer_values(head: Head, values: Mapping[MLParameterKey, object]) -> Head:
    """The head with other weights and biases; itself when none are given."""
    if not values:
        return head
    return cast("Head", layered(head, next(iter(values))).with_layer_values(values))
