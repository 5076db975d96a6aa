"""Ranks and their test: against the definition, against chance, and against a change that is there."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from edge_agent.ml.drift import Reference, drift


def rows(n, rng, D=48, noise=0.6):
    """Samples around ten directions that are always the same."""
    means = np.random.default_rng(99).normal(size=(10, D))
    return means[rng.integers(10, size=n)] + noise * rng.normal(size=(n, D))


def test_ranks_are_shares_of_smaller_distances():
    """Held against the definition, ties counted half."""
    rng = np.random.default_rng(0)
    known, new = rows(60, rng), rows(5, rng)
    U, V = (A / np.linalg.norm(A, axis=1, keepdims=True) for A in (known, new))
    own = [min(1 - U[i] @ U[j] for j in range(60) if j != i) for i in range(60)]
    far = [min(1 - v @ u for u in U) for v in V]

    reference = Reference(known)

    assert len(reference) == 60
    np.testing.assert_allclose(reference.ranks(new), [np.mean([d < f for d in own]) for f in far], atol=0.01)


def test_nothing_is_told_when_nothing_has_changed():
    """Of four hundred draws about one in a hundred is taken for a change."""
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        reference = Reference(rows(120, rng))
        found.append(drift(reference.ranks(rows(30, rng)).tolist(), len(reference)).changed)

    assert np.mean(found) <= 0.03


@pytest.mark.parametrize(("noise", "sign"), [(1.2, 1), (0.1, -1)])
def test_a_change_is_told_with_its_direction(noise, sign):
    """Pictures that are farther, and pictures that are nearer, than they should be."""
    rng = np.random.default_rng(3)
    reference = Reference(rows(120, rng))

    seen = drift(reference.ranks(rows(30, rng, noise=noise)).tolist(), len(reference))

    assert seen.changed
    assert np.sign(seen.z) == sign
    assert seen.count == 30


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (4, 3), (3, 5)])
def test_its_spread_is_that_of_all_orders(n, m):
    """Every way to mix n new pictures with m known ones, all equally likely: z has mean 0 and variance 1."""
    found = []
    for places in combinations(range(n + m), n):
        known = [at for at in range(n + m) if at not in places]
        found.append(drift([float(np.mean([one < at for one in known])) for at in places], m).z)

    assert np.mean(found) == pytest.approx(0.0, abs=1e-12)
    assert np.mean(np.square(found)) == pytest.approx(1.0)


def test_the_statistic_is_that_of_mann_and_whitney():
    """Against scipy's, without its correction for continuity."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.3, 1, 25), rng.normal(size=60)
    ranks = [(b < one).mean() for one in a]

    z = drift(ranks, 60).z

    p = stats.mannwhitneyu(a, b, use_continuity=False, method="asymptotic").pvalue
    assert p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-6)
