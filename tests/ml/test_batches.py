"""Samples in batches: who hands them over, how they are checked, in what order they come."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import (
    MatrixBatchProvider,
    MLArrayBatchProvider,
    MLBatchProvider,
    TrainingRows,
    checked_features,
    feature_blocks,
    mini_batches,
)
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureType, MLFeatureValue


class LazyBatch:
    """Makes each sample when it is asked for, and remembers which were."""

    def __init__(self, count, sample):
        self.count = count
        self.asked = []
        self._sample = sample

    def features(self, at):
        self.asked.append(at)
        return MLDictionaryFeatureProvider(self._sample(at))


def numbered(at):
    """A sample whose features are its index."""
    return {"features": np.full(2, at, dtype=np.float32), "label": f"label {at}"}


def test_an_array_of_providers_is_a_batch():
    """Count and samples are those of the list."""
    samples = [MLDictionaryFeatureProvider(numbered(at)) for at in range(3)]
    batch = MLArrayBatchProvider(array=samples)

    assert isinstance(batch, MLBatchProvider)
    assert batch.count == 3
    assert batch.features(at=1) is samples[1]
    assert batch.array == tuple(samples)


def test_columns_become_rows():
    """A dictionary of columns is read across."""
    batch = MLArrayBatchProvider(dictionary={"label": ["a", "b"], "size": [1, 2]})

    assert batch.count == 2
    assert batch.features(1).feature_value("size") == MLFeatureValue(int64=2)
    assert MLArrayBatchProvider(dictionary={}).count == 0


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"a": [1], "b": [1, 2]}, MLModelErrorCode.GENERIC),
        ({"a": [1, "x"]}, MLModelErrorCode.FEATURE_TYPE),
        ({"a": [None]}, MLModelErrorCode.FEATURE_TYPE),
    ],
)
def test_crooked_columns_are_refused(columns, code):
    """Unequal lengths, mixed types and values without a type."""
    with pytest.raises(MLModelError) as caught:
        MLArrayBatchProvider(dictionary=columns)
    assert caught.value.code is code


def test_one_source_of_samples():
    """Neither both nor none of list and columns."""
    with pytest.raises(TypeError):
        MLArrayBatchProvider()
    with pytest.raises(TypeError):
        MLArrayBatchProvider([], dictionary={})


def test_a_matrix_needs_a_label_a_row():
    """Features and labels of different number are refused."""
    with pytest.raises(MLModelError):
        MatrixBatchProvider(np.zeros((2, 3)), ["a"])


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_blocks_are_the_whole_in_order(rows):
    """Whatever the size of a block, all samples come once, in order, and no block is larger."""
    blocks = list(feature_blocks(LazyBatch(5, numbered), rows=rows))

    assert np.concatenate([X for X, _ in blocks])[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert [label for _, labels in blocks for label in labels] == [f"label {at}" for at in range(5)]
    assert max(len(labels) for _, labels in blocks) <= rows
    assert all(X.dtype == np.float32 for X, _ in blocks)


def test_a_lazy_batch_is_read_one_block_at_a_time():
    """Nothing beyond the block that was asked for is fetched, but for the look at the first sample."""
    batch = LazyBatch(100, numbered)
    blocks = feature_blocks(batch, rows=10)
    next(blocks)

    assert batch.asked == [0, *range(10)]


def test_samples_one_by_one_and_all_at_once_are_the_same(clouds):
    """The quick way through arrays gives what the way through features gives."""
    X, labels = clouds(11)
    quick = MatrixBatchProvider(X, labels)
    slow = MLArrayBatchProvider([quick.features(at) for at in range(quick.count)])

    for (A, a), (B, b) in zip(feature_blocks(quick, rows=4), feature_blocks(slow, rows=4), strict=True):
        assert np.array_equal(A, B)
        assert a == b


def test_mini_batches_are_shuffled_by_the_generator_alone():
    """The same generator gives the same order, every sample comes once, without one the order is kept."""
    batch = LazyBatch(10, numbered)

    def order(rng):
        return [label for _, labels in mini_batches(batch, 3, rng) for label in labels]

    assert order(None) == [f"label {at}" for at in range(10)]
    assert order(np.random.default_rng(1)) == order(np.random.default_rng(1))
    assert order(np.random.default_rng(1)) != order(None)
    assert sorted(order(np.random.default_rng(1))) == sorted(order(None))
    assert [len(labels) for _, labels in mini_batches(batch, 3, np.random.default_rng(1))] == [3, 3, 3, 1]


GOOD = np.zeros(2, dtype=np.float32)
UNUSABLE = [
    ({"features": GOOD}, MLModelErrorCode.UPDATE, "no feature named 'label'"),
    ({"feature": GOOD, "label": "a"}, MLModelErrorCode.UPDATE, "no feature named 'features'"),
    ({"features": np.zeros(3), "label": "a"}, MLModelErrorCode.UPDATE, r"shape \(3,\)"),
    ({"features": np.zeros((1, 2)), "label": "a"}, MLModelErrorCode.UPDATE, r"shape \(1, 2\)"),
    ({"features": 1.0, "label": "a"}, MLModelErrorCode.FEATURE_TYPE, "DOUBLE"),
    ({"features": GOOD, "label": 1.5}, MLModelErrorCode.FEATURE_TYPE, "DOUBLE"),
    ({"features": GOOD, "label": ""}, MLModelErrorCode.FEATURE_TYPE, "''"),
    ({"features": np.array([0.0, np.nan]), "label": "a"}, MLModelErrorCode.UPDATE, "not a finite number"),
    ({"features": np.array([0.0, 1e300]), "label": "a"}, MLModelErrorCode.UPDATE, "not a finite number"),
    (
        {"features": GOOD, "label": MLFeatureValue(undefined=MLFeatureType.STRING)},
        MLModelErrorCode.FEATURE_TYPE,
        "undefined",
    ),
]


@pytest.mark.parametrize(("sample", "code", "says"), UNUSABLE)
@pytest.mark.parametrize("at", [0, 4])
def test_an_unusable_sample_is_named(sample, code, says, at):
    """The error has the index and the reason; the first sample is looked at before anything begins."""
    batch = LazyBatch(6, lambda index: sample if index == at else {"features": GOOD, "label": "a"})

    with pytest.raises(MLModelError, match=f"sample {at}: .*{says}") as caught:
        list(feature_blocks(TrainingRows(batch, n_features=2), rows=3))
    assert caught.value.code is code
    assert at > 0 or batch.asked == [0]


def test_a_bad_number_in_a_matrix_is_named():
    """The quick way checks too, with indices of the batch and not of the block."""
    X = np.zeros((6, 2))
    X[4, 1] = np.inf

    with pytest.raises(MLModelError, match="sample 4"):
        list(feature_blocks(MatrixBatchProvider(X, ["a"] * 6), rows=3))
    with pytest.raises(MLModelError, match="sample 4"):
        list(mini_batches(MatrixBatchProvider(X, ["a"] * 6), 3, np.random.default_rng(0)))


class ShortArrays(MatrixBatchProvider):
    """Answers with fewer rows or labels than it was asked for."""

    rows, names = 1, 1

    def arrays(self, indices):
        X, labels = super().arrays(indices)
        return X[: self.rows], labels[: self.names]


@pytest.mark.parametrize(("rows", "names"), [(1, 1), (2, 3), (3, 2)])
def test_a_provider_that_gives_too_little_is_refused(rows, names):
    """Lost samples are never overlooked, be it their features or their labels."""
    batch = ShortArrays(np.zeros((3, 2)), ["a", "b", "c"])
    batch.rows, batch.names = rows, names
    with pytest.raises(MLModelError, match="3 samples asked for"):
        list(feature_blocks(batch))


@pytest.mark.parametrize("batch", [MLArrayBatchProvider([]), MatrixBatchProvider(np.zeros((0, 2)), [])])
def test_an_empty_batch_is_refused(batch):
    """There is nothing to learn from nothing."""
    with pytest.raises(MLModelError, match="empty") as caught:
        TrainingRows(batch)
    assert caught.value.code is MLModelErrorCode.UPDATE


def test_checked_rows_are_not_wrapped_twice():
    """What was checked is taken as it is."""
    rows = TrainingRows(LazyBatch(3, numbered))

    assert next(feature_blocks(rows))[0].shape == (3, 2)
    assert rows.features(2).feature_value("label") == MLFeatureValue(string="label 2")


@pytest.mark.parametrize(
    "X",
    [
        np.zeros(2),
        np.zeros((1, 3)),
        np.array([["a", "b"]]),
        np.array([[0.0, np.nan]]),
        np.array([[0, 1e300]]),
    ],
)
def test_what_cannot_be_predicted_from_is_refused(X):
    """Wrong shape, wrong type, not finite."""
    with pytest.raises(MLModelError) as caught:
        checked_features(X, 2)
    assert caught.value.code is MLModelErrorCode.FEATURE_TYPE


def test_whole_numbers_can_be_predicted_from():
    """Any kind of number becomes float32."""
    assert checked_features(np.array([[1, 2]]), 2).dtype == np.float32
