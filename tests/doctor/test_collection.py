"""Which pictures are looked at: all of them, or of each label those that chance put first; the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.doctor.collection import collect, quotas
from edge_agent.errors import DamagedError
from edge_agent.store.samples import NewSample, SampleStore


def new_sample(digest, label, features):
    """A picture of 4 x 3 pixels."""
    return NewSample(digest, label, f"{label}.jpg", "", 10, 4, 3, features)


@pytest.fixture
def home(tmp_path):
    """A state directory with thirty cats, ten dogs and an owl."""
    with SampleStore(tmp_path / "agent.db") as store:
        rng = np.random.default_rng(0)
        new = [
            new_sample(f"{number:064x}"[::-1], label, rng.random(8).astype(np.float32))
            for number, label in enumerate(["cat"] * 30 + ["dog"] * 10 + ["owl"], 1)
        ]
        store.add(new, "x")
        store.add([new_sample("f" * 64, "owl", np.ones(8, dtype=np.float32))], "another")
    return tmp_path


def test_everything_is_looked_at_when_there_is_room(home):
    """Features and samples belong together; what this extractor has not seen is counted."""
    one = collect(home, "x")

    assert (len(one), one.total, one.unseen, one.classes) == (41, 42, 1, ("cat", "dog", "owl"))
    assert one.counts == {"cat": 30, "dog": 10, "owl": 2}
    assert [one.classes[at] for at in one.y] == [sample.label for sample in one.samples]
    with SampleStore(home / "agent.db", read_only=True) as store:
        X, _ = store.snapshot("x").provider([one.samples[5].digest]).arrays([0])
    np.testing.assert_array_equal(one.X[5], X[0])


def test_with_less_room_small_labels_keep_what_they_have(home):
    """Of each label the lowest digests; more room only adds to them."""
    few, more = collect(home, "x", 12), collect(home, "x", 20)

    assert [sum(sample.label == label for sample in few.samples) for label in few.classes] == [6, 5, 1]
    assert len(more) == 20
    cats = sorted(sample.digest for sample in collect(home, "x").samples if sample.label == "cat")
    assert [sample.digest for sample in few.samples if sample.label == "cat"] == cats[:6]
    assert {sample.digest for sample in few.samples} < {sample.digest for sample in more.samples}
    assert few.counts == more.counts == {"cat": 30, "dog": 10, "owl": 2}


def test_an_unknown_extractor_has_seen_nothing(home):
    """Then there are counts and no pictures."""
    one = collect(home, "nobody")

    assert (len(one), one.total, one.unseen) == (0, 42, 42)


def test_damage_is_an_error_that_names_the_file(home):
    """The whole database is checked."""
    path = home / "agent.db"
    path.write_bytes(path.read_bytes()[:100] + b"x" * 5000)

    with pytest.raises(DamagedError, match=r"agent\.db"):
        collect(home, "x")


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ({"a": 5, "b": 5}, 100, {"a": 5, "b": 5}),
        ({"a": 5, "b": 50, "c": 70}, 45, {"a": 5, "b": 20, "c": 20}),
        ({"a": 9, "b": 9}, 3, {"a": 1, "b": 2}),
        ({}, 3, {}),
    ],
)
def test_quotas_share_the_room(counts, most, expected):
    """Never more than there is, nor more than is wanted together."""
    assert quotas(counts, most) == expected
