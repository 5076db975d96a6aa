"""This is where a model ends that only extracts: its answer is the features themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MLBatchProvider
from edge_agent.ml.heads.protocol import Matrix, Parameters, Training
from edge_agent.ml.parameters import MLParameterDescription


class FeaturesHead:
    """Gives what it is given. The head of a model that is an extractor and nothing else."""

    name: ClassVar[str] = "features"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = ()

    def __init__(self, n_features: int) -> None:
        self._n_features = n_features

    @property
    def n_features(self) -> int:
        """How many features a sample has."""
        return self._n_features

    @property
    def n_values(self) -> int:
        """As many as there are features."""
        return self._n_features

    @property
    def unknown_threshold(self) -> None:
        """None: nothing was learned that a sample could be unlike."""

    @property
    def classes_(self) -> tuple[Any, ...]:
        """None at all."""
        return ()

    def train(self, data: MLBatchProvider, parameters: Parameters) -> Training:  # noqa: ARG002
        """Raises `MLModelError` UPDATE: there is nothing here that could learn."""
        raise MLModelError(MLModelErrorCode.UPDATE, "an extractor has nothing that could learn")

    def predict_proba(self, X: NDArray[np.float32]) -> Matrix:
        """Probabilities [n, 0] of no classes."""
        return np.zeros((len(X), 0))

    def values(self, X: NDArray[np.float32]) -> NDArray[Any]:
        """The features themselves, float32 [n, D]."""
        return X

    def distances(self, X: NDArray[np.float32]) -> None:
        """None, as `unknown_threshold`."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Nothing was learned."""
        return {}

    def describe(self) -> dict[str, Any]:
        """The number of features."""
        return {"classes": [], "n_features": self._n_features}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """The head that was described."""
        return cls(int(description["n_features"]))

    def copy(self) -> Self:
        """The same, which never changes."""
        return self
