"""The data of a fit: what it refuses, and how it is read."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import training_rows
from edge_agent.ml.fits.protocol import FitData

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.array([0, 1, 1, 0, 2, 1])


def test_counts_and_blocks_are_those_of_the_rows():
    """Blocks come in order and together are all rows; so do those of a part, of itself and of its part."""
    data = FitData(X, Y, ("a", "b", "c"))
    part = data.part(np.array([5, 4, 3, 0]))

    assert (data.n_features, len(data), data.counts.tolist()) == (2, 6, [2, 3, 1])
    assert [len(block) for block in data.blocks(4)] == [4, 2]
    assert np.array_equal(np.concatenate(list(data.blocks(4))), X)
    assert (len(part), part.targets.tolist(), part.counts.tolist()) == (4, [1, 2, 0, 0], [2, 1, 1])
    assert np.array_equal(np.concatenate(list(part.blocks(3))), X[[5, 4, 3, 0]])
    assert np.array_equal(np.concatenate(list(part.part(np.array([3, 1, 0])).blocks())), X[[0, 4, 5]])


@pytest.mark.parametrize("chosen", [None, np.array([5, 4, 3, 0])])
def test_a_head_reads_the_same_samples(chosen):
    """As a batch provider: in blocks, by index and one by one."""
    data = FitData(X, Y, ("a", "b", "c"), chosen)
    rows = [*range(6)] if chosen is None else chosen.tolist()
    batch = data.batch()
    block, labels = training_rows(batch).arrays(slice(0, 4))
    some, others = batch.arrays([3, 1])

    assert np.array_equal(block, X[rows[:4]])
    assert labels == [data.classes[k] for k in Y[rows[:4]]]
    assert np.array_equal(some, X[[rows[3], rows[1]]])
    assert others == [data.classes[Y[rows[3]]], data.classes[Y[rows[1]]]]
    assert batch.features(2)["label"].string_value == data.classes[Y[rows[2]]]


def test_a_feature_that_is_not_finite_is_named():
    """With the index of its sample."""
    bad = X.copy()
    bad[4, 1] = np.nan
    with pytest.raises(MLModelError, match="sample 4") as caught:
        list(FitData(bad, Y, ("a", "b", "c")).blocks(3))
    assert caught.value.code is MLModelErrorCode.UPDATE


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
