"""Half of a symmetric matrix, against the whole one."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.triangle import Triangle

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("D", [0, 1, 63, 64, 65, 200])
def test_half_of_a_matrix_is_all_of_it(D):
    """Whatever the number of blocks: sums of products, diagonal, largest value and packing are those of the whole."""
    B, C = RNG.normal(size=(5, D)), RNG.normal(size=(3, D))
    triangle = Triangle.of(B.T @ B)
    triangle.add_products(C)
    triangle.add_products(B[:2], -1.0)
    triangle.add(Triangle.of(2.0 * B.T @ B))
    triangle.add_diagonal(0.5)
    whole = 3.0 * B.T @ B + C.T @ C - B[:2].T @ B[:2] + 0.5 * np.eye(D)

    assert len(triangle) == D
    assert np.allclose(triangle.square(), whole)
    assert np.allclose(triangle.diagonal, np.diag(whole))
    assert triangle.largest == pytest.approx(np.abs(whole).max(initial=0.0))
    assert np.allclose(triangle.packed(), whole[np.tril_indices(D)])
    assert np.array_equal(Triangle.from_packed(triangle.packed(), D).square(), triangle.square())
    assert np.allclose(triangle.scaled(2.0).square(), 2.0 * whole)
    assert sum(block.nbytes for block in triangle.blocks) <= 8 * D * (D + 64) // 2 + 8


def test_a_copy_is_its_own():
    """What is added to one is not added to the other, and both halves of a block can be had."""
    one = Triangle.from_packed(np.arange(1.0, 7.0), 3)
    other = one.copy().mirror()
    one.add_diagonal(1.0)

    assert other.blocks[0].tolist() == [[1, 2, 4], [2, 3, 5], [4, 5, 6]]
    assert one.blocks[0].tolist() == [[2, 0, 0], [2, 4, 0], [4, 5, 7]]
