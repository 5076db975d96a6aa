"""A candidate against the current version."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.agent.evaluation import Comparison, Evaluation, Scores, compare, score, sign_test
from edge_agent.agent.verdict import decide


def sure(answers: list[str], classes: list[str]) -> np.ndarray:
    """Probabilities [n, number of classes] that say these labels with 0.9 and share the rest."""
    proba = np.full((len(answers), len(classes)), 0.1 / max(1, len(classes) - 1))
    for row, label in enumerate(answers):
        proba[row, classes.index(label)] = 0.9
    return proba


CLASSES = ["cat", "dog"]


def duel(gained: int, lost: int, both: int = 0, **more: object) -> Evaluation:
    """A comparison on cats that only the candidate, only the current version, or both get right."""
    truth = ["cat"] * (gained + lost + both)
    return compare(
        candidate_proba=sure(["cat"] * gained + ["dog"] * lost + ["cat"] * both, CLASSES),
        candidate_classes=CLASSES,
        current_proba=sure(["dog"] * gained + ["cat"] * lost + ["cat"] * both, CLASSES),
        current_classes=CLASSES,
        y_true=truth,
        **more,
    )


# ---------------------------------------------------------------------- scores


def test_scores_of_one_version():
    """Accuracy, confusion, per class and the mean loss, worked out by hand for four pictures."""
    scores = score(sure(["cat", "cat", "dog", "dog"], CLASSES), CLASSES, ["cat", "dog", "dog", "dog"])

    assert scores.accuracy == 0.75
    assert scores.classification_error == 0.25
    assert scores.count == 4
    assert list(scores.confusion) == [
        {"true": "cat", "predicted": "cat", "count": 1},
        {"true": "dog", "predicted": "cat", "count": 1},
        {"true": "dog", "predicted": "dog", "count": 2},
    ]
    assert scores.per_class["dog"] == {"precision": 1.0, "recall": pytest.approx(2 / 3), "count": 3}
    assert scores.loss == pytest.approx(-(3 * math.log(0.9) + math.log(0.1)) / 4)


def test_label_the_version_does_not_know_counts_as_wrong():
    """It is an error of the version, and it has no probability that a loss could be taken of."""
    scores = score(sure(["cat", "cat"], CLASSES), CLASSES, ["cat", "fox"])

    assert scores.accuracy == 0.5
    assert scores.loss == pytest.approx(-math.log(0.9))
    assert score(sure(["cat"], CLASSES), CLASSES, ["fox"]).loss is None


def test_probability_of_zero_has_a_finite_loss():
    """A head that is sure and wrong gives a large figure, not infinity, which JSON could not hold."""
    loss = score(np.array([[0.0, 1.0]]), CLASSES, ["cat"]).loss

    assert loss == pytest.approx(-math.log(1e-15))


def test_no_held_out_samples_give_no_figures():
    """Unknown is None, not zero."""
    scores = score(np.zeros((0, 2)), CLASSES, [])

    assert scores == Scores(None, None, 0, (), {}, None)


def test_shapes_must_fit():
    """Rows are samples and columns are classes."""
    with pytest.raises(ValueError, match="3 samples and 2 classes"):
        score(np.zeros((2, 2)), CLASSES, ["cat"] * 3)


# ---------------------------------------------------------------------- the sign test


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 0.5),
        (0, 1, 1.0),
        (4, 0, 1 / 16),
        (5, 0, 1 / 32),
        (9, 1, 11 / 1024),
        (5, 5, 638 / 1024),
    ],
)
def test_sign_test_by_hand(lost, gained, p):
    """The chance of at least so many losses in fair tosses, counted by hand."""
    assert sign_test(lost, gained) == pytest.approx(p, abs=1e-15)


@given(st.integers(0, 60), st.integers(0, 60))
def test_sign_test_is_a_sum_of_binomials(lost, gained):
    """The running product gives the same as the definition."""
    tosses = lost + gained

    assert sign_test(lost, gained) == sum(math.comb(tosses, k) for k in range(lost, tosses + 1)) / 2**tosses


def test_sign_test_of_very_many_pairs():
    """Ten thousand pairs are no trouble for the numbers."""
    assert sign_test(5000, 5000) == pytest.approx(0.504, abs=1e-3)
    assert sign_test(5200, 4800) < 1e-4


# ---------------------------------------------------------------------- comparing


def test_pairs_are_counted():
    """Who is right where the other is wrong decides; where both agree nothing is learned."""
    evaluation = duel(gained=3, lost=1, both=6)

    assert evaluation.common == Comparison(
        count=10, candidate_accuracy=0.9, current_accuracy=0.7, gained=3, lost=1, p_value=15 / 16
    )
    assert evaluation.p_value == 15 / 16
    assert (evaluation.candidate.accuracy, evaluation.current.accuracy) == (0.9, 0.7)
    assert (evaluation.new_labels, evaluation.missing_labels, evaluation.n_held_out) == ((), (), 10)


def test_first_version_is_compared_with_nothing():
    """Without a current version every label is new and there is no comparison."""
    evaluation = compare(candidate_proba=sure(["cat"], CLASSES), candidate_classes=CLASSES, y_true=["cat"])

    assert (evaluation.current, evaluation.common, evaluation.p_value) == (None, None, 1.0)
    assert evaluation.new_labels == ("cat", "dog")


def test_new_label_never_counts_against_the_candidate():
    """A candidate that takes half of the cats for the new foxes is as good at cats and dogs as before."""
    wide = ["cat", "dog", "fox"]
    proba = np.array([[0.3, 0.1, 0.6]] * 10 + [[0.6, 0.1, 0.3]] * 10 + [[0.0, 0.1, 0.9]] * 5)
    evaluation = compare(
        candidate_proba=proba,
        candidate_classes=wide,
        current_proba=sure(["cat"] * 25, CLASSES),
        current_classes=CLASSES,
        y_true=["cat"] * 20 + ["fox"] * 5,
    )

    assert evaluation.new_labels == ("fox",)
    assert evaluation.common.count == 20
    assert (evaluation.common.gained, evaluation.common.lost) == (0, 0)
    assert evaluation.candidate.accuracy == pytest.approx(15 / 25)
    decision = decide(evaluation)
    assert decision.answer
    assert "it also knows fox" in decision.reason


def test_columns_may_be_in_any_order():
    """Probabilities are found by label, not by position."""
    evaluation = compare(
        candidate_proba=sure(["cat"] * 6, ["dog", "cat"]),
        candidate_classes=["dog", "cat"],
        current_proba=sure(["cat"] * 6, ["fox", "cat", "dog"]),
        current_classes=["fox", "cat", "dog"],
        y_true=["cat"] * 6,
    )

    assert (evaluation.common.candidate_accuracy, evaluation.common.current_accuracy) == (1.0, 1.0)
    assert evaluation.missing_labels == ("fox",)


def test_no_common_label_compares_nothing():
    """When every held-out sample has a label that only one of them knows, nothing can be said."""
    evaluation = compare(
        candidate_proba=sure(["fox"] * 30, ["fox"]),
        candidate_classes=["fox"],
        current_proba=sure(["cat"] * 30, CLASSES),
        current_classes=CLASSES,
        y_true=["fox"] * 30,
    )

    assert evaluation.common == Comparison(0, None, None, gained=0, lost=0, p_value=1.0)
    assert decide(evaluation).answer


def test_evaluation_is_json():
    """It is written beside the version and sent to plugins."""
    facts = json.loads(json.dumps(duel(3, 1, 6).to_json(), allow_nan=False))

    assert facts["candidate"]["accuracy"] == 0.9
    assert facts["common"]["p_value"] == 15 / 16
    assert facts["candidate"]["confusion"] == [
        {"true": "cat", "predicted": "cat", "count": 9},
        {"true": "cat", "predicted": "dog", "count": 1},
    ]
    first = compare(candidate_proba=np.zeros((0, 2)), candidate_classes=CLASSES, y_true=[])
    assert json.loads(json.dumps(first.to_json(), allow_nan=False))["current"] is None


# ---------------------------------------------------------------------- deciding


def test_first_version_is_accepted():
    """Anything is better than nothing, however bad its figures."""
    bad = compare(candidate_proba=sure(["dog"] * 50, CLASSES), candidate_classes=CLASSES, y_true=["cat"] * 50)

    assert decide(bad).answer
    assert "first version" in decide(bad).reason


def test_better_is_accepted():
    """With the figures of both, for a person to read."""
    decision = decide(duel(gained=5, lost=0, both=15))

    assert decision.answer
    assert decision.reason == "100.0% right where the current version has 75.0%, on 20 held-out samples"


def test_equal_is_accepted():
    """New samples are worth a version although the held-out ones see no difference."""
    assert decide(duel(gained=2, lost=2, both=50)).answer


def test_significantly_worse_is_refused():
    """Five lost and none gained is p = 1/32, whatever else was judged; four lost may be chance."""
    refused = decide(duel(gained=0, lost=5, both=300))

    assert not refused.answer
    assert refused.reason.startswith("significantly worse: 98.4% right where the current version has 100.0%")
    assert decide(duel(gained=0, lost=4, both=300)).answer


def test_large_drop_is_refused_with_enough_judges():
    """Four lost of 40 is not significant but ten points; fewer than 20 judges are not enough for this."""
    refused = decide(duel(gained=0, lost=4, both=36))

    assert not refused.answer
    assert refused.reason.startswith("a drop of more than 5%")
    assert decide(duel(gained=0, lost=4, both=15)).answer
    assert not decide(duel(gained=0, lost=4, both=16)).answer


def test_large_drop_that_may_be_chance_is_let_pass():
    """Two unlucky pictures of twenty are ten points and p = 1/4; a small drop is none at all."""
    assert decide(duel(gained=0, lost=2, both=18)).answer
    assert decide(duel(gained=0, lost=3, both=97)).answer


def test_too_few_judges_are_said_to_be_too_few():
    """The sentence tells a person why nothing was compared."""
    decision = decide(duel(gained=0, lost=4, both=0))

    assert decision.answer
    assert decision.reason == "taken without a comparison: 4 held-out pictures, and 5 are needed"


def test_owners_word_goes_before_the_figures():
    """A version that learned from samples removed since is replaced even by a worse one."""
    decision = decide(duel(gained=0, lost=20, both=20, forgotten=True))

    assert decision.answer
    assert "were removed" in decision.reason


@pytest.mark.parametrize("held_out", [10, 20, 50, 200])
def test_honest_improvement_is_seldom_refused(held_out):
    """D1: Two points better, one answer in ten changed: refused in at most 5 of 100 seeded runs."""
    rng = np.random.default_rng(7)
    runs = rng.multinomial(held_out, [0.06, 0.04, 0.9], 400)

    refused = [not decide(duel(int(gained), int(lost), int(both))).answer for gained, lost, both in runs]

    assert np.mean(refused) <= 0.05


def test_worse_candidate_is_nearly_always_refused():
    """D1: Fifteen points worse on 50 held-out samples: refused in at least 90 of 100 seeded runs."""
    rng = np.random.default_rng(7)
    runs = rng.multinomial(50, [0.02, 0.17, 0.81], 400)

    refused = [not decide(duel(int(gained), int(lost), int(both))).answer for gained, lost, both in runs]

    assert np.mean(refused) >= 0.9
