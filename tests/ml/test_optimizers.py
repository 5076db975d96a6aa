"""Steps against gradients, held against the formulas written out."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.optimizers import SGD, Adam


def test_sgd_with_momentum_by_hand():
    """Two steps, computed on paper: v = 1 then 0.9 + 2."""
    w = np.array([1.0])
    optimizer = SGD()
    optimizer.step([w], [np.array([1.0])], learning_rate=0.1, momentum=0.9)
    assert w[0] == pytest.approx(0.9)
    optimizer.step([w], [np.array([2.0])], learning_rate=0.1, momentum=0.9)

    assert w[0] == pytest.approx(0.9 - 0.1 * 2.9)
    assert optimizer.velocities[0][0] == pytest.approx(2.9)


def test_adam_by_hand():
    """The algorithm of the paper, two steps."""
    w, m, v = 1.0, 0.0, 0.0
    array = np.array([w])
    optimizer = Adam()
    for t, g in enumerate((0.5, -2.0), start=1):
        optimizer.step([array], [np.array([g])], learning_rate=0.1, beta1=0.8, beta2=0.9, eps=1e-6)
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        w -= 0.1 * (m / (1 - 0.8**t)) / ((v / (1 - 0.9**t)) ** 0.5 + 1e-6)

        assert array[0] == pytest.approx(w)
    assert optimizer.steps == 2


@pytest.mark.parametrize("optimizer", [SGD(), Adam()])
def test_a_bowl_is_descended(optimizer):
    """Both find the bottom of a quadratic, changing the array in place."""
    w = np.array([3.0, -2.0])
    for _ in range(500):
        optimizer.step([w], [2 * w], learning_rate=0.05)

    assert np.abs(w).max() < 1e-2
