"""The set of stored samples is the same whether it was kept and added to or read anew."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest

from edge_agent.store.samples import SampleStore
from edge_agent.store.snapshots import Snapshots


@pytest.mark.parametrize("seed", range(3))
def test_any_history_leads_to_what_reading_anew_finds(store, new_sample, seed):
    """Added, seen by another extractor, relabelled, come again and forgotten: every set is that of a fresh reader."""
    rng, known, earlier = np.random.default_rng(seed), 0, []
    turns = [("one",), ("other",), ("other",), ("one", "other")]
    for _ in range(80):
        what = rng.choice(["add", "add", "relabel", "again", "remove", "see", "nothing"])
        if what == "add" or not known:
            count = int(rng.integers(1, 6))
            fingerprint = rng.choice(["one", "other"])
            labels = rng.choice(["cat", "dog", "fox"], count)
            store.add([new_sample(known + i, str(labels[i])) for i in range(count)], fingerprint)
            known += count
        present = [sample.digest for sample in store.list()]
        digest = str(rng.choice(present)) if present else ""
        if digest and what == "relabel":
            store.relabel(digest, str(rng.choice(["cat", "owl"])))
        elif digest and what == "remove":
            store.remove(digest)
        elif digest and what == "see":
            store.put_features(digest, "other", np.arange(1.0, 9.0, dtype=np.float32))
        elif what == "again" and known:
            store.add([new_sample(int(rng.integers(known)), "again")], "one")
        for fingerprint in turns[int(rng.integers(len(turns)))]:
            found = store.snapshot(fingerprint)
            anew = Snapshots(store.database.reading, keep=False).take(fingerprint)
            assert list(found) == list(anew)
            assert found.counts() == anew.counts()
            assert found.provider().sequences.tolist() == anew.provider().sequences.tolist()
            earlier.append((found, list(found)))
        assert list(store.counts().items()) == sorted(
            Counter(sample.label for sample in store.list()).items()
        )
    assert all(list(one) == pairs for one, pairs in earlier)


def test_only_what_arrived_since_is_read(store, new_sample):
    """A sample more has one row read, and none when nothing arrived."""
    store.add([new_sample(i) for i in range(200)], "fp")
    store.snapshot("fp")
    read = []
    with store.database.reading() as connection:  # the connection that is used next
        connection.row_factory = lambda _, row: read.append(row) or row
    first = store.snapshot("fp")
    assert store.snapshot("fp") is first
    before = len(read)
    store.add([new_sample(200)], "fp")
    assert len(store.snapshot("fp")) == 201
    assert before + 1 <= len(read) <= 8


def test_a_reader_keeps_nothing(store, new_sample, tmp_path):
    """Another process may change everything between two looks of one that only reads."""
    store.add([new_sample(i, "cat") for i in range(3)], "fp")
    with SampleStore(store.path, read_only=True) as reader:
        assert set(reader.snapshot("fp").labels) == {"cat"}
        store.relabel(new_sample(1).digest, "dog")
        assert set(reader.snapshot("fp").labels) == {"cat", "dog"}


def test_a_look_between_a_change_and_its_end_is_not_kept(store, new_sample):
    """What is read while a change is under way is as it was before, and the next look reads all of it."""
    store.add([new_sample(i, "cat") for i in range(3)], "fp")
    snapshots = Snapshots(store.database.reading, keep=True)
    snapshots.take("fp")
    with store.database.writing() as connection:
        connection.execute("UPDATE samples SET label = 'dog'")
        snapshots.outdate()
        assert set(snapshots.take("fp").labels) == {"cat"}
    snapshots.outdate()
    assert set(snapshots.take("fp").labels) == {"dog"}


def test_a_look_that_a_change_overtook_is_not_kept(store, new_sample):
    """It began before the change and ended after: what it read is given to whoever asked, and read again next time."""
    store.add([new_sample(i, "cat") for i in range(3)], "fp")
    change = []

    @contextmanager
    def reading():
        with store.database.reading() as connection:
            yield connection
        while change:
            change.pop()()

    snapshots = Snapshots(reading, keep=True)

    def relabel():
        snapshots.outdate()
        store.relabel(new_sample(1).digest, "dog")
        snapshots.outdate()

    change.append(relabel)
    assert set(snapshots.take("fp").labels) == {"cat"}
    assert set(snapshots.take("fp").labels) == {"cat", "dog"}
    change.append(
        lambda: (snapshots.outdate(), store.relabel(new_sample(2).digest, "fox"), snapshots.outdate())
    )
    assert snapshots.counts() == {"cat": 2, "dog": 1}
    assert snapshots.counts() == {"cat": 1, "dog": 1, "fox": 1}
