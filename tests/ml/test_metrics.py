"""Predicted labels against true ones."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from edge_agent.ml.metrics import MLClassifierMetrics


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
