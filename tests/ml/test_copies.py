"""Pictures that show the same: against pairs looked at one by one, and what a cap leaves."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml import copies
from edge_agent.ml.copies import capped, close_pairs, copy_groups, same_cosine, unit_rows


def bursts(sizes, D=24, spread=0.02, seed=0):
    """Rows near one direction each: as many directions as sizes."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.normal(size=D) + spread * rng.normal(size=(size, D)) for size in sizes]
    ).astype(np.float32)


def by_hand(X, cosine):
    """The first row that each resembles, pair by pair."""
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    first = [-1] * len(U)
    for i in range(len(U)):
        if first[i] < 0:
            for j in range(i, len(U)):
                if first[j] < 0 and (i == j or U[i] @ U[j] >= cosine):
                    first[j] = i
    return first


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_those_of_looking_at_each_pair(seed, monkeypatch):
    """Whatever the blocks, each row joins the first one that it resembles."""
    X = bursts([5, 1, 9, 1, 30, 2], spread=0.25, seed=seed)[np.random.default_rng(seed).permutation(48)]
    expected = by_hand(X, 0.95)
    assert 6 < len(set(expected)) < 48  # some resemble, some do not

    assert copy_groups(X).tolist() == expected
    monkeypatch.setattr(copies, "_BLOCK", 7)
    assert copy_groups(X).tolist() == expected


def test_a_slow_pan_is_no_single_picture():
    """Neighbours resemble each other, the ends do not: several groups."""
    angles = np.linspace(0, np.pi / 2, 40)
    X = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    groups = copy_groups(X)

    assert 1 < len(set(groups.tolist())) < 10
    assert (unit_rows(X) * unit_rows(X[groups])).sum(axis=1).min() >= 0.95


def test_hashes_join_what_features_leave_apart():
    """Five bits of 64 are the same picture, six are not; and never when the features have nothing in common."""
    X = np.array([[1.0, 0.0], [0.8, 0.6], [0.8, 0.6], [0.1, 1.0]])[[0, 1, 3]]

    assert copy_groups(X).tolist() == [0, 1, 2]
    assert copy_groups(X, {0: 0b11111, 1: 0, 2: 0}).tolist() == [0, 0, 2]
    assert copy_groups(X, {0: 0b111111, 1: 0}).tolist() == [0, 1, 2]
    assert copy_groups(X, {0: 2**64 - 1, 1: 2**64 - 32}).tolist() == [0, 0, 2]
    assert copy_groups(X, {1: 0}).tolist() == [0, 1, 2]


def test_a_cap_keeps_the_first_of_each_group(monkeypatch):
    """Of a burst so many are left, in order; what is alone stays, and so does everything below the cap."""
    X = bursts([6, 1, 2])

    assert capped(X, 1).tolist() == [0, 6, 7]
    assert capped(X, 3).tolist() == [0, 1, 2, 6, 7, 8]
    assert capped(X, 6).tolist() == list(range(9))
    assert capped(X[:0], 3).tolist() == []
    monkeypatch.setattr(copies, "PIECE", 4)
    assert capped(X, 1).tolist() == [0, 4, 6, 7, 8]  # each piece by itself


def test_pairs_that_are_not_sure_come_likeliest_first():
    """Within a group nothing is unsure; of the others those above the limit, at most so many."""
    X = np.array([[1, 0, 0], [1, 0.01, 0], [0.9, 0.43, 0], [0.7, 0, 0.7], [0, 0, 1.0]])
    groups = copy_groups(X)
    assert groups.tolist() == [0, 0, 2, 3, 4]

    assert sorted(close_pairs(X, groups, 0.8, 9).tolist()) == [0, 1, 2]
    assert len(close_pairs(X, groups, 0.6, 9)) == 5
    assert close_pairs(X, groups, 0.8, 1).tolist() in ([1], [2])
    assert close_pairs(X, groups, 0.95, 9).tolist() == []


def test_rows_of_zeros_resemble_nothing():
    """Nothing is divided by zero."""
    X = np.zeros((3, 4))
    assert copy_groups(X).tolist() == [0, 1, 2]
    assert np.isfinite(unit_rows(X)).all()


def test_where_everything_is_alike_copies_are_more_alike(monkeypatch):
    """What pictures of different labels usually reach is no sign of a copy; a picture of a burst that lies under
    another label changes nothing.
    """
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    apart = bursts([40, 40])
    assert same_cosine(apart, y) == 0.95
    apart[3] = apart[50]
    assert same_cosine(apart, y) == 0.95
    X = rng.normal(size=24) + 0.1 * rng.normal(size=(80, 24))
    U = unit_rows(X)
    pairs = [U[i] @ U[j] for i in range(80) for j in range(80) if y[j] != y[i]]
    assert same_cosine(X, y) == pytest.approx(np.quantile(pairs, 0.95))
    assert same_cosine(X, y) > 0.98
    monkeypatch.setattr(copies, "COMPARED", 27)
    assert same_cosine(X, y) == same_cosine(X[::3], y[::3])
    assert same_cosine(X, np.zeros(80, dtype=int)) == 0.95
    assert same_cosine(X[:0], y[:0]) == 0.95
