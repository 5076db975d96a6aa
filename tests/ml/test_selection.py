"""Which pictures to label first: against a search by hand, and a pool where the best choice is known."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml import selection
from edge_agent.ml.selection import WIDTH, ReviewPool, doubtful, herded, suggestions
from edge_agent.ml.transforms import signed_root


def clouds(sizes, D=32, noise=0.3, seed=0):
    """Rows around one direction for each size."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [np.abs(rng.normal(size=D)) + noise * np.abs(rng.normal(size=(size, D))) for size in sizes]
    ).astype(np.float32)


def by_hand(X, labelled, wanted):
    """The definition, one candidate after the other."""
    Z, L = signed_root(X), signed_root(labelled)

    def covered(chosen):
        near = np.concatenate([L, Z[chosen]])
        return sum(max((np.exp((z @ one - 1) / WIDTH) for one in near), default=0.0) for z in Z)

    chosen = []
    for _ in range(wanted):
        values = [-1.0 if row in chosen else covered([*chosen, row]) for row in range(len(X))]
        chosen.append(int(np.argmax(values)))
    return chosen


@pytest.mark.parametrize("m", [0, 3])
@pytest.mark.parametrize("seed", range(3))
def test_herding_is_the_greedy_search(m, seed, monkeypatch):
    """Candidate after candidate, with and without labelled pictures, whatever the blocks."""
    X = clouds([10, 6, 3, 1], seed=seed)
    labelled = clouds([m], seed=seed) if m else np.zeros((0, 32), dtype=np.float32)
    expected = by_hand(X, labelled, 6)

    assert [row for row, _ in herded(X, labelled, 6)] == expected
    monkeypatch.setattr(selection, "_BLOCK", 3)
    assert [row for row, _ in herded(X, labelled, 6)] == expected


def test_every_cloud_is_visited_before_one_is_visited_twice():
    """The largest first; what has a labelled picture comes last."""
    X = clouds([20, 10, 5], noise=0.05)
    of = np.repeat([0, 1, 2], [20, 10, 5])

    assert [int(of[row]) for row, _ in herded(X, X[:0], 3)] == [0, 1, 2]
    assert [int(of[row]) for row, _ in herded(X, X[:1], 2)] == [1, 2]
    first = herded(X, X[:0], 1)[0]
    assert 19 <= first[1] < 35  # it stands for its own cloud at least


def test_a_large_pool_is_thinned_evenly(monkeypatch):
    """So that neither time nor memory grow with its square; every row is one of the pool's."""
    monkeypatch.setattr(selection, "MOST_COMPARED", 10)
    X = clouds([40, 5])

    rows = [row for row, _ in herded(X, X[:0], 99)]

    assert sorted(rows) == list(range(0, 45, 5))


def test_doubt_is_a_small_margin():
    """Not a small probability: a third likely label does not count; equals keep their order."""
    P = np.array(
        [[0.5, 0.3, 0.2], [0.4, 0.38, 0.22], [0.34, 0.33, 0.33], [0.9, 0.05, 0.05], [0.4, 0.38, 0.22]]
    )

    assert doubtful(P, 3) == [2, 1, 4]
    assert doubtful(P, 99) == [2, 1, 4, 0, 3]


def pool(counts, wanted=2):
    """Four candidates."""
    return ReviewPool(
        candidates=("a", "b", "c", "d"),
        features=clouds([3, 1], noise=0.05),
        labels=("cat", "dog", "owl"),
        probabilities=np.array([[0.8, 0.1, 0.1], [0.4, 0.2, 0.4], [0.9, 0.1, 0], [0.6, 0.4, 0]]),
        labelled=np.zeros((0, 32), dtype=np.float32),
        counts=counts,
        wanted=wanted,
    )


def test_variety_first_then_doubt():
    """With five pictures of each label the doubtful ones come first; one label that has four is enough to wait."""
    found = suggestions(pool({"cat": 5, "dog": 5, "owl": 5}))
    assert [one.candidate for one in found] == ["b", "d"]
    assert found[0].reason == "cat (40 %) or owl (40 %)?"

    found = suggestions(pool({"cat": 5, "dog": 5, "owl": 4}))
    assert {found[0].candidate, found[1].candidate} & {"a", "b", "c"}
    assert found[1].candidate == "d"
    assert found[0].reason.startswith("stands for 2 other pictures") or found[0].reason.startswith(
        "stands for 3"
    )
    assert len(suggestions(pool({}, wanted=9))) == 4


def test_before_there_is_a_version_variety_counts():
    """There are no labels and no probabilities."""
    empty = ReviewPool(("a",), clouds([1]), (), np.zeros((1, 0)), clouds([0]), {}, 3)

    [one] = suggestions(empty)
    assert one.candidate == "a"
    assert one.reason == "unlike everything that has a label"
