"""A cap on pictures that show the same: what is learned from, whatever the order, and what it says of itself."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.agent import bursts
from edge_agent.agent.bursts import divided, without_copies
from edge_agent.agent.learned import from_bytes
from edge_agent.agent.split import split
from edge_agent.config import Config, LearningConfig
from edge_agent.store.samples import NewSample, SampleStore
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


def pictures(sizes, seed=0):
    """So many copies of each of several pictures of two labels."""
    rng = np.random.default_rng(seed)
    new = []
    for number, size in enumerate(sizes):
        look = rng.normal(size=24)
        for copy in range(size):
            name = f"{number}-{copy}"
            digest = hashlib.sha256(name.encode()).hexdigest()
            row = (look + 0.02 * rng.normal(size=24)).astype(np.float32)
            new.append(NewSample(digest, "ab"[number % 2], name, "", 1, 4, 3, row))
    return new


@pytest.fixture
def snapshot(tmp_path):
    """The samples of some pictures, added in an order of one's own."""
    stores = []

    def snapshot(new):
        stores.append(SampleStore(tmp_path / f"{len(stores)}.db"))
        stores[-1].add(new, "x")
        return stores[-1].snapshot("x")

    yield snapshot
    for store in stores:
        store.close()


def test_of_each_burst_so_many_are_left(snapshot):
    """The lowest digests of each; pictures without copies all stay, and the order too."""
    new = pictures([7, 1, 3, 1, 1])
    samples = snapshot(new)
    names = {one.digest: one.source_name for one in new}

    kept = without_copies(samples, samples.chosen, 2)

    by_burst = {}
    for digest in sorted(names):
        by_burst.setdefault(names[digest][0], []).append(digest)
    expected = {digest for rows in by_burst.values() for digest in rows[:2]}
    assert set(kept) == expected
    assert list(kept) == [digest for digest in samples.digests if digest in expected]


def test_the_order_of_arrival_does_not_matter(snapshot):
    """Neither does how the digests are given; with pieces it is still the same each time."""
    new = pictures([20, 5, 9, 1, 2])
    one, other = snapshot(new), snapshot(new[::-1])

    kept = without_copies(one, one.chosen, 3)

    assert kept == without_copies(other, other.chosen, 3)
    assert set(without_copies(one, one.chosen[::-1], 3)) == set(kept)


def test_a_large_label_is_looked_at_in_pieces(snapshot, monkeypatch):
    """Then each piece keeps its own, so that the work stays bounded."""
    samples = snapshot(pictures([12]))
    monkeypatch.setattr(bursts, "PIECE", 5)

    assert len(without_copies(samples, samples.chosen, 1)) == 3


def test_without_a_cap_nothing_is_left_out(snapshot):
    """The default; held-out pictures are never touched."""
    samples = snapshot(pictures([30, 30]))
    plain = split(samples, 0.2)

    assert divided(samples, LearningConfig(held_out_fraction=0.2)) == plain
    capped = divided(samples, LearningConfig(held_out_fraction=0.2, most_near_duplicates=4))
    assert (len(capped.training), capped.held_out) == (8, plain.held_out)
    assert set(capped.training) <= set(plain.training)


def test_the_agent_learns_from_so_many(bench: Bench) -> None:
    """Text pictures that begin alike are alike: of forty cats five are learned from, and the version says so."""
    bench.open(Config(learning=LearningConfig(held_out_fraction=0.0, most_near_duplicates=5)))
    drop_texts(bench.drop, "cat", [f"cat {i}" for i in range(40)])
    drop_texts(bench.drop, "dog", [f"dog {i}" for i in range(3)])
    bench.settle()

    versions = sorted((bench.home / "models" / "versions").iterdir())
    learned = from_bytes((versions[-1] / "samples.bin").read_bytes()).labels()
    assert sorted(learned.values()) == ["cat"] * 5 + ["dog"] * 3
    assert bench.ask("status")["samples"] == 43
