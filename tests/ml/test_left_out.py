"""Samples and bursts left out in closed form, against learning again without them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.left_out import LeftOut, near_duplicates
from edge_agent.ml.linear_answers import Recipe, State
from edge_agent.ml.scatter import SpannedScatter
from edge_agent.ml.transforms import signed_root

C, D, N = 3, 12, 33
RIDGE = 0.01


@pytest.fixture(name="samples")
def _samples():
    """Unit vectors of three classes of unequal size, and bursts of one to four within classes."""
    rng = np.random.default_rng(4)
    y = np.sort(rng.permutation(np.r_[np.arange(N - 8) % C, np.zeros(8, dtype=int)]))
    Z = signed_root(rng.gamma(1.0, 1.0, (N, D)) + np.eye(C, D)[y])
    groups = np.array([3 * (index // 4) + label for index, label in enumerate(y)])
    return Z, y, groups


def state_of(Z, y):
    """The state of these samples alone."""
    M = np.stack([Z[y == c].mean(axis=0) for c in range(C)])
    return State(np.bincount(y, minlength=C).astype(float), M, SpannedScatter.from_rows(Z - M[y]))


def ridge_answers(Z, y, x, penalty):
    """Ridge regression by its definition, the intercept free."""
    centre, Y = Z.mean(axis=0), np.eye(C)[y]
    A = (Z - centre).T @ (Z - centre) + penalty * np.eye(D)
    return (x - centre) @ np.linalg.solve(A, (Z - centre).T @ (Y - Y.mean(axis=0))) + Y.mean(axis=0)


@pytest.mark.parametrize("bursts", [False, True])
def test_every_left_out_answer_is_that_of_learning_again(samples, bursts):
    """Discriminant analysis, ridge regression and cosine, samples and bursts: the same to 1e-10."""
    Z, y, groups = samples
    groups = groups if bursts else np.arange(N)
    state = state_of(Z, y)
    left = LeftOut(state, Z, y, groups)
    scores, tau = left.discriminant(0.3)
    answers, cosines = left.regression(RIDGE), left.nearest()
    lam = state.ridge(0.3)
    assert len(left) == N

    for group in np.unique(groups):
        out = groups == group
        rest, known = Z[~out], y[~out]
        again = state_of(rest, known)
        A = (rest - again.means[known]).T @ (rest - again.means[known]) / N + lam * np.eye(D)
        for i in np.flatnonzero(out):
            U = Z[i] - again.means
            far = np.einsum("cd,dc->c", U, np.linalg.solve(A, U.T))
            length = np.linalg.norm(again.means, axis=1)
            assert np.allclose(scores[i], -0.5 * (far - tau / again.counts), rtol=1e-10, atol=1e-10)
            assert np.allclose(answers[i], ridge_answers(rest, known, Z[i], RIDGE * N), atol=1e-10)
            assert np.allclose(cosines[i], again.means @ Z[i] / length, atol=1e-12)


def test_ridge_regression_from_the_state_is_that_from_the_rows(samples):
    """The answer solved from counts, means and scatter is the textbook's to 1e-12."""
    Z, y, _ = samples
    linear = state_of(Z, y).solve(Recipe(regression=0.01, ridge=RIDGE))

    assert np.allclose(Z @ linear.coef + linear.intercept, ridge_answers(Z, y, Z, RIDGE * N), atol=1e-12)


def test_a_class_that_would_be_empty_is_not_looked_at(samples):
    """When all of a class is one burst, or one sample, nothing can be said about it."""
    Z, y, groups = samples
    groups = np.where(y == 1, 1000, groups)

    left = LeftOut(state_of(Z, y), Z, y, groups)

    assert set(left.y) == {0, 2}
    assert len(left) == int((y != 1).sum())


def test_near_duplicates_are_linked_through_others_and_not_across_classes():
    """a~b and b~c is one group though a and c are far apart; another class is never in it."""
    angles = np.array([0.0, 0.5, 1.0, 2.5, 0.0])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    groups = near_duplicates(rows, np.array([0, 0, 0, 0, 1]), 0.8)

    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups[2:].tolist())) == 3


def test_the_penalty_with_the_least_error_is_taken(samples):
    """No other penalty on the list has a smaller squared error, each class weighing alike."""
    Z, y, _ = samples
    left = LeftOut(state_of(Z, y), Z, y)
    grid = (1e-4, 1e-2, 1.0)

    def error(answers):
        return np.mean([np.square(answers - np.eye(C)[y])[y == c].sum(axis=1).mean() for c in range(C)])

    chosen, answers = left.best_ridge(grid)

    assert error(answers) == min(error(left.regression(one)) for one in grid)
    assert np.array_equal(answers, left.regression(chosen))


def test_bursts_are_what_is_much_nearer_than_the_rest_of_a_class(samples):
    """Copies are left out together, to the answers of learning again; without copies all samples stay single."""
    Z, y, _ = samples
    copies = np.r_[np.arange(N), 0, 0, N - 1]
    noise = 1e-3 * np.random.default_rng(1).normal(size=(len(copies), D))
    X, labels = signed_root(np.abs(Z[copies] * np.abs(Z[copies])) * (1.0 + noise)), y[copies]
    state = state_of(X, labels)

    plain, grouped = LeftOut(state_of(Z, y), Z, y).in_bursts(0.99), LeftOut(state, X, labels).in_bursts(0.99)

    assert plain.pieces == N
    assert grouped.pieces == N
    groups = copies.copy()
    assert np.allclose(grouped.regression(RIDGE), LeftOut(state, X, labels, groups).regression(RIDGE))
    assert np.allclose(grouped.discriminant(0.3)[0], LeftOut(state, X, labels, groups).discriminant(0.3)[0])
    assert not LeftOut(state, X[1:], labels[1:]).complete
    assert LeftOut(state, X, labels).complete


def test_what_is_most_of_a_class_is_no_burst(samples):
    """Eight of nine samples of a class that look alike are how the class looks: each is left out by itself."""
    Z, y, _ = samples
    rows = np.flatnonzero(y == 1)
    X = Z.copy()
    X[rows[:-1]] = signed_root(
        np.abs(X[rows[0]]) * (1.0 + 1e-3 * np.arange(len(rows) - 1))[:, None] ** np.arange(D)
    )

    assert LeftOut(state_of(X, y), X, y).in_bursts(0.99).pieces == N


def test_what_looks_much_alike_is_no_burst():
    """Where all samples of a class have a cosine above 0.9, only those are linked that are far nearer than most."""
    rng = np.random.default_rng(0)
    X = np.abs(1.0 + 0.25 * rng.normal(size=(24, 40)))
    X[1], X[13] = X[0] * 1.02, X[12] + 0.001
    y = np.repeat([0, 1], 12)
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert (U @ U.T).min() > 0.85
    Z = signed_root(X)
    M = np.stack([Z[y == c].mean(axis=0) for c in range(2)])
    left = LeftOut(State(np.array([12.0, 12.0]), M, SpannedScatter.from_rows(Z - M[y])), Z, y)

    assert left.in_bursts(0.8).pieces == 22
