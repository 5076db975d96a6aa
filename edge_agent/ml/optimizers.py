"""This is where gradients become steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class SGD:
    """Stochastic gradient descent with momentum, in the form deep-learning frameworks use.

    v <- momentum v + g; w <- w - learning_rate v (Sutskever et al., ICML 2013, without Nesterov's look-ahead;
    with the learning rate outside of v, so that changing it takes effect at once).
    """

    def __init__(self) -> None:
        self.velocities: list[Matrix] = []
        """v, one for each array that is optimised; empty before the first step."""

    def step(
        self,
        arrays: Sequence[Matrix],
        gradients: Sequence[Matrix],
        *,
        learning_rate: float,
        momentum: float = 0.0,
    ) -> None:
        """Change `arrays` in place against their `gradients`."""
        if not self.velocities:
            self.velocities = [np.zeros_like(array) for array in arrays]
        for array, gradient, velocity in zip(arrays, gradients, self.velocities, strict=True):
            velocity *= momentum
            velocity += gradient
            array -= learning_rate * velocity


class Adam:
    """Adaptive moment estimation, Algorithm 1 of Kingma and Ba, "Adam", ICLR 2015.

    m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; both divided by 1 - beta^t;
    w <- w - learning_rate m / (sqrt(v) + eps).
    """

    def __init__(self) -> None:
        self.moments: list[tuple[Matrix, Matrix]] = []
        """m and v, one pair for each array that is optimised; empty before the first step."""
        self.steps = 0
        """t, how many steps were made."""

    def step(
        self,
        arrays: Sequence[Matrix],
        gradients: Sequence[Matrix],
        *,
        learning_rate: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        """Change `arrays` in place against their `gradients`."""
        if not self.moments:
            self.moments = [(np.zeros_like(array), np.zeros_like(array)) for array in arrays]
        self.steps += 1
        first = 1.0 - beta1**self.steps
        second = 1.0 - beta2**self.steps
        for array, gradient, (m, v) in zip(arrays, gradients, self.moments, strict=True):
            m *= beta1
            m += (1.0 - beta1) * gradient
            v *= beta2
            v += (1.0 - beta2) * gradient**2
            array -= learning_rate * (m / first) / (np.sqrt(v / second) + eps)
