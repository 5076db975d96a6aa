"""The sentence at the top: more pictures or not, and which."""

from __future__ import annotations

import pytest

from edge_agent.ml.learning_curve import CurvePoint
from edge_agent.ml.metrics import MLClassifierMetrics
from edge_agent.report.verdict import conclusion, weak_labels

PLENTY = {"cat": 40, "dog": 40}
PERFECT = MLClassifierMetrics(["cat", "dog"] * 20, ["cat", "dog"] * 20)


def curve(*means: float) -> list[CurvePoint]:
    """Points of 5, 10, 20 ... pictures with almost no spread."""
    return [CurvePoint(5 * 2**at, (mean - 0.001, mean, mean + 0.001)) for at, mean in enumerate(means)]


@pytest.mark.parametrize(
    ("points", "begins"),
    [
        (curve(0.6, 0.7, 0.8), "Photograph more: with 20 pictures of each label 80.0 %"),
        (curve(0.8, 0.95, 0.995), "There are enough pictures"),
        (curve(0.7, 0.80, 0.801), "More of the same pictures would hardly help"),
        (curve(0.8), "There are too few pictures"),
        ([], "There are too few pictures"),
    ],
    ids=["rises", "high", "flat", "one point", "none"],
)
def test_what_the_end_of_the_curve_says(points, begins):
    """Rising: more. High: enough. Flat: other ones. No curve: some at all."""
    assert conclusion(points, PERFECT, PLENTY).startswith(begins)


def test_a_rise_within_chance_is_none():
    """Two draws that contradict each other prove nothing."""
    points = [CurvePoint(10, (0.70, 0.80)), CurvePoint(20, (0.84, 0.71))]

    assert not conclusion(points, PERFECT, PLENTY).startswith("Photograph more")


def test_no_more_is_promised_than_there_is_to_gain():
    """From 97 % a doubling cannot bring ten points."""
    assert "about 1.5 percentage points more" in conclusion(curve(0.77, 0.87, 0.97), PERFECT, PLENTY)


def test_weak_labels_are_named_the_worst_first():
    """Those found clearly less often than all are, and those with few pictures; nobody else."""
    true = ["cat"] * 20 + ["dog"] * 20 + ["emu"] * 20 + ["fox"] * 4
    said = ["cat"] * 20 + ["dog"] * 10 + ["cat"] * 10 + ["emu"] * 14 + ["cat"] * 6 + ["fox"] * 4
    pictures = {"cat": 20, "dog": 20, "emu": 20, "fox": 4, "gnu": 1}

    judged = MLClassifierMetrics(true, said)

    assert weak_labels(judged, pictures) == ("dog", "emu", "gnu", "fox")
    assert "Begin with dog, emu, gnu, fox." in conclusion(curve(0.5, 0.7), judged, pictures)


def test_many_weak_labels_are_counted():
    """Five are named."""
    pictures = {f"label {at}": 2 for at in range(9)}

    said = conclusion([], MLClassifierMetrics([], []), pictures)

    assert "label 4 and 4 others" in said
    assert "label 5" not in said


@pytest.mark.parametrize(
    ("doubts", "said"), [(0, None), (1, "the 1 doubtful label below"), (2, "2 doubtful labels")]
)
def test_doubtful_labels_come_first(doubts, said):
    """They are mentioned where there are some."""
    text = conclusion(curve(0.6, 0.7), PERFECT, PLENTY, doubts=doubts)

    assert (said in text) if said else ("doubtful" not in text)
