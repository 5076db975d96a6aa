"""Leave-one-out against really leaving one out, and the temperature against a search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import log_loss as sklearn_log_loss

from edge_agent.ml.estimates import (
    TEMPERATURES,
    fit_temperature,
    fit_weights,
    leave_one_out_distances,
    leave_one_out_scores,
    log_loss,
    small_class_bias,
    softmax,
)


@pytest.fixture(name="parts", params=[(5, 7), (5, 40)], ids=["fewer samples than features", "more"])
def _parts(request):
    """Three classes of unequal size in which no class has one sample only."""
    D, n = request.param
    D, n = (D, n) if n > 7 else (9, 7)
    rng = np.random.default_rng(3)
    y = np.array([0, 0, 0, 1, 1, 2, 2, *rng.integers(0, 3, n - 7)], dtype=np.intp)
    return rng.normal(size=(n, D)) + y[:, None], y


def means_and_scatter(X, y):
    """Class means and within-class scatter, from the definition."""
    M = np.stack([X[y == c].mean(axis=0) for c in range(3)])
    deviations = X - M[y]
    return M, deviations.T @ deviations


def test_left_out_distances_are_those_of_refitting_without_the_sample(parts):
    """Every distance, with the ridge term lam N held fixed, to machine precision."""
    X, y = parts
    N, D = X.shape
    M, Sw = means_and_scatter(X, y)
    lam = 0.3 * np.trace(Sw) / N / min(N - 1, D)
    inverse = np.linalg.inv(Sw / N + lam * np.eye(D))
    fast = leave_one_out_distances(
        np.einsum("id,de,ie->i", X, inverse, X), X @ inverse @ M.T, M @ inverse @ M.T, y,
        np.bincount(y).astype(float), N,
    )  # fmt: skip

    slow = np.empty_like(fast)
    for i in range(N):
        rest = np.arange(N) != i
        M_rest, Sw_rest = means_and_scatter(X[rest], y[rest])
        A = (Sw_rest + lam * N * np.eye(D)) / N
        for j in range(3):
            u = X[i] - M_rest[j]
            slow[i, j] = u @ np.linalg.solve(A, u)

    assert np.abs(fast / slow - 1.0).max() < 1e-11


def test_the_bias_of_small_classes_follows_its_formula():
    """The mean of distances, each divided by what its class size adds."""
    assert small_class_bias(np.array([3.0, 8.0]), np.array([2.0, 5.0])) == pytest.approx(
        (3.0 / 2.0 + 8.0 / 1.25) / 2
    )


def test_left_out_scores_count_one_less_in_the_own_class():
    """tau/n of the own class is that of the class without the sample."""
    scores = leave_one_out_scores(
        np.array([[4.0, 6.0]]), np.array([1]), np.array([2.0, 3.0]), 1.0, np.array([0.0, -1.0])
    )

    assert scores.tolist() == [[-0.5 * (4.0 - 1 / 2), -0.5 * (6.0 - 1 / 2) - 1.0]]


def noisy_scores(n=200, C=4, seed=0):
    """Scores that are right most of the time."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, C, n)
    scores = rng.normal(size=(n, C)) * 3
    scores[np.arange(n), y] += 4
    return scores, y


def test_the_temperature_minimises_the_loss():
    """No other factor on a fine grid does better."""
    scores, y = noisy_scores()
    T = fit_temperature(scores, y)
    best = min(log_loss(softmax(t * scores), y) for t in np.geomspace(T / 3, T * 3, 2001))

    assert TEMPERATURES[0] < T < TEMPERATURES[1]
    assert log_loss(softmax(T * scores), y) <= best + 1e-12


def test_the_temperature_undoes_a_change_of_scale():
    """Scores ten times as large get a tenth of the factor."""
    scores, y = noisy_scores()

    assert fit_temperature(scores * 10, y) * 10 == pytest.approx(fit_temperature(scores, y), rel=1e-9)


