"""The loss of softmax regression: its gradient, its blocks, its centre."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.heads.softmax import loss_and_gradients
from edge_agent.ml.regression import KEPT_BYTES, SoftmaxRegression, UnitRows
from edge_agent.ml.transforms import signed_root


def unit_rows(X, size, *, kept=True):
    """Rows in blocks of a size; where they are not to be kept, said to be too many."""
    return UnitRows(
        lambda: (X[at : at + size] for at in range(0, len(X), size)),
        len(X) if kept else KEPT_BYTES,
        X.shape[1],
    )


@pytest.mark.parametrize("moving", [None, np.array([True, False, True])])
def test_its_gradient_is_that_of_finite_differences(clouds, moving):
    """By every variable; 0 for a class that does not move."""
    X, labels = clouds(20, D=4)
    y = np.array([int(label[-1]) for label in labels])
    objective = SoftmaxRegression(unit_rows(X, 7), y, 3, 0.3, moving=moving)
    rng = np.random.default_rng(0)
    position = objective.position(rng.normal(size=(4, 3)), rng.normal(size=3))
    gradient = objective(position).gradient
    still = np.zeros(15, dtype=bool) if moving is None else np.tile(~moving, 5)
    for at in range(objective.size):
        step = np.eye(objective.size)[at] * 1e-6
        slope = (objective(position + step).value - objective(position - step).value) / 2e-6
        assert gradient[at] == pytest.approx(0.0 if still[at] else slope, abs=1e-8)


def test_its_value_is_that_of_the_loss_without_a_centre(clouds):
    """Moving the origin changes the variables and neither the loss nor the penalty."""
    X, labels = clouds(20)
    y = np.array([int(label[-1]) for label in labels])
    rng = np.random.default_rng(1)
    W, b = rng.normal(size=(12, 3)), rng.normal(size=3)
    objective = SoftmaxRegression(unit_rows(X, 20), y, 3, 0.5)
    at = objective(objective.position(W, b))
    loss, _, _, P = loss_and_gradients(W, b, signed_root(X), y)

    assert at.noticed["loss"] == pytest.approx(loss, rel=1e-6)
    assert at.noticed["accuracy"] == (P.argmax(axis=1) == y).mean()
    assert at.value == pytest.approx(loss + 0.25 * (W**2).sum(), rel=1e-6)
    again, c = objective.weights(objective.position(W, b))
    assert np.array_equal(again, W)
    assert np.allclose(c, b, atol=1e-14)


def test_rows_that_are_kept_and_rows_made_anew_are_the_same_bits(clouds):
    """How much memory there is changes the time only; small ones are read once."""
    X, labels = clouds(50)
    y = np.array([int(label[-1]) for label in labels])
    kept, anew = (SoftmaxRegression(unit_rows(X, 8, kept=kept), y, 3, 0.1) for kept in (True, False))
    position = np.random.default_rng(2).normal(size=kept.size)
    passes = []
    counted = UnitRows(lambda: passes.append(1) or iter([X]), 50, 12)
    for _ in range(3):
        list(counted)

    assert np.array_equal(kept(position).gradient, anew(position).gradient)
    assert kept(position).value == anew(position).value
    assert len(passes) == 1


def test_no_probability_is_too_small(clouds):
    """Scores a thousand apart have a finite loss and a gradient, where a probability would be 0."""
    X, labels = clouds(9)
    y = np.array([int(label[-1]) for label in labels])
    objective = SoftmaxRegression(unit_rows(X, 9), y, 3, 0.0)
    at = objective(objective.position(np.zeros((12, 3)), np.array([0.0, 1000.0, 0.0])))

    assert at.value == pytest.approx(1000.0 * 2 / 3, rel=1e-2)
    assert np.isfinite(at.gradient).all()
