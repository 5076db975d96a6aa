"""Figures become the advice of Apple's table, and only where they give reason for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.ml.diagnosis import AdviceKind, data_advice, diagnose, side_by_side
from edge_agent.ml.metrics import MLClassifierMetrics

Kind = AdviceKind


def metrics(accuracy: float, count: int = 400, labels: int = 2) -> MLClassifierMetrics:
    """Metrics with this accuracy; mistakes are shared out evenly among the labels."""
    y_true = [f"label {number % labels}" for number in range(count)]
    wrong = round(count * (1 - accuracy))
    y_pred = ["label 0" if label != "label 0" else "label 1" for label in y_true[:wrong]] + y_true[wrong:]
    return MLClassifierMetrics(y_true, y_pred)


INVALID = MLClassifierMetrics.invalid("not there")


def kinds(advice) -> list[Kind]:
    """What it is about; each piece is one printable line that ends without a period."""
    for one in advice:
        assert str(one) == one.text
        assert one.text.isprintable()
        assert not one.text.endswith(".")
    return [one.kind for one in advice]


def test_checklist_109_few_pictures_are_named():
    """Below ten of a label: which, and how many they have; ten are enough."""
    [advice] = data_advice({"cat": 9, "dog": 10, "emu": 3})

    assert advice.kind is Kind.FEW_PICTURES
    assert advice.labels == ("cat", "emu")
    assert "cat has 9, emu has 3" in advice.text
    assert data_advice({"cat": 10, "dog": 10}) == []


def test_checklist_109_an_imbalance_is_named():
    """A fifth of the largest label, or less, and what to do about it."""
    [advice] = data_advice({"cat": 12, "dog": 60, "emu": 13})

    assert advice.kind is Kind.UNBALANCED
    assert advice.labels == ("cat",)
    assert "dog has 60 pictures, cat has 12" in advice.text
    assert data_advice({"cat": 13, "dog": 60}) == []


def test_checklist_109_apples_example_of_an_imbalance():
    """Ten pictures of one label and a thousand of another."""
    assert kinds(data_advice({"cat": 10, "dog": 1000})) == [Kind.UNBALANCED]


def test_checklist_109_small_pictures_are_counted_and_the_smallest_named():
    """Smaller than what the extractor looks at, in width or in height; unreadable ones have no size."""
    sizes = [
        (Path("large.jpg"), 4000, 3000),
        (Path("exact.jpg"), 224, 224),
        (Path("flat.jpg"), 1000, 100),
        (Path("narrow.jpg"), 223, 300),
        (Path("tiny\n.jpg"), 32, 32),
        (Path("broken.jpg"), 0, 0),
    ]
    [advice] = data_advice({"cat": 10, "dog": 10}, iter(sizes), extractor_size=(224, 224))

    assert kinds([advice]) == [Kind.SMALL_PICTURES]
    assert "3 of 5 pictures are smaller than the 224 x 224 pixels" in advice.text
    assert "tiny\\n.jpg (32 x 32)" in advice.text
    assert data_advice({"cat": 10, "dog": 10}, sizes[:2], extractor_size=(224, 224)) == []
    assert data_advice({"cat": 10, "dog": 10}, sizes) == []


def test_checklist_109_one_label_and_none():
    """One label alone cannot be told from anything; without labels there is nothing to say."""
    assert kinds(data_advice({"cat": 20})) == [Kind.ONE_LABEL]
    assert data_advice({}) == []


def test_many_labels_are_not_all_written_out():
    """The text names a few; all of them are with it."""
    [advice] = data_advice({f"label {number:02}": 9 for number in range(30)})

    assert len(advice.labels) == 30
    assert advice.text.count("has 9") == 5
    assert "and 25 more labels" in advice.text


@pytest.mark.parametrize(
    ("counts", "has_test", "said"),
    [
        ({"cat": 25, "dog": 25}, False, True),
        ({"cat": 24, "dog": 100}, False, False),
        ({"cat": 25, "dog": 25}, True, False),
        ({}, False, False),
    ],
)
def test_checklist_153_a_fifth_is_recommended_for_a_test_from_25_pictures_on(counts, has_test, said):
    """When every label has as many, and nothing is kept for a test yet."""
    advice = data_advice(counts, has_test=has_test)

    assert kinds(advice) == ([Kind.TEST_SPLIT] if said else [])
    assert all("20 %" in one.text and "5 of cat" in one.text for one in advice)


def test_checklist_152_good_figures_need_no_advice():
    """High in all three, with small differences."""
    assert diagnose(metrics(0.98), metrics(0.97), metrics(0.96)) == []
    assert diagnose(metrics(1.0)) == []


def test_checklist_152_low_training_accuracy_is_underfitting():
    """Twice the iterations are advised, by number; another classifier where training has converged."""
    [plain] = diagnose(metrics(0.7), n_samples=400)
    [numbered] = diagnose(metrics(0.7), max_iterations=25)
    [converged] = diagnose(metrics(0.7), max_iterations=25, converged=True)

    assert kinds([plain, numbered, converged]) == [Kind.UNDERFITTING] * 3
    assert "70.0 %" in plain.text
    assert "twice as many" in plain.text
    assert "max_iterations=50" in numbered.text
    assert "max_iterations" not in converged.text
    assert "another classifier" in converged.text


def test_checklist_152_low_validation_with_few_pictures_is_too_little_data():
    """More pictures and augmentation are advised, whether training was perfect or not."""
    [advice] = diagnose(metrics(1.0, 60), metrics(0.6, 40), max_iterations=25)

    assert kinds([advice]) == [Kind.TOO_LITTLE_DATA]
    assert "60.0 %" in advice.text
    assert "augmentation" in advice.text
    assert kinds(diagnose(metrics(0.91), metrics(0.88))) == [Kind.TOO_LITTLE_DATA]


def test_checklist_152_validation_that_differs_from_run_to_run_is_too_little_data():
    """More than a tenth between runs, even when the last one is good."""
    good = metrics(0.95, 60), metrics(0.95, 40)

    assert diagnose(*good, earlier_validation=[0.9, 0.93]) == []
    [advice] = diagnose(*good, earlier_validation=[0.8, 0.93])
    assert kinds([advice]) == [Kind.TOO_LITTLE_DATA]
    assert "80.0 % to 95.0 %" in advice.text


def test_checklist_152_validation_behind_training_with_many_pictures_is_overfitting():
    """Fewer iterations are advised; how many is many is counted by label."""
    figures = metrics(1.0, 1000), metrics(0.85, 200)

    [advice] = diagnose(*figures, max_iterations=24)
    assert kinds([advice]) == [Kind.OVERFITTING]
    assert "max_iterations=12" in advice.text
    assert "85.0 %" in advice.text
    assert kinds(diagnose(*figures)) == [Kind.OVERFITTING]
    assert kinds(diagnose(*figures, n_samples=200)) == [Kind.OVERFITTING]
    assert kinds(diagnose(*figures, n_samples=199)) == [Kind.TOO_LITTLE_DATA]
    assert kinds(diagnose(metrics(1.0, 1000, 50), metrics(0.85, 200, 50))) == [Kind.TOO_LITTLE_DATA]


def test_checklist_152_a_test_below_both_others_is_another_kind_of_data():
    """More diverse pictures are advised; a test as low as validation is not this."""
    [advice] = diagnose(metrics(0.99), metrics(0.97), metrics(0.7))

    assert kinds([advice]) == [Kind.DATA_MISMATCH]
    assert "diverse" in advice.text
    assert kinds(diagnose(metrics(0.99), testing=metrics(0.7))) == [Kind.DATA_MISMATCH]
    assert Kind.DATA_MISMATCH not in kinds(diagnose(metrics(0.99), metrics(0.7), metrics(0.69)))


def test_checklist_152_a_difference_that_chance_explains_is_none():
    """One mistake among eight pictures is no overfitting and no other kind of data; among eighty it is."""
    assert diagnose(metrics(1.0, 1000), metrics(1.0, 8), metrics(7 / 8, 8)) == []
    assert kinds(diagnose(metrics(1.0, 1000), metrics(1.0, 80), metrics(7 / 8, 80))) == [Kind.DATA_MISMATCH]


def test_checklist_152_metrics_without_figures_say_nothing():
    """No validation, no test, or nothing at all."""
    assert diagnose(INVALID, metrics(0.1), metrics(0.1)) == []
    assert diagnose(metrics(1.0), INVALID, INVALID) == []
    assert kinds(diagnose(metrics(1.0), INVALID, metrics(0.5))) == [Kind.DATA_MISMATCH]


def test_checklist_152_the_labels_that_do_worst_are_named():
    """At most five, those recognised worst first, so that one knows what to photograph."""
    y_true = ["cat"] * 10 + ["dog"] * 10 + ["emu"] * 10
    y_pred = ["cat"] * 10 + ["cat"] * 8 + ["dog"] * 2 + ["cat"] * 9 + ["emu"]
    [advice] = diagnose(MLClassifierMetrics(y_true, y_pred))

    assert advice.labels == ("emu", "dog")
    assert advice.text.endswith("begin with emu, dog")


def test_checklist_152_the_three_stand_side_by_side():
    """No single figure says everything: a line for each, also for the one that is not there."""
    assert side_by_side(metrics(1.0), metrics(0.9, 40)).splitlines() == [
        "training    100.0 % of 400 samples right",
        "validation  90.0 % of 40 samples right",
        "testing     not measured",
    ]
