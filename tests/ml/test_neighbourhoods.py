"""Samples left out with neighbours of their own, in closed form, against learning again without them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.linear_answers import UNIT, Recipe, State
from edge_agent.ml.neighbourhoods import Neighbourhoods
from edge_agent.ml.scatter import SpannedScatter
from edge_agent.ml.transforms import signed_root

C, D, N = 3, 12, 36
RECIPE = Recipe(0.7, shrinkage=0.3, tau=0.4, regression=0.2, ridge=0.02, nearest=0.1, rarity=0.5)


@pytest.fixture(name="samples")
def _samples():
    """Unit vectors of three classes of unequal size."""
    rng = np.random.default_rng(4)
    y = np.sort(np.r_[np.arange(N - 9) % C, np.zeros(9, dtype=int)])
    return signed_root(rng.gamma(1.0, 1.0, (N, D)) + np.eye(C, D)[y]), y


def state_of(Z, y):
    """The state of these samples alone."""
    M = np.stack([Z[y == c].mean(axis=0) for c in range(C)])
    return State(np.bincount(y, minlength=C).astype(float), M, SpannedScatter.from_rows(Z - M[y]))


def again(Z, y, x, lam):
    """The scores of x from samples that were learned anew, from the definitions; lam of the whole."""
    n = np.bincount(y, minlength=C).astype(float)
    M = np.stack([Z[y == c].mean(axis=0) for c in range(C)])
    A = (Z - M[y]).T @ (Z - M[y]) / N + lam * np.eye(D)
    far = np.einsum("cd,dc->c", x - M, np.linalg.solve(A, (x - M).T))
    centre, Y = Z.mean(axis=0), np.eye(C)[y]
    T = (Z - centre).T @ (Z - centre) + RECIPE.ridge * N * np.eye(D)
    ridge = (x - centre) @ np.linalg.solve(T, (Z - centre).T @ (Y - Y.mean(axis=0))) + Y.mean(axis=0)
    cosine = M @ x / np.linalg.norm(M, axis=1)
    return (
        RECIPE.discriminant * -0.5 * (far - RECIPE.tau / n)
        + UNIT * RECIPE.regression * ridge
        + UNIT * RECIPE.nearest * cosine
        - RECIPE.rarity * np.log(n)
    )


def test_every_answer_is_that_of_learning_again(samples):
    """Lists that overlap, of one to eight rows and in no order: the same scores to 1e-9."""
    Z, y = samples
    state, rng = state_of(Z, y), np.random.default_rng(1)
    answers, lam = Neighbourhoods(state, RECIPE), state.ridge(RECIPE.shrinkage)
    for c in range(C):
        rows = np.flatnonzero(y == c)
        lists = [rng.permutation(len(rows))[:size] for size in (1, 8, 2, 2, 5, 3, 1, 4)]
        scores = answers.scores(Z[rows], c, lists)
        for i, gone in enumerate(lists):
            keep = np.setdiff1d(np.arange(N), rows[gone])
            assert np.allclose(
                scores[i], again(Z[keep], y[keep], Z[rows[gone[0]]], lam), rtol=1e-9, atol=1e-9
            )


def test_a_whole_class_cannot_be_left_out(samples):
    """Nothing is left that its samples could be told by."""
    Z, y = samples
    rows = np.flatnonzero(y == 1)

    with pytest.raises(ValueError, match="nothing is left"):
        Neighbourhoods(state_of(Z, y), RECIPE).scores(Z[rows], 1, [np.arange(len(rows))])
    assert Neighbourhoods(state_of(Z, y), RECIPE).scores(Z[rows], 1, []).shape == (0, C)
