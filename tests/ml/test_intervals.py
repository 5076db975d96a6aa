"""Shares as intervals, and probabilities held against what happened."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.intervals import calibration_error, wilson


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(5, 10, 0.2366, 0.7634), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_intervals_of_published_examples(right, count, low, high):
    """The figures of Newcombe's paper on intervals for proportions (1998), and their mirror images."""
    assert wilson(right, count) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("right", "count"), [(1, 0), (3, 2), (-1, 2)])
def test_no_share_has_no_interval(right, count):
    """Without samples there is nothing to say."""
    with pytest.raises(ValueError, match="no share"):
        wilson(right, count)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_intervals_hold_the_truth_as_often_as_they_say(share):
    """Of 2,000 draws of 40 samples about 95 % have the true share within."""
    draws = np.random.default_rng(3).binomial(40, share, 2000)
    held = [low <= share <= high for low, high in (wilson(int(right), 40) for right in draws)]

    assert 0.92 < np.mean(held) < 0.98


def test_calibration_error_by_hand():
    """Nine of ten sure at 0.75 of which six are right, one sure at 1 and wrong."""
    P = np.array([[0.75, 0.25]] * 9 + [[0.0, 1.0]])
    right = np.array([True] * 6 + [False] * 4)

    assert calibration_error(P, right) == pytest.approx((9 * abs(0.75 - 6 / 9) + 1.0) / 10)
