"""Predicted labels against true ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
    zero_one_loss,
)

from edge_agent.ml.metrics import MLClassifierMetrics, percent


def test_the_figures_are_scikit_learns():
    """Accuracy, confusion, precision and recall, with a label never predicted and one never true."""
    rng = np.random.default_rng(0)
    y_true = [*rng.choice(["a", "b", "c"], 40), "never predicted"]
    y_pred = [*rng.choice(["a", "b", "never true"], 40), "a"]
    labels = sorted({*y_true, *y_pred})
    metrics = MLClassifierMetrics(y_true, y_pred)
    matrix = confusion_matrix(y_true, y_pred, labels=labels)
    precision, recall, _, support = precision_recall_fscore_support(
        y_true, y_pred, labels=labels, zero_division=0
    )

    assert metrics.is_valid
    assert metrics.count == 41
    assert metrics.accuracy == pytest.approx(accuracy_score(y_true, y_pred))
    assert metrics.classification_error == pytest.approx(1 - accuracy_score(y_true, y_pred))
    assert {(row["true"], row["predicted"]): row["count"] for row in metrics.confusion} == {
        (labels[i], labels[j]): matrix[i, j] for i, j in zip(*np.nonzero(matrix), strict=True)
    }
    assert list(metrics.per_class) == labels
    for index, label in enumerate(labels):
        assert metrics.per_class[label] == {
            "precision": pytest.approx(precision[index]),
            "recall": pytest.approx(recall[index]),
            "count": support[index],
        }


@pytest.mark.parametrize(("y_true", "y_pred"), [([], []), (["a"], []), (["a"], ["a", "b"])])
def test_without_figures_it_says_why(y_true, y_pred):
    """No samples, or lists that do not go together, are no perfect score and no error rate."""
    metrics = MLClassifierMetrics(y_true, y_pred)

    assert not metrics.is_valid
    assert metrics.error
    assert (metrics.count, metrics.accuracy, metrics.classification_error) == (0, 0.0, 0.0)
    assert metrics.confusion == []
    assert metrics.per_class == {}


def test_both_ways_of_making_it_agree():
    """The named constructor is the plain one."""
    assert vars(MLClassifierMetrics.from_labels(["a"], ["b"])) == vars(MLClassifierMetrics(["a"], ["b"]))


LABELS = ["cat", "dog", "emu", "never true"]


@pytest.fixture(name="judged", scope="module")
def _judged():
    """True labels and probabilities for four classes, one of which never is true."""
    rng = np.random.default_rng(7)
    y_true = list(rng.choice(LABELS[:3], 200, p=[0.6, 0.3, 0.1]))
    P = rng.dirichlet(np.ones(4), 200)
    P[np.arange(200), [LABELS.index(label) for label in y_true]] += 0.5
    return y_true, P / P.sum(axis=1, keepdims=True)


def test_checklist_142_the_tables_are_scikit_learns(judged):
    """Confusion matrix, precision and recall, and the classification error, from probabilities as from labels."""
    y_true, P = judged
    y_pred = [LABELS[index] for index in P.argmax(axis=1)]
    metrics = MLClassifierMetrics.from_probabilities(y_true, P, LABELS)
    precision, recall, _, support = precision_recall_fscore_support(
        y_true, y_pred, labels=metrics.labels, zero_division=0
    )

    assert metrics.labels == tuple(sorted({*y_true, *y_pred}))
    np.testing.assert_array_equal(
        metrics.confusion_matrix, confusion_matrix(y_true, y_pred, labels=metrics.labels)
    )
    assert metrics.classification_error == pytest.approx(zero_one_loss(y_true, y_pred))
    for row, *wanted in zip(metrics.precision_recall, precision, recall, support, strict=True):
        assert [row["precision"], row["recall"], row["count"]] == pytest.approx(wanted)
    assert metrics.confusion == MLClassifierMetrics(y_true, y_pred).confusion


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
def test_checklist_142_top_k_accuracy_is_scikit_learns(judged, k):
    """The true label is among the k most probable; for k = 1 that is the accuracy."""
    y_true, P = judged
    metrics = MLClassifierMetrics.from_probabilities(y_true, P, LABELS)
    wanted = top_k_accuracy_score(y_true, P, k=k, labels=LABELS) if k < 4 else 1.0

    assert metrics.top_k_accuracy(k) == pytest.approx(wanted)
    assert metrics.top_k_accuracy(1) == metrics.accuracy


def test_among_equal_probabilities_the_first_class_is_the_answer():
    """So that the most probable one is the same here as everywhere else, and an unknown label is never right."""
    P = np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.4, 0.4, 0.2]])
    metrics = MLClassifierMetrics.from_probabilities(["a", "b", "x"], P, ["a", "b", "c"])

    assert [metrics.top_k_accuracy(k) * 3 for k in (1, 2, 3)] == [1, 2, 2]
    assert metrics.accuracy == pytest.approx(1 / 3)


def test_checklist_140_invalid_metrics_say_why():
    """Without a validation set there are no figures: not valid, an error, a text, and no perfect score."""
    metrics = MLClassifierMetrics.invalid("no pictures were set aside for validation")

    assert not metrics.is_valid
    assert metrics.error == "no pictures were set aside for validation"
    assert str(metrics) == metrics.report() == "no figures: no pictures were set aside for validation"
    assert (metrics.count, metrics.accuracy, metrics.classification_error) == (0, 0.0, 0.0)
    assert metrics.confusion == metrics.precision_recall == metrics.mistakes() == []
    assert metrics.confusion_matrix.shape == (0, 0)
    assert metrics.top_k_accuracy(1) == 0.0


@pytest.mark.parametrize(
    ("y_true", "P", "classes"),
    [
        (["a"], np.zeros((2, 1)), ["a"]),
        (["a"], np.zeros((1, 2)), ["a"]),
        (["a"], np.zeros(1), ["a"]),
        (["a"], np.full((1, 1), np.nan), ["a"]),
        ([], np.zeros((0, 0)), []),
        ([], np.zeros((0, 1)), ["a"]),
    ],
)
def test_checklist_141_what_does_not_fit_is_an_error_and_is_not_raised(y_true, P, classes):
    """Probabilities of another shape, none, or no numbers: no figures, and why."""
    metrics = MLClassifierMetrics.from_probabilities(y_true, P, classes)

    assert not metrics.is_valid
    assert metrics.error


def test_labels_alone_have_no_second_place():
    """More than the first is asked of probabilities only, and k begins with 1."""
    metrics = MLClassifierMetrics(["a", "b"], ["a", "a"])
    with pytest.raises(ValueError, match="from_probabilities"):
        metrics.top_k_accuracy(2)
    with pytest.raises(ValueError, match="1 or above"):
        metrics.top_k_accuracy(0)


@pytest.mark.parametrize("column", ["label", "count", "precision", "recall"])
@pytest.mark.parametrize("descending", [False, True])
def test_checklist_154_the_table_is_sorted_by_any_column(judged, column, descending):
    """Up and down; rows are the same, and equal ones stay in the order of their labels."""
    metrics = MLClassifierMetrics.from_probabilities(*judged, LABELS)
    rows = metrics.per_class_rows(column, descending=descending)
    values = [row[column] for row in rows]

    assert values == sorted(values, reverse=descending)
    assert {row["label"]: row["count"] for row in rows} == {
        label: row["count"] for label, row in metrics.per_class.items()
    }
    equal = MLClassifierMetrics(["b", "a", "c"], ["b", "a", "c"]).per_class_rows(
        "recall", descending=descending
    )
    assert [row["label"] for row in equal] == ["a", "b", "c"]


def test_checklist_154_there_are_four_columns():
    """Label, count, precision and recall; another one is refused by name."""
    metrics = MLClassifierMetrics(["a"], ["a"])

    assert metrics.per_class_rows() == [{"label": "a", "count": 1, "precision": 1.0, "recall": 1.0}]
    with pytest.raises(ValueError, match=r"no column 'f1'; there are label, count"):
        metrics.per_class_rows("f1")


def test_checklist_143_metrics_are_shown_as_text():
    """A line, and a report with the table and the frequent mistakes first."""
    metrics = MLClassifierMetrics(["cat", "cat", "dog", "dog", "dog"], ["cat", "dog", "cat", "cat", "dog"])

    assert str(metrics) == "40.0 % of 5 samples right"
    assert repr(metrics) == "<MLClassifierMetrics: 40.0 % of 5 samples right>"
    assert metrics.report("count", descending=True).splitlines() == [
        "40.0 % of 5 samples right",
        "",
        "label  count  precision  recall",
        "dog        3     50.0 %  33.3 %",
        "cat        2     33.3 %  50.0 %",
        "",
        "2 x dog taken for cat",
        "1 x cat taken for dog",
    ]


def test_the_report_shows_the_frequent_mistakes_only():
    """Of many kinds of mistakes the first ten, and how many more there are."""
    y_true = [f"{number:02}" for number in range(14)]
    report = MLClassifierMetrics(y_true, ["x"] * 14).report()

    assert report.count("taken for") == 10
    assert report.endswith("and 4 other kinds of mistakes")
    assert "taken for" not in MLClassifierMetrics(["a"], ["a"]).report()


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1, "100.0 %"), (0.9999, "99.9 %"), (0.0001, "0.1 %"), (0.125, "12.5 %")],
)
def test_a_percentage_does_not_claim_perfection(share, text):
    """Only what is whole is called a hundred, only nothing is called nothing."""
    assert percent(share) == text


def test_metrics_can_be_kept(judged):
    """They come back with every figure, from JSON and from the confusion alone; so do those without figures."""
    metrics = MLClassifierMetrics.from_probabilities(*judged, LABELS)
    invalid = MLClassifierMetrics.invalid("nothing there")

    for one in (metrics, invalid, MLClassifierMetrics(["a"], ["b"])):
        assert vars(MLClassifierMetrics.from_json(json.loads(json.dumps(one.to_json())))) == vars(one)
    again = MLClassifierMetrics.from_confusion(metrics.confusion)
    assert (again.accuracy, again.per_class) == (metrics.accuracy, metrics.per_class)
    assert not MLClassifierMetrics.from_confusion([]).is_valid
