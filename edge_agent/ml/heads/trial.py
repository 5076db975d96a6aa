"""This is where a learning method is tried on a few samples, and what it does wrong becomes one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, PluginError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.protocol import Head, Parameters
from edge_agent.ml.parameters import MLParameterKey

Matrix = NDArray[np.float64]
Rows = NDArray[np.float32]

SAMPLES = np.array([[4, 1, 0], [5, 1, 0], [4, 2, 1], [0, 1, 4], [1, 1, 5], [0, 2, 4]], dtype=np.float32)
LABELS = ["first", "first", "first", "second", "second", "second"]
"""Of `SAMPLES`."""


class Trial:
    """A head class under trial; what it owes and does not is raised as a `PluginError` with its name."""

    def __init__(self, head_class: type[Head]) -> None:
        self.who = getattr(head_class, "__name__", repr(head_class))
        self._head_class = head_class

    def demand(self, holds: bool, what: str) -> None:  # noqa: FBT001 - reads as an assertion
        """Raise `PluginError` unless it holds."""
        if not holds:
            raise PluginError(f"head {self.who}: {what}")

    @property
    def brief(self) -> Parameters:
        """Two epochs, for a head that can be told so: enough where it does not matter how well it learned."""
        epochs = MLParameterKey.EPOCHS
        known = {one.key for one in self._head_class.parameter_descriptions}
        return {epochs: 2} if epochs in known else {}

    def trained(
        self, X: Rows = SAMPLES, labels: Sequence[str] = LABELS, parameters: Parameters | None = None
    ) -> Head:
        """A new head that learned samples [n, D] with n labels."""
        head = self._head_class(X.shape[1])
        learn(head, X, labels, parameters)
        return head

    def probabilities(self, head: Head, X: Rows) -> Matrix:
        """What a head answers to samples [n, D], held to what probabilities are."""
        P = head.predict_proba(X)
        n, C = len(X), len(head.classes_)
        self.demand(
            P.shape == (n, C), f"`predict_proba` answers shape {P.shape} for {n} samples and {C} classes"
        )
        self.demand(
            bool(np.isfinite(P).all() and (P >= 0.0).all()), "probabilities must be finite and not below 0"
        )
        sums = bool(np.allclose(P.sum(axis=1), 1.0, rtol=0.0, atol=1e-6))
        self.demand(sums, "probabilities of a sample must sum to 1")
        return P

    def refusal(self, X: Rows, parameters: Parameters) -> str | None:
        """What a new head of three features says when it refuses to learn this; None when it does not."""
        try:
            learn(self._head_class(3), X, LABELS, parameters)
        except MLModelError as error:
            return str(error)
        return None


def learn(head: Head, X: Rows, labels: Sequence[str], parameters: Parameters | None = None) -> None:
    """Train to the end."""
    for _ in head.train(MatrixBatchProvider(X, labels), parameters or {}):
        pass


def clouds(classes: int, n_features: int = 8, each: int = 8) -> tuple[Rows, list[str]]:
    """So many samples of each class, in turn, around points that are far from each other."""
    rng = np.random.default_rng(0)
    y = np.arange(classes * each) % classes
    X = 6.0 * np.eye(classes, n_features)[y] + rng.uniform(0.0, 1.0, (len(y), n_features))
    return X.astype(np.float32), [f"class {label}" for label in y]
