"""What becomes the current version: the order of reasons, each with its basis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_agent.agent.evaluation import Comparison, Evaluation, Suspicion, compare, compared
from edge_agent.agent.verdict import decide

CLASSES = ["cat", "dog"]


def judged(held_out: int, **more: object) -> Evaluation:
    """Both versions right on so many held-out cats."""
    proba = np.tile([[0.9, 0.1]], (held_out, 1))
    evaluation = compare(
        candidate_proba=proba,
        candidate_classes=CLASSES,
        current_proba=proba,
        current_classes=CLASSES,
        y_true=["cat"] * held_out,
    )
    return replace(evaluation, **more)


def left_out(gained: int, lost: int, both: int) -> Comparison:
    """A comparison on samples left out in turn."""
    right = np.array([True] * gained + [False] * lost + [True] * both)
    before = np.array([False] * gained + [True] * lost + [True] * both)
    return compared(right, before)


def accused(count: int = 3, odds: float = 100.0) -> Suspicion:
    """So many pictures of cats are called dogs."""
    return Suspicion(
        count=10,
        label="cat",
        odds=odds,
        samples=tuple({"digest": f"{i:064x}", "name": f"{i}.jpg", "label": "dog"} for i in range(count)),
    )


def test_mislabelled_pictures_are_refused_and_named():
    """Whatever the held-out samples say; the sentence has the thing, the pictures and what to do."""
    decision = decide(judged(50, suspicion=accused(7)))

    assert (decision.answer, decision.basis) == (False, "labels")
    assert decision.reason.startswith(
        "7 new or relabelled pictures look like 'cat' and are called something else"
    )
    assert "0.jpg as 'dog'" in decision.reason
    assert "and 2 more" in decision.reason
    assert "samples relabel" in decision.reason
    assert "update --force" in decision.reason


def test_something_removed_is_no_reason_to_overlook_mislabelled_pictures():
    """What else is new is judged as ever, also where the current version learned from what its owner removed."""
    assert decide(judged(50, suspicion=accused(7), forgotten=True)).basis == "labels"
    assert decide(judged(50, forgotten=True)).basis == "owner"


def test_a_picture_without_a_name_is_named_by_its_digest():
    """Pictures that came from a program have none."""
    one = replace(accused(2), samples=({"digest": "ab" * 32, "name": "", "label": "dog"},) * 2)

    assert "abababababab as 'dog'" in decide(judged(50, suspicion=one)).reason


@pytest.mark.parametrize("suspicion", [accused(1), accused(3, odds=4.9), Suspicion(0, None, 1.0, ())])
def test_one_odd_picture_is_no_reason_and_neither_is_a_little_doubt(suspicion):
    """Such a candidate is judged by its held-out samples."""
    decision = decide(judged(50, suspicion=suspicion))

    assert (decision.answer, decision.basis) == (True, "held-out")


def test_first_versions_and_forgetting_are_the_owners_word():
    """Nothing is held against them."""
    first = compare(candidate_proba=np.zeros((0, 2)), candidate_classes=CLASSES, y_true=[])

    assert decide(first).basis == "first"
    assert decide(judged(50, forgotten=True)).basis == "owner"


def test_where_too_few_are_held_out_pictures_left_out_decide():
    """With fewer than five held-out samples; the sentence says so and how many there are."""
    worse = decide(judged(4, learned=left_out(0, 6, 30)))
    same = decide(judged(4, learned=left_out(1, 1, 30)))

    assert (worse.answer, worse.basis) == (False, "leave-one-out")
    assert "on 36 pictures left out in turn (4 held-out pictures, and 5 are needed)" in worse.reason
    assert (same.answer, same.basis) == (True, "leave-one-out")
    assert decide(judged(5, learned=left_out(0, 6, 30))).basis == "held-out"


def test_where_nothing_can_be_compared_it_says_so():
    """Too few held out, and no way to leave any out."""
    for learned in (None, left_out(0, 0, 4)):
        decision = decide(judged(4, learned=learned))
        assert (decision.answer, decision.basis) == (True, "none")
        assert decision.reason == "taken without a comparison: 4 held-out pictures, and 5 are needed"
