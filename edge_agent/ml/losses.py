"""This is where it is measured how far a network's answers are from what they should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import log_loss

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]

CROSS_ENTROPY = "categorical_cross_entropy"
SQUARED_ERROR = "mean_squared_error"
LOSSES = (CROSS_ENTROPY, SQUARED_ERROR)


@dataclass(frozen=True)
class Loss:
    """A named loss. Both compare with the true class [n] of answers [n, C]; both are never negative.

    Cross-entropy is the mean of -log p[true], where the answers are those of a softmax. Mean squared error is
    the mean, over samples and outputs, of the squared difference to 1 at the true class and 0 elsewhere.
    """

    name: str
    kind: str

    def value(self, answers: Matrix, y: Indices) -> float:
        """The loss."""
        if self.kind == CROSS_ENTROPY:
            return log_loss(answers, y)
        return float(np.mean((answers - _targets(answers, y)) ** 2))

    def gradient(self, answers: Matrix, y: Indices) -> Matrix:
        """How it changes: cross-entropy with what went into the softmax, squared error with the answers."""
        error = answers - _targets(answers, y)
        return error / len(y) if self.kind == CROSS_ENTROPY else 2.0 * error / error.size


def _targets(answers: Matrix, y: Indices) -> Matrix:
    targets = np.zeros_like(answers)
    targets[np.arange(len(y)), y] = 1.0
    return targets
