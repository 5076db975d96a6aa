"""Factors of matrices, against numpy and the definition."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.cholesky import Cholesky
from edge_agent.ml.triangle import Triangle

RNG = np.random.default_rng(3)


def positive(D):
    """A symmetric positive definite matrix."""
    B = RNG.normal(size=(2 * D, D))
    return B.T @ B / D + 0.1 * np.eye(D)


@pytest.mark.parametrize("D", [1, 5, 64, 65, 130, 200])
def test_the_factor_is_that_of_numpy_and_solves(D):
    """Whatever the number of blocks; halves multiply to the inverse, and solving undoes the matrix."""
    A, X = positive(D), RNG.normal(size=(7, D))

    factor = Cholesky.of(Triangle.of(A))

    assert np.allclose(np.tril(factor.lower.square()), np.linalg.cholesky(A), atol=1e-12)
    H = factor.half(X)
    assert np.allclose(H @ H.T, X @ np.linalg.solve(A, X.T), atol=1e-10)
    assert np.allclose(factor.solve(X) @ A, X, atol=1e-10)
    assert factor.half(X[:0]).shape == (0, D)


@pytest.mark.parametrize("D", [1, 64, 100])
def test_what_is_stored_answers_in_single_precision(D):
    """Packed and back: half of the matrix in float32, and the same answers to its rounding."""
    A, X = positive(D), RNG.normal(size=(5, D))
    factor = Cholesky.of(Triangle.of(A))

    packed = factor.packed()
    again = Cholesky.from_packed(packed, D)

    assert packed.dtype == np.float32
    assert packed.shape == (D * (D + 1) // 2,)
    assert again.solve(X) == pytest.approx(factor.solve(X), rel=1e-3, abs=1e-4)
    assert np.array_equal(again.packed(), packed)


def test_what_is_not_positive_definite_is_refused():
    """By numpy's own error."""
    with pytest.raises(np.linalg.LinAlgError):
        Cholesky.of(Triangle.of(-np.eye(70)))
