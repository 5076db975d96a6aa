"""Sums over stored samples, against making them anew from what the store holds."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from edge_agent.errors import StoreError
from edge_agent.ml.heads import lda
from edge_agent.ml.heads.mixed import AutoHead, LDARidgeHead
from edge_agent.ml.statistics import ClassStatistics
from edge_agent.ml.summed import content_marks
from edge_agent.ml.transforms import signed_root
from edge_agent.store import sums as sums_module
from edge_agent.store.sums import KeptSums, difference
from edge_agent.store.sums_file import marks_in

D = 24
LABELS = ("cat", "dog", "owl")


@pytest.fixture(name="fill")
def _fill(store, new_sample):
    """Adds samples number `start` to `stop`, whose features depend on their label."""

    def fill(start, stop):
        added = []
        for i in range(start, stop):
            rng = np.random.default_rng(i)
            label = LABELS[i % 3]
            features = (rng.gamma(1.0, 1.0, D) + 1.5 * np.eye(3, D)[i % 3]).astype(np.float32)
            added.append(dataclasses.replace(new_sample(i, label), features=features))
        store.add(added, "fp")
        return [one.digest for one in added]

    return fill


@pytest.fixture(name="kept")
def _kept(tmp_path):
    return KeptSums(tmp_path / "sums.npz")


def assert_those_of_the_store(kept, store):
    """Counts, means and Gram matrix, and the marks in the order of the provider."""
    provider = store.snapshot("fp").provider()
    found = kept.follow(provider)
    X, labels = provider.arrays(slice(None))
    anew = ClassStatistics.from_blocks([(signed_root(X), labels)], D)
    assert difference(found.statistics, anew) < 1e-12
    assert found.marks.tolist() == content_marks(X)


def test_they_follow_whatever_happens_to_samples(kept, store, fill):
    """Added, relabelled, removed with and without a word, none left, and added again."""
    digests = fill(0, 40)
    assert_those_of_the_store(kept, store)
    fill(40, 50)
    store.relabel(digests[3], "owl")
    assert_those_of_the_store(kept, store)
    kept.drop([store.get(digest).sequence for digest in digests[:5]])
    store.remove_all(digests[:5])
    assert_those_of_the_store(kept, store)
    store.remove_all(digests[5:10])  # nobody told: the features are gone, so all is read again
    assert_those_of_the_store(kept, store)
    store.remove_label("dog")
    assert_those_of_the_store(kept, store)
    fill(100, 103)
    assert_those_of_the_store(kept, store)


def test_only_what_differs_is_read(kept, store, fill, monkeypatch):
    """Three samples more: three rows are read, and none when nothing has changed."""
    fill(0, 40)
    kept.follow(store.snapshot("fp").provider())
    fill(40, 43)
    read = []
    whole = sums_module.StoreBatchProvider.stored
    monkeypatch.setattr(
        sums_module.StoreBatchProvider,
        "stored",
        lambda self, rows: read.append(len(rows)) or whole(self, rows),
    )

    kept.follow(store.snapshot("fp").provider())
    kept.follow(store.snapshot("fp").provider())

    assert read == [3]


@pytest.mark.parametrize("kind", [AutoHead, LDARidgeHead])
@pytest.mark.parametrize("features", [10**6, 0])
def test_a_head_learns_the_same_from_them(kind, features, kept, store, fill, monkeypatch):
    """Ten added, ten removed and ten relabelled: within 1e-9 of learning all samples anew, in any order."""
    monkeypatch.setattr(lda, "DUAL_ROWS", 0)
    monkeypatch.setattr(lda, "EIGEN_FEATURES", features)
    monkeypatch.setattr(lda, "ESTIMATE_ROWS", 40)
    digests = fill(0, 90)
    kept.follow(store.snapshot("fp").provider())
    fill(90, 100)
    kept.drop([store.get(digest).sequence for digest in digests[:10]])
    store.remove_all(digests[:10])
    for digest in digests[10:20]:
        store.relabel(digest, "owl")
    everything = store.snapshot("fp")

    def learned(provider):
        head = kind(D)
        for _ in head.train(provider, {}):
            pass
        return head

    quick = learned(everything.provider(keeper=kept.follow))
    anew = learned(everything.provider(everything.digests[::-1]))

    X = everything.provider().arrays(slice(None))[0]
    assert np.abs(quick.predict_proba(X) - anew.predict_proba(X)).max() < 1e-9
    assert quick.unknown_threshold == pytest.approx(anew.unknown_threshold, rel=1e-9)


def test_they_are_there_again_after_a_restart(kept, store, fill, tmp_path, monkeypatch):
    """What was saved is taken up, and what happened since is added."""
    fill(0, 40)
    kept.follow(store.snapshot("fp").provider())
    kept.save()
    fill(40, 42)
    again = KeptSums(tmp_path / "sums.npz")
    monkeypatch.setattr(KeptSums, "_make_anew", lambda *_: pytest.fail("all was read again"))

    assert_those_of_the_store(again, store)


@pytest.mark.parametrize(
    "damage",
    [
        "cut",
        "empty",
        "method",
        "encrypted",
        "array",
        "text",
        "label",
        "pipe",
        "other samples",
        "drifted",
        "mean",
        "gram",
    ],
)
def test_a_file_that_does_not_fit_is_passed_over(damage, kept, store, fill, tmp_path, caplog):
    """Cut off, foreign, of other samples or with sums that cannot be: the sums are made anew, and the log says so."""
    fill(0, 40)
    kept.follow(store.snapshot("fp").provider())
    path = tmp_path / "sums.npz"
    if damage == "drifted":
        kept._statistics.gram.blocks[0][0, 0] += 41.0
        kept._saved = False
    kept.save()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage in ("method", "encrypted"):
        data = bytearray(path.read_bytes())
        for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = data.find(signature)
            data[start + flags + (2 if damage == "method" else 0)] |= 99 if damage == "method" else 1
        path.write_bytes(data)
    elif damage == "array":
        np.save(path, np.zeros(3))
        path.with_name(path.name + ".npy").replace(path)
    elif damage == "text":
        path.write_bytes(b"no sums")
    elif damage == "label":
        path.write_bytes(path.read_bytes().replace(b'"cat"', b'"cow"'))
    elif damage == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif damage in ("other samples", "mean", "gram"):
        with np.load(path) as file:
            arrays = dict(file)
        if damage == "other samples":
            arrays["marks"] = arrays["marks"] + np.uint32(1)
        elif damage == "mean":
            arrays["means"][0, 0] = np.nan
        else:
            arrays["gram"][1] += 3.0
        np.savez(path, **arrays)

    assert_those_of_the_store(KeptSums(path), store)
    assert "made anew" in caplog.text


def test_drift_is_found_repaired_and_told(kept, store, fill, caplog, monkeypatch):
    """After so many changes all is summed again: a sum that was wrong is right then, and the log has a line."""
    monkeypatch.setattr(sums_module, "CHECK_EVERY", 10)
    digests = fill(0, 40)
    kept.follow(store.snapshot("fp").provider())
    kept._statistics.gram.blocks[0][2, 1] += 1e-6
    for round_, label in enumerate(("owl", "cat", "dog", "owl")):
        assert round_ > 1 or "drifted" not in caplog.text
        for digest in digests[:15]:
            store.relabel(digest, label)
        kept.follow(store.snapshot("fp").provider())

    assert "had drifted by" in caplog.text
    assert_those_of_the_store(kept, store)


def test_drift_is_found_across_restarts(kept, store, fill, tmp_path, caplog, monkeypatch):
    """Changes are counted from start to start: an agent that is often restarted compares too."""
    monkeypatch.setattr(sums_module, "CHECK_EVERY", 10)
    digests = fill(0, 40)
    kept.follow(store.snapshot("fp").provider())
    kept._statistics.gram.blocks[0][2, 1] += 1e-6
    for label in ("owl", "cat", "dog", "owl"):
        for digest in digests[:15]:
            store.relabel(digest, label)
        kept.follow(store.snapshot("fp").provider())
        kept.save()
        kept = KeptSums(tmp_path / "sums.npz")

    assert "had drifted by" in caplog.text


def test_forgetting_takes_the_file_away(kept, store, fill, tmp_path):
    """Nothing that knows a removed sample stays on disk; saved again it does not know it."""
    digests = fill(0, 10)
    kept.follow(store.snapshot("fp").provider())
    kept.save()
    gone = store.get(digests[0]).sequence

    kept.drop([gone])
    assert not (tmp_path / "sums.npz").exists()
    store.remove(digests[0])
    kept.follow(store.snapshot("fp").provider())
    kept.save()

    with np.load(tmp_path / "sums.npz") as file:
        assert gone not in file["sequences"]
    left = {
        mark
        for row in store.snapshot("fp").provider().arrays(slice(None))[0]
        for mark in content_marks(row[None])
    }
    assert marks_in(tmp_path / "sums.npz") == left


def test_who_stops_it_gets_nothing_half_done(kept, store, fill):
    """What `stop` raises passes through, and the next one reads all again."""
    fill(0, 40)

    def stop():
        raise StoreError("enough")

    with pytest.raises(StoreError, match="enough"):
        kept.follow(store.snapshot("fp").provider(), stop)
    assert_those_of_the_store(kept, store)


def test_features_of_two_extractors_are_never_mixed(kept, store, fill, new_sample):
    """Another extractor's features begin sums of their own."""
    digests = fill(0, 30)
    kept.follow(store.snapshot("fp").provider())
    for i, digest in enumerate(digests):
        store.put_features(digest, "other", np.random.default_rng(i).random(D + 1).astype(np.float32))

    found = kept.follow(store.snapshot("other").provider())

    assert found.statistics.n_features == D + 1
    assert found.statistics.n_samples == 30
