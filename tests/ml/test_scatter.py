"""The spread of samples in its two forms, against inverting the matrix."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError
from edge_agent.ml.scatter import FullScatter, SpannedScatter, stored_scatter
from edge_agent.ml.triangle import Triangle

D = 6
RNG = np.random.default_rng(1)


def rows(count):
    """Random rows."""
    return RNG.normal(size=(count, D))


@pytest.mark.parametrize("count", [1, 3, 9])
def test_scatter_from_rows_and_from_the_matrix_is_the_same(count):
    """Fewer rows than features or more: the axes rebuild B'B, and so do the rows made of them."""
    B = rows(count)
    for scatter in (SpannedScatter.from_rows(B), SpannedScatter.from_matrix(B.T @ B)):
        rebuilt = scatter.axes.T @ np.diag(scatter.eigenvalues) @ scatter.axes

        assert np.allclose(rebuilt, B.T @ B)
        assert np.allclose(scatter.rows().T @ scatter.rows(), B.T @ B)
        assert scatter.trace == pytest.approx(np.trace(B.T @ B))


@pytest.mark.parametrize("B", [np.zeros((0, D)), np.zeros((3, D))])
def test_rows_without_content_scatter_nowhere(B):
    """No rows, or rows of zeros: no axes, no warning."""
    assert SpannedScatter.from_rows(B).axes.shape == (0, D)
    assert SpannedScatter.of_nothing(D).rows().shape == (0, D)


@pytest.mark.parametrize("count", [3, 20])
@pytest.mark.parametrize("form", ["spanned", "full"])
def test_both_forms_answer_as_the_inverse(form, count):
    """Products of rows with (S + r I)^-1 for several ridges, also scaled, looked at and through each other."""
    B, X, M = rows(count), rows(5), rows(2)
    scatter = SpannedScatter.from_rows(B) if form == "spanned" else FullScatter(Triangle.of(B.T @ B))
    look, other = scatter.look(X), scatter.look(M)
    for ridge in (0.5, 0.01, 0.5):
        inverse = np.linalg.inv(B.T @ B + ridge * np.eye(D))
        whole = X @ inverse @ X.T
        assert scatter.look(X).solved(ridge) == pytest.approx(X @ inverse, abs=1e-9)
        assert scatter.quadratic(X, ridge) == pytest.approx(np.diag(whole), abs=1e-9)
        assert look.quadratic(ridge) == pytest.approx(np.diag(whole), abs=1e-9)
        assert look.pairs(np.array([3, 1]), ridge) == pytest.approx(whole[np.ix_([3, 1], [3, 1])], abs=1e-9)
        assert look.cross(other, ridge) == pytest.approx(X @ inverse @ M.T, abs=1e-9)
        twice = np.linalg.inv(2.0 * B.T @ B + ridge * np.eye(D))
        assert scatter.scaled(2.0).look(X).solved(ridge) == pytest.approx(X @ twice, abs=1e-9)


@pytest.mark.parametrize("form", ["spanned", "full"])
def test_what_is_stored_answers_the_same_to_single_precision(form):
    """Through its arrays; the whole matrix can be had again from the factor, to add more to it."""
    B, X, ridge = rows(20), rows(4), 0.3
    scatter = SpannedScatter.from_rows(B) if form == "spanned" else FullScatter(Triangle.of(B.T @ B))
    arrays = scatter.arrays(ridge)
    again = stored_scatter(arrays, D, ridge)

    assert np.array_equal(again.quadratic(X, ridge), scatter.as_stored(ridge).quadratic(X, ridge))
    assert all(array.dtype == np.float32 for name, array in arrays.items() if array.size > D)
    assert again.quadratic(X, ridge) == pytest.approx(scatter.quadratic(X, ridge), rel=1e-4)
    assert again.look(X).solved(0.1) == pytest.approx(scatter.look(X).solved(0.1), rel=1e-3, abs=1e-4)
    assert again.trace == pytest.approx(scatter.trace, rel=1e-5)
    assert again.scaled(0.5).quadratic(X, 0.5 * ridge) == pytest.approx(
        2.0 * again.quadratic(X, ridge), rel=1e-4
    )


def test_a_stored_factor_that_nobody_wrote_is_damage():
    """Too short, with a diagonal that is not positive, or without a ridge."""
    whole = FullScatter(Triangle.of(np.eye(D))).arrays(1.0)["factor"]
    for packed, ridge in ((whole[1:], 1.0), (-whole, 1.0), (whole, 0.0)):
        with pytest.raises(MLModelError):
            stored_scatter({"factor": packed, "trace": np.ones(1)}, D, ridge)
