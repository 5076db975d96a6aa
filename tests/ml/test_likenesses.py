"""Near-duplicates that are kept from update to update, against looking at every pair anew."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml import likenesses as module
from edge_agent.ml.likenesses import Likenesses

THRESHOLD = 0.7


class Samples:
    """Samples of one label that come and go, in an order that chance decides, and how many were read."""

    def __init__(self, seed: int, things: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.things = self.rng.normal(size=(things, 24)) + 0.2
        self.rows: dict[int, np.ndarray] = {}
        self.rank: dict[int, float] = {}
        self.next = 1
        self.read = 0

    def add(self, count: int) -> None:
        for _ in range(count):
            thing = self.things[self.rng.integers(len(self.things))]
            row = thing + self.rng.normal(scale=self.rng.choice([0.1, 0.5, 0.8]), size=24)
            self.rows[self.next] = row.astype(np.float32) * (self.rng.random() > 0.02)
            self.rank[self.next] = self.rng.random()
            self.next += 1

    def remove(self, count: int) -> None:
        for name in self.rng.permutation(list(self.rows))[:count].tolist():
            del self.rows[name], self.rank[name]

    def names(self) -> np.ndarray:
        return np.array(sorted(self.rows, key=self.rank.__getitem__), dtype=np.int64)

    def near(self, kept: Likenesses, asked: int, most: float, work: float):
        names = self.names()

        def read(places):
            self.read += len(places)
            return np.stack([self.rows[name] for name in names[places].tolist()])

        return kept.near("a", names, read, asked, most, work)

    def brute(self, asked: int, most: float, work: float):
        X = np.stack([self.rows[name] for name in self.names().tolist()]).astype(np.float64)
        U = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-30)
        strict = (U[:asked] @ U.T) >= THRESHOLD
        strict[np.arange(asked), np.arange(asked)] = True
        union = np.maximum.accumulate(strict, axis=0).sum(axis=1)
        cubes = np.cumsum(strict.sum(axis=1, dtype=np.float64) ** 3)
        grouped = int(((union <= most) & (cubes <= work)).sum())
        return [[j for j in np.flatnonzero(strict[i]) if j != i] for i in range(grouped)]


@pytest.mark.parametrize("things", [1, 4, 30])
@pytest.mark.parametrize("seed", range(4))
def test_any_history_leads_to_what_looking_anew_finds(monkeypatch, seed, things):
    """Whatever came, went and was asked before, near-duplicates are those that all pairs have, and so are cosines."""
    monkeypatch.setattr(module, "BLOCK_ROWS", 16)
    samples, kept = Samples(seed, things), Likenesses(THRESHOLD)
    samples.add(60)
    for _ in range(60):
        if samples.rng.random() < 0.7:
            samples.add(int(samples.rng.integers(0, 12)))
        if samples.rng.random() < 0.6:
            samples.remove(int(samples.rng.integers(0, min(12, len(samples.rows) - 3))))
        asked = int(samples.rng.integers(1, min(20, len(samples.rows))))
        most, work = float(samples.rng.choice([3, 10, 40, 1000])), float(samples.rng.choice([1e2, 1e4, 1e9]))
        found = samples.near(kept, asked, most, work)
        assert [places.tolist() for places, _ in found] == samples.brute(asked, most, work)
        anew = samples.near(Likenesses(THRESHOLD), asked, most, work)
        for (_, one), (_, other) in zip(found, anew, strict=True):
            assert np.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("things", [1, 100])
def test_only_what_is_new_is_read(things):
    """Ten samples more, none of them looked at, have ten samples read and those looked at, not all."""
    samples, kept = Samples(3, things), Likenesses(THRESHOLD)
    samples.add(3000)
    samples.near(kept, 20, 100.0, 1e6)
    samples.rank = {name: rank + (name > 3000) for name, rank in samples.rank.items()}
    samples.add(10)
    samples.rank |= {name: 2.0 + name for name in samples.rows if name > 3000}
    samples.read = 0
    found = samples.near(kept, 20, 100.0, 1e6)
    assert samples.read <= 10 + 20
    assert [places.tolist() for places, _ in found] == samples.brute(20, 100.0, 1e6)


def test_what_is_gone_is_named_no_more():
    """Neither a sample that was forgotten nor a label that is no more is kept in any list."""
    samples, kept = Samples(5, 2), Likenesses(THRESHOLD)
    samples.add(100)
    samples.near(kept, 20, 1000.0, 1e9)
    before = set(samples.rows)
    samples.remove(30)
    samples.near(kept, 20, 1000.0, 1e9)
    gone = before - set(samples.rows)
    (label,) = kept._labels.values()
    named = set(label.known.tolist()) | set(label.lists)
    named |= {name for one in label.lists.values() for name in one.names.tolist()}
    assert gone
    assert not gone & named
    kept.keep_labels(["b"])
    assert not kept._labels
