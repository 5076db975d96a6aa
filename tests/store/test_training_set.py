"""The samples of one moment, read block by block."""

from __future__ import annotations

import threading
import tracemalloc
from itertools import chain

import numpy as np
import pytest

from edge_agent.errors import NotFoundError, StoreError
from edge_agent.ml.batches import ArrayProvider, MLBatchProvider, feature_blocks, mini_batches
from edge_agent.store.chosen import keys_of
from edge_agent.store.samples import SampleStore, decode_features, encode_features


@pytest.fixture
def filled(store, new_sample):
    """A store with thirty samples of two labels."""
    store.add([new_sample(i, "cat" if i % 3 else "dog") for i in range(30)], "fp")
    return store


def expected(new_sample, i):
    """What the store gives back of the features of sample `i`."""
    return decode_features(encode_features(new_sample(i).features))


class TestTrainingSet:
    def test_is_sorted_by_digest(self, filled, new_sample):
        """It is a sequence of digest and label in an order that does not depend on arrival."""
        training_set = filled.snapshot("fp")

        pairs = sorted((new_sample(i).digest, "cat" if i % 3 else "dog") for i in range(30))
        assert list(training_set) == pairs
        assert training_set[3] == pairs[3]
        assert training_set[-1] == pairs[-1]
        assert training_set[2:5] == pairs[2:5]
        assert training_set.digests == [digest for digest, _ in pairs]
        assert training_set.labels == [label for _, label in pairs]
        assert training_set.counts() == {"cat": 20, "dog": 10}
        assert training_set.has(training_set.table[3:9]).all()
        assert training_set.has(keys_of([pairs[0][0], "f" * 64, "0" * 64])).tolist() == [True, False, False]

    def test_stays_as_it_was(self, filled, new_sample):
        """What is added or corrected later is not in it."""
        training_set = filled.snapshot("fp")
        before = list(training_set)

        filled.relabel(new_sample(1).digest, "cow")
        filled.add([new_sample(99)], "fp")

        assert list(training_set) == before
        assert len(filled.snapshot("fp")) == 31

    def test_unknown_extractor_has_seen_nothing(self, filled):
        """An extractor that never gave features has an empty set with an empty provider."""
        training_set = filled.snapshot("another")

        assert list(training_set) == []
        X, labels = training_set.provider().arrays(slice(None))
        assert (X.shape, labels) == ((0, 0), [])

    @pytest.mark.parametrize("digests", [["f" * 64], ["nonsense"], ["ab"], ["f" * 64 + "0" * 64]])
    def test_provider_of_what_is_not_there(self, filled, digests):
        """A digest outside the set is a `NotFoundError`."""
        with pytest.raises(NotFoundError):
            filled.snapshot("fp").provider(digests)


class TestProvider:
    def test_speaks_the_protocols(self, filled):
        """It is a batch provider, and offers arrays."""
        provider = filled.snapshot("fp").provider()

        assert isinstance(provider, MLBatchProvider)
        assert isinstance(provider, ArrayProvider)
        assert provider.count == 30

    def test_keeps_the_order_given(self, filled, new_sample):
        """Features and labels follow the digests that were asked for, in their order, also by index."""
        wanted = [7, 3, 3, 21]
        provider = filled.snapshot("fp").provider([new_sample(i).digest for i in wanted])

        X, labels = provider.arrays([3, 0])

        assert provider.labels == ["cat", "dog", "dog", "dog"]
        assert labels == ["dog", "cat"]
        assert X.dtype == np.float32
        np.testing.assert_array_equal(X, [expected(new_sample, 21), expected(new_sample, 7)])

    def test_one_at_a_time(self, filled, new_sample):
        """Each entry is a feature provider with features and a label; an index outside is an `IndexError`."""
        provider = filled.snapshot("fp").provider([new_sample(i).digest for i in range(30)])

        for i in (0, 29, 5):
            sample = provider.features(i)
            assert sample.feature_value("label").string_value == ("cat" if i % 3 else "dog")
            np.testing.assert_array_equal(
                sample.feature_value("features").multi_array_value, expected(new_sample, i)
            )
        for i in (-1, 30):
            with pytest.raises(IndexError):
                provider.features(i)

    def test_blocks_and_mini_batches(self, filled):
        """Both ways of reading give every sample once."""
        provider = filled.snapshot("fp").provider()

        blocks = [labels for _, labels in feature_blocks(provider, rows=7)]
        batches = [labels for _, labels in mini_batches(provider, 4, np.random.default_rng(0))]

        assert [len(labels) for labels in blocks] == [7, 7, 7, 7, 2]
        assert sorted(chain(*batches)) == sorted(chain(*blocks)) == sorted(provider.labels)

    def test_works_on_another_thread(self, filled):
        """Training reads on a thread of its own while the agent's goes on writing."""
        provider = filled.snapshot("fp").provider()
        read: list[int] = []
        thread = threading.Thread(target=lambda: read.append(len(provider.arrays(slice(None))[0])))

        thread.start()
        filled.set_meta("a", "b")
        thread.join()

        assert read == [30]

    def test_sample_forgotten_meanwhile(self, filled, new_sample):
        """A training that wants a sample that was forgotten ends with a `StoreError`."""
        provider = filled.snapshot("fp").provider()
        filled.remove(new_sample(4).digest)

        with pytest.raises(StoreError, match="forgotten"):
            provider.arrays(slice(None))

    def test_closed_store(self, filled):
        """A provider of a closed store says so."""
        provider = filled.snapshot("fp").provider()
        filled.close()

        with pytest.raises(StoreError, match="closed"):
            provider.arrays([0])

    def test_more_rows_than_one_statement_takes(self, store, new_sample):
        """A block of any size can be asked for."""
        store.add([new_sample(i) for i in range(1203)], "fp")

        X, labels = store.snapshot("fp").provider().arrays(slice(None))

        assert (X.shape, len(labels)) == ((1203, 8), 1203)


@pytest.mark.measured
def test_memory_is_that_of_a_block(tmp_path, new_sample):
    """Reading 20,000 samples holds one block of features and 44 bytes of each sample, not all features."""
    number, width = 20_000, 256
    with SampleStore(tmp_path / "agent.db") as store:
        row = np.random.default_rng(0).normal(size=width).astype(np.float32)
        for start in range(0, number, 1000):
            store.add([new_sample(start + i, features=row) for i in range(1000)], "fp")
        tracemalloc.start()
        try:
            provider = store.snapshot("fp").provider()
            held, at_snapshot = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            rows = sum(len(X) for X, _ in feature_blocks(provider, rows=512))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert rows == number
    assert held < 100 * number
    assert at_snapshot < 300 * number
    assert peak - held < 8 * 512 * width * 4
    assert peak - held < number * width * 4 / 4
