"""This is where a model judges itself by what it learned from: leave-one-out, temperature, log-loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]

TEMPERATURES = (1e-4, 10.0)
"""The least and the greatest factor on a score that a fit may answer."""


def softmax(scores: Matrix) -> Matrix:
    """Probabilities [n, C] from scores [n, C], each row summing to 1."""
    if scores.shape[1] == 0:
        return scores.copy()
    P: Matrix = np.exp(scores - scores.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    return P


def log_loss(P: Matrix, y: Indices) -> float:
    """Mean negative log of the probability [n, C] given to the true class [n].

    Probabilities are kept above the smallest step of a float64 from 1, as scikit-learn does.
    """
    own = P[np.arange(len(y)), y]
    return float(-np.log(np.clip(own, np.finfo(np.float64).eps, 1.0)).mean())


def leave_one_out_distances(
    q: Matrix, R: Matrix, V: Matrix, y: Indices, counts: Matrix, n_total: float
) -> Matrix:
    """Mahalanobis distances [n, C] of samples to all means, each as if that sample had not been learned.

    With A = Sw/N + lam I: `q` [n] is x' A^-1 x, `R` [n, C] x' A^-1 mu_j, `V` [C, C] mu_i' A^-1 mu_j (any
    common origin), `y` [n] the classes, `counts` [C] their sizes, all at least 2 where they occur in `y`,
    `n_total` is N.

    Leaving x out of class c of n samples takes k d d' from Sw (d = x - mu_c, k = n/(n-1)) and moves mu_c by
    -d/(n-1); Sherman and Morrison's formula then gives, with lam N held fixed and u_j = x - mu_j, u_c = k d:
    dist_j = u_j'A^-1u_j + (k/N)(u_j'A^-1d)^2 / (1 - (k/N) d'A^-1d).
    """
    rows = np.arange(len(y))
    own = R[rows, y]
    k = counts[y] / (counts[y] - 1.0)
    plain = q[:, None] - 2.0 * R + np.diag(V)
    cross = q[:, None] - own[:, None] - R + V[:, y].T
    dAd = np.maximum(plain[rows, y], 0.0)
    rest = np.maximum(1.0 - k / n_total * dAd, np.finfo(np.float64).eps)
    distances = plain + (k / n_total / rest)[:, None] * cross**2
    distances[rows, y] = k**2 * dAd / rest
    return distances


def small_class_bias(own_distances: Matrix, own_counts: Matrix) -> float:
    """tau, by how much 1/n_c inflates a distance to a mean of n_c samples.

    `own_distances` [n] and the sizes of their classes `own_counts` [n]; E|x - mean|^2 = tau (1 + 1/(n_c -
    1)).
    """
    return float((own_distances / (1.0 + 1.0 / (own_counts - 1.0))).mean())


def leave_one_out_scores(
    distances: Matrix, y: Indices, counts: Matrix, tau: float, log_prior: Matrix
) -> Matrix:
    """Scores [n, C] of left-out samples: -1/2 (distance - tau/n_j) + log prior, own classes one smaller."""
    sizes = np.broadcast_to(counts, distances.shape).copy()
    sizes[np.arange(len(y)), y] -= 1.0
    return -0.5 * (distances - tau / sizes) + log_prior


def fit_temperature(scores: Matrix, y: Indices) -> float:
    """The factor T on held-out scores [n, C] that minimises the log-loss of softmax(T scores).

    The loss is convex in T. When every sample is right it falls forever; then T is where the mean probability
    of the true class is (n + 1)/(n + 2), Laplace's rule of succession for n successes in n trials.
    """
    n, C = scores.shape
    if n == 0 or C < 2:
        return 1.0
    rows = np.arange(n)
    margins = scores - scores[rows, y][:, None]
    margins[rows, y] = -np.inf
    if bool((margins.max(axis=1) < 0.0).all()):
        return _root(_confidence(scores, y, (n + 1.0) / (n + 2.0)))
    return _root(_loss_slope(scores, y))


def fit_weights(
    kinds: Matrix, y: Indices, shares: Matrix, usual: Matrix, strength: Matrix, steps: int = 50
) -> Matrix:
    """The weights [k] of several kinds of held-out scores [k, n, C] that together lose least.

    The least sum over samples of `shares` [n] times the log-loss of softmax(weights . kinds), plus `strength`
    [k], above 0, times the squared distances to the `usual` weights [k]. That is strictly convex: Newton's
    method, its steps halved while they lead up, finds the only minimum.
    """
    rows = np.arange(len(y))
    own = kinds[:, rows, y]

    def function(weights: Matrix) -> tuple[float, Matrix]:
        scores = np.tensordot(weights, kinds, 1)
        scores -= scores.max(axis=1, keepdims=True)
        P = np.exp(scores)
        total = P.sum(axis=1)
        P /= total[:, None]
        loss = shares @ (np.log(total) - scores[rows, y])
        return float(loss + strength @ np.square(weights - usual)), P

    weights = usual
    value, P = function(weights)
    for _ in range(steps):
        weighed = kinds * P
        mean = weighed.sum(axis=2)
        slope = (mean - own) @ shares + 2.0 * strength * (weights - usual)
        curvature = np.einsum("knc,lnc,n->kl", weighed, kinds, shares, optimize=True)
        curvature += 2.0 * np.diag(strength) - (mean * shares) @ mean.T
        step = np.linalg.solve(curvature, slope)
        if float(slope @ step) <= 1e-16:
            return np.asarray(weights - step)  # from here one step more leaves nothing of the distance
        length = 1.0
        while True:
            there, P = function(weights - length * step)
            if there <= value or length < 1e-6:
                break
            length /= 2.0
        weights, value = weights - length * step, there
    return weights


def _loss_slope(scores: Matrix, y: Indices) -> Callable[[float], tuple[float, float]]:
    own = scores[np.arange(len(y)), y]

    def function(T: float) -> tuple[float, float]:
        P = softmax(T * scores)
        mean = (P * scores).sum(axis=1)
        variance = (P * scores**2).sum(axis=1) - mean**2
        return float((mean - own).mean()), float(variance.mean())

    return function


def _confidence(scores: Matrix, y: Indices, target: float) -> Callable[[float], tuple[float, float]]:
    rows = np.arange(len(y))

    def function(T: float) -> tuple[float, float]:
        P = softmax(T * scores)
        own = P[rows, y]
        slope = own * (scores[rows, y] - (P * scores).sum(axis=1))
        return float(own.mean()) - target, float(slope.mean())

    return function


def _root(function: Callable[[float], tuple[float, float]]) -> float:
    """Where an increasing function of T is zero within `TEMPERATURES`: Newton's steps in a bracket."""
    low, high = TEMPERATURES
    if function(low)[0] >= 0.0:
        return low
    if function(high)[0] <= 0.0:
        return high
    T = 1.0
    for _ in range(100):
        value, slope = function(T)
        low, high = (T, high) if value < 0.0 else (low, T)
        step = T - value / slope if slope > 0.0 else low
        if not low < step < high:
            step = float(np.sqrt(low * high))
        if abs(step - T) <= 1e-13 * T:
            return step
        T = step
    return T
