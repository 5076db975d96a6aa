"""Sums that can be added to, taken from and merged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.statistics import ClassStatistics

D = 4


def samples(count, seed=0):
    """Random features and labels."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, D)), [str(label) for label in rng.integers(0, 3, count)]


def assert_same(one, other):
    """Both hold the same samples, to rounding."""
    assert one.counts == other.counts
    assert one.classes == other.classes
    assert np.allclose(one.means(), other.means(), atol=1e-10)
    assert np.allclose(one.gram.square(), other.gram.square(), atol=1e-9)


def test_counts_means_and_scatter_are_what_they_say():
    """Against the definitions, class by class."""
    X, labels = samples(20)
    names = np.array(labels)
    statistics = ClassStatistics.from_blocks([(X[:7], labels[:7]), (X[7:], labels[7:])], D)
    Sw = sum(
        (X[names == name] - X[names == name].mean(axis=0)).T
        @ (X[names == name] - X[names == name].mean(axis=0))
        for name in set(labels)
    )

    assert statistics.n_samples == 20
    assert statistics.classes == tuple(sorted(set(labels)))
    assert statistics.counts == {name: labels.count(name) for name in set(labels)}
    assert np.allclose(statistics.means(("1",))[0], X[names == "1"].mean(axis=0))
    assert np.allclose(statistics.within_scatter().square(), Sw)


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 12))
def test_what_was_added_can_be_taken_away(seed, staying, leaving):
    """Adding and removing in any numbers leaves what was never touched."""
    X, labels = samples(staying + leaving, seed)
    statistics = ClassStatistics(D)
    statistics.add(X, labels)
    statistics.remove(X[staying:], labels[staying:])

    assert_same(statistics, ClassStatistics.from_blocks([(X[:staying], labels[:staying])], D))


@given(st.integers(0, 2**32), st.integers(2, 12), st.data())
def test_boards_that_share_know_what_one_would(seed, count, data):
    """Merging any split is the same as one board that saw everything."""
    X, labels = samples(count, seed)
    at = data.draw(st.integers(1, count - 1))
    one = ClassStatistics.from_blocks([(X[:at], labels[:at])], D)
    one.merge(ClassStatistics.from_blocks([(X[at:], labels[at:])], D))

    assert_same(one, ClassStatistics.from_blocks([(X, labels)], D))


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_relabelling_is_taking_away_and_adding(seed, count):
    """Counts and sums move, the Gram matrix keeps its bits."""
    X, labels = samples(count, seed)
    new = [str((int(label) + 1) % 3) for label in labels]
    statistics = ClassStatistics.from_blocks([(X, labels)], D)
    before = statistics.gram.square()
    statistics.relabel(X, labels, new)

    assert_same(statistics, ClassStatistics.from_blocks([(X, new)], D))
    assert np.array_equal(statistics.gram.square(), before)


@given(st.integers(0, 2**32), st.permutations(range(9)))
def test_the_order_of_samples_does_not_matter(seed, order):
    """Any order gives the same sums to rounding."""
    X, labels = samples(9, seed)
    one = ClassStatistics.from_blocks([(X, labels)], D)
    other = ClassStatistics.from_blocks([(X[[at]], [labels[at]]) for at in order], D)

    assert_same(one, other)


def test_nothing_is_left_of_what_was_forgotten():
    """After the last sample the sums are exactly zero, not almost."""
    X, labels = samples(9)
    statistics = ClassStatistics.from_blocks([(X, labels)], D)
    for row, label in zip(X, labels, strict=True):
        statistics.remove(row[None, :], [label])

    assert statistics.counts == {}
    assert statistics.means().shape == (0, D)
    assert not statistics.gram.square().any()


@pytest.mark.parametrize("labels", [["9"], ["0", "0"]])
def test_what_is_not_there_cannot_be_taken_away(labels):
    """An unknown class, or one sample too many; the sums stay as they were."""
    statistics = ClassStatistics.from_blocks([(np.ones((1, D)), ["0"])], D)

    with pytest.raises(MLModelError) as caught:
        statistics.remove(np.ones((len(labels), D)), labels)
    assert caught.value.code is MLModelErrorCode.UPDATE
    assert statistics.counts == {"0": 1}


def test_unlike_statistics_are_not_merged():
    """Features of another length, or sums without the Gram matrix."""
    with pytest.raises(MLModelError):
        ClassStatistics(D).merge(ClassStatistics(D + 1))
    with pytest.raises(MLModelError):
        ClassStatistics(D).merge(ClassStatistics(D, gram=False))


def test_features_must_go_with_labels():
    """A wrong number or a wrong length is refused."""
    for X in (np.ones((2, D)), np.ones((1, D + 1))):
        with pytest.raises(MLModelError):
            ClassStatistics(D).add(X, ["a"])


def test_without_the_gram_matrix_there_is_no_scatter():
    """Counts and means only, and a clear refusal of the rest."""
    statistics = ClassStatistics.from_blocks([samples(5)], D, gram=False)

    assert statistics.gram is None
    assert statistics.means().shape[1] == D
    with pytest.raises(ValueError, match="Gram"):
        statistics.within_scatter()


def test_what_was_written_down_is_the_same_again():
    """Counts, means and half of the Gram matrix are all there is; shapes that do not fit are refused."""
    X, labels = samples(20)
    statistics = ClassStatistics.from_blocks([(X, labels)], D)
    lower = statistics.gram.packed()

    again = ClassStatistics.restore(statistics.counts, statistics.means(), lower)

    assert_same(again, statistics)
    assert np.array_equal(again.gram.square(), statistics.gram.square())
    with pytest.raises(ValueError, match="do not fit"):
        ClassStatistics.restore(statistics.counts, statistics.means(), lower[1:])
