"""What is chosen by samples left out: weights, their temperature, and the term for the sizes of classes."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.left_out import LeftOut
from edge_agent.ml.linear_answers import State
from edge_agent.ml.recipes import BURST, choose_mix, choose_weights
from edge_agent.ml.scatter import SpannedScatter
from edge_agent.ml.transforms import signed_root

C, D = 3, 30


def drawn(n, seed=2):
    """Unit vectors of overlapping classes, and their columns."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % C
    return signed_root(rng.gamma(1.0, 1.2, (n, D)) + 1.5 * np.eye(C, D)[y]), y


def copied(Z, y, which, copies):
    """The samples, and so many near-copies of some of them."""
    rows = np.concatenate([np.arange(len(y)), np.repeat(which, copies)])
    noise = 1.0 + 1e-3 * np.random.default_rng(5).normal(size=(len(rows), D))
    return signed_root(np.abs(Z[rows] * np.abs(Z[rows])) * np.abs(noise)), y[rows]


def left_out(Z, y, rows=slice(None)):
    """Some of the samples, each left out, in the state of all."""
    M = np.stack([Z[y == c].mean(axis=0) for c in range(C)])
    state = State(np.bincount(y, minlength=C).astype(float), M, SpannedScatter.from_rows(Z - M[y]))
    return LeftOut(state, Z[rows], y[rows])


def test_without_bursts_the_weights_are_near_those_of_the_mixture_and_lose_no_more():
    """Classes of equal size: no other term, and the loss of the left-out samples is not above the mixture's."""
    left = left_out(*drawn(90))

    weighed, scores = choose_weights(left, 0.3, 0.5)
    mixed, plain = choose_mix(left, 0.3, 0.5)

    assert weighed.rarity == 0.0
    assert 0.3 < weighed.discriminant / mixed.discriminant < 3.0
    assert left.judged(scores)["loss_value"] <= left.judged(plain)["loss_value"] + 1e-12


def test_classes_of_different_size_get_a_term_that_helps_the_small_ones():
    """The class with a fifth of the samples of the others gets more, the others alike less."""
    Z, y = drawn(150)
    few = np.flatnonzero((y != 2) | (np.arange(150) < 30))

    recipe, _ = choose_weights(left_out(Z[few], y[few]), 0.3, 0.5)

    assert recipe.rarity > 0.0


def test_a_few_bursts_lower_the_temperature_and_nothing_else():
    """A fifth of the samples twice: the same proportions, less sure; not where some samples are not at hand."""
    Z, y = copied(*drawn(90), np.arange(18), 1)
    left = left_out(Z, y)

    recipe, scores = choose_weights(left, 0.3, 0.5)
    partly, _ = choose_weights(left_out(Z, y, slice(1, None)), 0.3, 0.5)

    assert left.in_bursts(BURST).pieces == 90
    assert recipe.discriminant < 0.99 * partly.discriminant
    ratio = recipe.discriminant / recipe.regression
    assert ratio == pytest.approx(partly.discriminant / partly.regression, rel=0.05)
    assert np.allclose(
        scores,
        recipe.discriminant * left.in_bursts(BURST).discriminant(0.3)[0]
        + 100.0 * recipe.regression * left.in_bursts(BURST).regression(recipe.ridge),
    )


def test_where_most_samples_are_copies_everything_is_chosen_by_bursts():
    """Four of each: the penalty is the one that suits whole bursts left out, greater than for single copies."""
    left = left_out(*copied(*drawn(60), np.arange(60), 3))

    recipe, _ = choose_weights(left, 0.3, 0.5)

    assert recipe.ridge == left.in_bursts(BURST).best_ridge()[0]
    assert recipe.ridge > left.best_ridge()[0]
