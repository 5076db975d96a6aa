"""This is where figures stand in rows and columns: confusions, labels, iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_agent.ml.learning_curve import CurvePoint
from edge_agent.ml.metrics import MLClassifierMetrics, percent
from edge_agent.report.facts import Measured
from edge_agent.report.markup import Html, element

MOST_IN_MATRIX = 15
"""With more labels the frequent confusions are listed: a matrix could not be read."""
MOST_CONFUSIONS = 30
MOST_ITERATIONS = 50
"""So many rows of the history are shown, evenly spread."""


def measured_table(measured: Sequence[Measured]) -> Html:
    """The accuracies side by side: no single figure tells everything."""
    return element(
        "table",
        _head("measured on", "right", "pictures"),
        element(
            "tbody",
            *(
                element(
                    "tr",
                    element("th", one.name, element("small", one.meaning), scope="row"),
                    element("td", element("b", percent(one.metrics.accuracy))),
                    element("td", one.metrics.count),
                )
                for one in measured
            ),
        ),
    )


def label_table(metrics: MLClassifierMetrics, pictures: Mapping[str, int]) -> Html:
    """Each label with its pictures, precision and recall; a script lets each column sort."""
    rows = metrics.per_class
    labels = sorted({*rows, *pictures})
    return element(
        "table",
        element(
            "thead",
            element(
                "tr",
                *(
                    element("th", name, scope="col", title=meaning)
                    for name, meaning in (
                        ("label", "as its folder is called"),
                        ("pictures", "to learn from and to validate by"),
                        ("judged", "pictures of it that were judged here"),
                        ("precision", "of what was called so, how much is so"),
                        ("recall", "of what is so, how much was called so"),
                    )
                ),
            ),
        ),
        element("tbody", *(_label_row(one, pictures.get(one, 0), rows.get(one)) for one in labels)),
        class_="sortable",
    )


def _label_row(label: str, pictures: int, row: Mapping[str, float] | None) -> Html:
    count = 0 if row is None else int(row["count"])
    shares = [
        element("td", "–", data_value=-1)
        if row is None or not count
        else element(
            "td",
            percent(row[name]),
            class_="bar",
            style=f"--share:{row[name]:.3f}",
            data_value=f"{row[name]:.6f}",
        )
        for name in ("precision", "recall")
    ]
    return element(
        "tr",
        element("th", label, scope="row", data_value=label),
        element("td", pictures, data_value=pictures),
        element("td", count, data_value=count),
        *shares,
    )


def confusion_table(metrics: MLClassifierMetrics) -> Html:
    """A matrix of few labels; of many, the most frequent confusions."""
    if len(metrics.labels) > MOST_IN_MATRIX:
        return confusion_list(metrics)
    matrix, labels = metrics.confusion_matrix, metrics.labels
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return element(
        "table",
        element(
            "thead",
            element(
                "tr",
                element("td", "is ↓ called →"),
                *(element("th", element("span", one), scope="col") for one in labels),
            ),
        ),
        element(
            "tbody",
            *(
                element(
                    "tr",
                    element("th", label, scope="row"),
                    *(
                        element(
                            "td",
                            int(count) or "",
                            class_=("right" if at == row else "wrong") if count else None,
                            style=f"--share:{share:.3f}" if count else None,
                        )
                        for at, (count, share) in enumerate(zip(matrix[row], shares[row], strict=True))
                    ),
                )
                for row, label in enumerate(labels)
            ),
        ),
        class_="confusion",
    )


def confusion_list(metrics: MLClassifierMetrics) -> Html:
    """The most frequent confusions, a row each."""
    mistakes = metrics.mistakes()
    if not mistakes:
        return element("p", "Nothing was taken for anything else.")
    table = element(
        "table",
        _head("is", "was called", "times", "of"),
        element(
            "tbody",
            *(
                element(
                    "tr",
                    element("th", row["true"], scope="row"),
                    element("td", row["predicted"], class_="text"),
                    element("td", row["count"]),
                    element("td", metrics.per_class[row["true"]]["count"]),
                )
                for row in mistakes[:MOST_CONFUSIONS]
            ),
        ),
    )
    more = len(mistakes) - MOST_CONFUSIONS
    return element("div", table, element("p", f"and {more} rarer ones") if more > 0 else "")


def history_table(history: Sequence[Mapping[str, float]]) -> Html:
    """The metrics of each iteration, the first and the last among those shown."""
    step = max(1, -(-len(history) // MOST_ITERATIONS))
    shown = [at for at in range(len(history)) if at % step == 0 or at == len(history) - 1]
    names = [name for name in _METRICS if any(name in row for row in history)]
    return element(
        "table",
        _head("iteration", *(_METRICS[name] for name in names)),
        element(
            "tbody",
            *(
                element(
                    "tr",
                    element("th", at + 1, scope="row"),
                    *(element("td", _figure(name, history[at].get(name))) for name in names),
                )
                for at in shown
            ),
        ),
    )


_METRICS = {
    "accuracy": "accuracy",
    "validation_accuracy": "accuracy, validation",
    "loss": "loss",
    "validation_loss": "loss, validation",
}


def curve_table(curve: Sequence[CurvePoint]) -> Html:
    """The points of the learning curve."""
    return element(
        "table",
        _head("pictures of each label", "recognised", "spread"),
        element(
            "tbody",
            *(
                element(
                    "tr",
                    element("th", one.per_label, scope="row"),
                    element("td", percent(one.mean)),
                    element("td", f"± {100 * one.spread:.1f}"),
                )
                for one in curve
            ),
        ),
    )


def _head(*names: str) -> Html:
    return element("thead", element("tr", *(element("th", name, scope="col") for name in names)))


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return percent(value) if "accuracy" in name else f"{value:.4f}"
