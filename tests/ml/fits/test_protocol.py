"""The data of a fit: what it refuses, and how it is read."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.fits.protocol import FitData

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.array([0, 1, 1, 0, 2, 1])


def test_counts_and_blocks_are_those_of_the_rows():
    """Blocks come in order and together are all rows."""
    data = FitData(X, Y, ("a", "b", "c"))
    blocks = list(data.blocks(4))

    assert data.n_features == 2
    assert data.counts.tolist() == [2, 3, 1]
    assert [len(rows) for rows, _ in blocks] == [4, 2]
    assert np.array_equal(np.concatenate([rows for rows, _ in blocks]), X)
    assert np.array_equal(np.concatenate([classes for _, classes in blocks]), Y)


@pytest.mark.parametrize(
    ("rows", "y", "classes", "told"),
    [
        (X.astype(float), Y, ("a", "b", "c"), "float64"),
        (X[0], Y[:1], ("a",), "shape"),
        (X, Y[:5], ("a", "b", "c"), "6 rows"),
        (X, Y.astype(float), ("a", "b", "c"), "float64"),
        (X[:0], Y[:0], ("a",), "no samples"),
        (X, Y, ("a", "b", "a"), "twice"),
        (X, Y, ("a", "b"), "not one of 2"),
        (X, Y - 1, ("a", "b", "c"), "not one of 3"),
        (X, Y, ("a", "b", "c", "d"), "'d' has no samples"),
    ],
)
def test_what_does_not_go_together_is_refused(rows, y, classes, told):
    """With an UPDATE error that says what is wrong."""
    with pytest.raises(MLModelError, match=told) as caught:
        FitData(rows, y, classes)
    assert caught.value.code is MLModelErrorCode.UPDATE
