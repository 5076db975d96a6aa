"""This is where a model forgets: a class, a sample, or what a sample was called."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol, Self, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import MLFeatureProvider
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.model import MLModel


@runtime_checkable
class ClassForgettingHead(Protocol):
    """What a head may have besides: it can forget a class."""

    def copy(self) -> Self:
        """A head that knows the same and that changing this one does not change."""

    def remove_label(self, label: Any) -> None:
        """Forget a class and all that was learned of it; raises `MLModelError` UPDATE for one not there."""


@runtime_checkable
class SampleForgettingHead(ClassForgettingHead, Protocol):
    """What a head may have besides that remembers its samples: it can forget or rename single ones."""

    def indices_of(self, x: NDArray[Any]) -> list[int]:
        """Where it remembers the features [D]."""

    def label_at(self, index: int) -> Any:
        """What it remembers the sample at an index as."""

    def remove(self, indices: Collection[int]) -> None:
        """Forget the samples at these indices."""

    def relabel(self, index: int, label: Any) -> None:
        """Give the sample at an index another label."""


def without_label(model: MLModel, label: str | int) -> MLModel:
    """The model without a class.

    Raises `MLModelError` UPDATE for a class it does not know and for a head that cannot forget one.
    """
    if not isinstance(model.head, ClassForgettingHead):
        raise _cannot(model, "forget a class", "the factory model and everything but that class")
    head = model.head.copy()
    head.remove_label(label)
    return model.with_head(cast("Head", head), is_writable=True)


def without_sample(model: MLModel, features: NDArray[Any]) -> MLModel:
    """The model without every sample of these features [D]; raises as `without_label`."""
    head = _remembering(model, "forget a sample").copy()
    head.remove(_found(head, features))
    return model.with_head(cast("Head", head), is_writable=True)


def with_label(model: MLModel, features: NDArray[Any], label: str | int) -> MLModel:
    """The model with another label for every sample of these features [D]; raises as `without_label`."""
    head = _remembering(model, "rename a sample").copy()
    for index in _found(head, features):
        head.relabel(index, label)
    return model.with_head(cast("Head", head), is_writable=True)


def knows_sample(model: MLModel, features: NDArray[Any], *, but_as: str | int | None = None) -> bool:
    """Whether it remembers a sample of these features [D], under another label than `but_as` if that is given.

    Raises `MLModelError` UPDATE for a head that cannot say.
    """
    head = _remembering(model, "say whether it knows a sample")
    return any(but_as is None or head.label_at(at) != but_as for at in head.indices_of(features))


def features_of(model: MLModel, sample: MLFeatureProvider) -> NDArray[np.float32]:
    """The features [D] of a sample as the head is given them; raises as `MLModel.predict`."""
    return np.asarray(model.ports.row(sample), dtype=np.float32)


def _found(head: SampleForgettingHead, features: NDArray[Any]) -> list[int]:
    indices = head.indices_of(features)
    if not indices:
        raise MLModelError(MLModelErrorCode.UPDATE, "the model does not remember this sample")
    return indices


def _remembering(model: MLModel, what: str) -> SampleForgettingHead:
    if not isinstance(model.head, SampleForgettingHead):
        raise _cannot(model, what, "the factory model and the samples that are left")
    return model.head


def _cannot(model: MLModel, what: str, begin_from: str) -> MLModelError:
    return MLModelError(
        MLModelErrorCode.UPDATE,
        f"a model of the kind {model.head.name!r} cannot {what}; begin again from {begin_from}",
    )
