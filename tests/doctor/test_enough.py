"""The verdict: each answer on a curve that calls for it."""

from __future__ import annotations

import pytest

from edge_agent.doctor.enough import enough
from edge_agent.ml.learning_curve import CurvePoint


def curve(**means):
    """Points by pictures of each label, all draws alike."""
    return [CurvePoint(int(size[1:]), (mean, mean)) for size, mean in means.items()]


@pytest.mark.parametrize(
    ("points", "answer", "words"),
    [
        ([], "unknown", "at least 10 of each label"),
        (curve(n1=0.5), "unknown", "too few"),
        (curve(n5=0.6, n10=0.7), "no", "twice as many pictures would bring about +10.0 points"),
        (curve(n5=0.5, n10=0.9), "no", "about +5.0 points"),
        (
            curve(n10=0.97, n20=0.99),
            "yes",
            "Yes. Having learned 20 different pictures of each label it recognised 99.0 %",
        ),
        (curve(n10=0.80, n20=0.802), "other-pictures", "other light"),
        (curve(n10=0.82, n20=0.80), "other-pictures", "would hardly help"),
    ],
)
def test_each_answer_has_its_reason(points, answer, words):
    """The words say what more pictures would bring."""
    verdict = enough(points)

    assert verdict.answer == answer
    assert words in verdict.reason
    assert verdict.to_json()["answer"] == answer


def test_a_gain_within_its_error_is_no_gain():
    """Draws that contradict each other do not send anybody out to photograph."""
    points = [CurvePoint(10, (0.80, 0.90)), CurvePoint(20, (0.90, 0.83))]

    assert enough(points).answer == "other-pictures"


def test_with_few_pictures_a_gain_within_its_error_says_nothing():
    """Three of each label, and one draw against another: neither enough nor hopeless."""
    verdict = enough([CurvePoint(1, (0.3, 0.7)), CurvePoint(2, (0.8, 0.5))])

    assert verdict.answer == "unknown"
    assert "hardly" not in verdict.reason
    assert "at least 10 of each label" in verdict.reason


def test_wrong_labels_come_first():
    """Whatever the curve says."""
    assert enough(curve(n5=0.6, n10=0.7), doubts=3).reason.endswith("see to the labels that may be wrong.")