def test_scores_without_an_error_are_believed_as_far_as_their_number_allows():
    """n successes of n give a mean probability of (n + 1)/(n + 2), where the loss has no minimum."""
    y = np.arange(10) % 2
    scores = np.where(np.arange(2) == y[:, None], 5.0, 0.0)
    P = softmax(fit_temperature(scores, y) * scores)

    assert P[np.arange(10), y].mean() == pytest.approx(11 / 12)


@pytest.mark.parametrize(
    ("scores", "y", "T"),
    [
        (np.zeros((0, 2)), [], 1.0),
        (np.zeros((3, 1)), [0, 0, 0], 1.0),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), [0, 1], TEMPERATURES[0]),
        (np.array([[1e-3, 0.0], [0.0, 1e-3]]), [0, 1], TEMPERATURES[1]),
    ],
    ids=["no samples", "one class", "always wrong", "hardly a difference"],
)
def test_the_temperature_keeps_its_bounds(scores, y, T):
    """Nothing to fit gives 1, the hopeless and the too easy end at the bounds."""
    assert fit_temperature(scores, np.array(y, dtype=np.intp)) == T


def test_equal_scores_have_an_answer():
    """Scores that say nothing give some finite factor."""
    assert np.isfinite(fit_temperature(np.zeros((4, 2)), np.array([0, 1, 0, 1])))


def test_the_loss_is_scikit_learns():
    """Probabilities of zero included."""
    scores, y = noisy_scores()
    P = softmax(scores)
    P[0] = np.eye(4)[(y[0] + 1) % 4]

    assert log_loss(P, y) == pytest.approx(sklearn_log_loss(y, P, labels=range(4)))


def test_probabilities_sum_to_one_whatever_the_scores():
    """Very large scores overflow nothing, no classes give no columns."""
    assert softmax(np.array([[1e300, -1e300, 1e300]])).tolist() == [[0.5, 0.0, 0.5]]
    assert softmax(np.zeros((2, 0))).shape == (2, 0)


def weighed():
    """Two kinds of scores of 40 samples in three classes, the better one too timid, and shares of the samples."""
    rng = np.random.default_rng(8)
    y, shares = rng.integers(0, 3, 40), rng.uniform(0.5, 1.5, 40)
    kinds = np.stack([0.3 * np.eye(3)[y] + 0.3 * rng.normal(size=(40, 3)), rng.normal(size=(40, 3))])
    return kinds, y, shares / shares.sum()


def test_weights_are_those_of_a_search():
    """Scipy finds the same least loss, started elsewhere; the better kind gets more than usual, the other less."""
    kinds, y, shares = weighed()
    usual, strength = np.array([1.0, 1.0]), np.array([0.02, 0.05])

    def loss(weights):
        P = softmax(np.tensordot(weights, kinds, 1))
        return -shares @ np.log(P[np.arange(40), y]) + strength @ np.square(weights - usual)

    w = fit_weights(kinds, y, shares, usual, strength)

    found = minimize(loss, np.array([0.0, 3.0]), tol=1e-14)
    assert loss(w) <= found.fun + 1e-15
    assert np.allclose(w, found.x, atol=1e-6)
    assert w[0] > 1.0 > w[1]


def test_weights_stay_usual_where_that_is_asked_for_and_grow_to_an_end_where_all_is_right():
    """A great strength lets nothing move; samples that are all right, a loss without a minimum, end all the same."""
    kinds, y, shares = weighed()
    right = np.stack([100.0 * np.eye(3)[y], 100.0 * np.eye(3)[y]])
    usual = np.array([1.0, 0.5])

    assert np.allclose(fit_weights(kinds, y, shares, usual, np.full(2, 1e9)), usual, atol=1e-9)
    assert np.isfinite(fit_weights(right, y, shares, 1e-3 * usual, np.full(2, 1e-3))).all()


def test_weights_do_not_depend_on_the_order_of_samples():
    """Reversed, the same to 1e-12."""
    kinds, y, shares = weighed()
    usual, strength = np.array([1.0, 1.0]), np.array([0.01, 0.01])

    there = fit_weights(kinds, y, shares, usual, strength)
    back = fit_weights(kinds[:, ::-1], y[::-1], shares[::-1], usual, strength)

    assert np.allclose(there, back, rtol=0, atol=1e-12)
