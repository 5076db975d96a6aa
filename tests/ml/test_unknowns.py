"""How far is too far: the rate that is asked for, few samples, small classes."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.unknowns import _student, nearest, threshold

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("n", [19, 40, 100, 333])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25])
def test_new_samples_exceed_it_at_the_rate(n, rate):
    """Whatever the distribution: the mean over many draws is the rate, within what chance leaves."""
    rng = np.random.default_rng(n)
    for draw in (lambda size: rng.gamma(2.0, size=size), lambda size: rng.lognormal(size=size)):
        over = [float((draw(400) > threshold(draw(n), rate)).mean()) for _ in range(1000)]
        assert np.mean(over) == pytest.approx(rate, abs=0.005)


@pytest.mark.parametrize("n", [4, 8, 12, 18])
def test_few_samples_do_not_make_everything_unknown(n):
    """One in twenty needs nineteen samples; of fewer normal ones the bound is Student's, not below the greatest."""
    rng = np.random.default_rng(n)
    over = []
    for _ in range(2000):
        left_out = rng.normal(10.0, 1.0, n)
        bound = threshold(left_out, 0.05)
        assert bound >= left_out.max()
        over.append(stats.norm.sf(bound, 10.0, 1.0))

    # The greatest alone would be exceeded at 1/(n + 1).
    assert np.mean(over) < 0.055


def test_students_quantiles_are_scipys():
    """To three digits from three degrees of freedom on, for the rates people use."""
    for freedom in (3, 5, 10, 50):
        for share in (0.9, 0.95, 0.98, 0.99):
            assert _student(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=0.02)


@pytest.mark.parametrize(("left_out", "rate"), [([], 0.05), ([1.0, 2.0], 0.0)])
def test_nothing_is_unknown_without_samples_or_a_rate(left_out, rate):
    """Then there is no threshold."""
    assert threshold(np.array(left_out), rate) is None


def test_samples_that_lie_on_their_means_are_known():
    """The threshold is above 0, so that what looks exactly like them is not unknown, and all else is."""
    assert 0.0 < threshold(np.zeros(30), 0.05) < 1e-300


def test_a_single_sample_is_its_own_bound():
    """There is no spread to look at."""
    assert threshold(np.array([3.0]), 0.05) == 3.0


def test_the_nearest_class_counts_and_nothing_is_below_0():
    """Less what its mean is off, a distance can be negative; it is 0 then."""
    assert nearest(np.array([[3.0, 2.9], [1.0, -0.2]])).tolist() == [2.9, 0.0]
