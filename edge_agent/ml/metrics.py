"""This is where predicted labels are held against the true ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Column = Literal["label", "count", "precision", "recall"]

SHOWN_MISTAKES = 10
"""So many confusions are in the text; the most frequent ones."""


class MLClassifierMetrics:
    """How well n predicted labels match n true ones.

    Without samples, or with lists of different lengths, there are no figures: they are 0 and `error` says
    why. Precision is 0 for a label that was never predicted, recall is 0 for one that never was true.
    """

    count: int
    """How many samples were judged."""
    accuracy: float
    """Share of samples whose label was predicted right, 0 to 1."""
    confusion: list[dict[str, Any]]
    """`{"true", "predicted", "count"}` for every pair of labels that occurred, sorted."""
    per_class: dict[str, dict[str, Any]]
    """`{"precision", "recall", "count"}` of every label that occurred; count: how often true."""
    error: str | None
    """Why there are no figures, or None."""
    ranks: list[int] | None
    """How often the true label was the most probable one, the second, and so on; None: there were labels only."""

    def __init__(self, y_true: Sequence[str], y_pred: Sequence[str]) -> None:
        self.error = None
        self.ranks = None
        if len(y_true) != len(y_pred):
            self.error = f"{len(y_true)} true labels do not go with {len(y_pred)} predicted ones"
            y_true, y_pred = (), ()
        elif not y_true:
            self.error = "there are no samples to judge by"
        pairs = Counter(zip(y_true, y_pred, strict=True))
        true, predicted = Counter(y_true), Counter(y_pred)
        self.count = len(y_true)
        self.accuracy = sum(pairs[label, label] for label in true) / max(self.count, 1)
        self.confusion = [
            {"true": one, "predicted": other, "count": count} for (one, other), count in sorted(pairs.items())
        ]
        self.per_class = {
            label: {
                "precision": pairs[label, label] / max(predicted[label], 1),
                "recall": pairs[label, label] / max(true[label], 1),
                "count": true[label],
            }
            for label in sorted(true | predicted)
        }

    @classmethod
    def from_labels(cls, y_true: Sequence[str], y_pred: Sequence[str]) -> Self:
        """The same as the constructor."""
        return cls(y_true, y_pred)

    @classmethod
    def from_probabilities(
        cls, y_true: Sequence[str], probabilities: NDArray[Any], classes: Sequence[str]
    ) -> Self:
        """Judge the most probable of `classes`, the first of equals; `top_k_accuracy` is known besides.

        `probabilities` is of shape [n, number of classes]. A true label that is none of the classes counts as
        answered wrong. A shape that does not fit, no classes or NaN are no figures but an `error`.
        """
        P = np.asarray(probabilities)
        if P.shape != (len(y_true), len(classes)) or not len(classes):
            return cls.invalid(
                f"probabilities of shape {P.shape} do not go with {len(y_true)} samples and {len(classes)} classes"
            )
        if np.isnan(P).any():
            return cls.invalid("a probability is not a number")
        metrics = cls(y_true, [classes[int(index)] for index in P.argmax(axis=1)])
        column = {label: index for index, label in enumerate(classes)}
        ranks = [0] * len(classes)
        for row, label in zip(P, y_true, strict=True):
            at = column.get(label)
            if at is not None:
                ranks[int((row > row[at]).sum() + (row[:at] == row[at]).sum())] += 1
        metrics.ranks = ranks
        return metrics

    @classmethod
    def from_confusion(cls, confusion: Iterable[Mapping[str, Any]]) -> Self:
        """The metrics whose `confusion` this is; rows of one pair add up."""
        pairs: Counter[tuple[str, str]] = Counter()
        for row in confusion:
            pairs[row["true"], row["predicted"]] += int(row["count"])
        samples = list(pairs.elements())
        return cls([true for true, _ in samples], [predicted for _, predicted in samples])

    @classmethod
    def invalid(cls, problem: str) -> Self:
        """No figures, and why."""
        metrics = cls((), ())
        metrics.error = problem
        return metrics

    @property
    def classification_error(self) -> float:
        """Share of samples whose label was predicted wrong, 0 to 1."""
        return 1.0 - self.accuracy if self.is_valid else 0.0

    @property
    def is_valid(self) -> bool:
        """Whether there are figures."""
        return self.error is None

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that occurred, true or predicted, sorted."""
        return tuple(self.per_class)

    @property
    def confusion_matrix(self) -> NDArray[np.int64]:
        """How often the label of a row was taken for that of a column, of shape [labels, labels]."""
        at = {label: index for index, label in enumerate(self.labels)}
        matrix = np.zeros((len(at), len(at)), dtype=np.int64)
        for row in self.confusion:
            matrix[at[row["true"]], at[row["predicted"]]] = row["count"]
        return matrix

    @property
    def precision_recall(self) -> list[dict[str, Any]]:
        """`{"label", "count", "precision", "recall"}` of every label that occurred, by label."""
        return self.per_class_rows()

    def per_class_rows(self, sort_by: Column = "label", *, descending: bool = False) -> list[dict[str, Any]]:
        """The table of the labels, sorted by a column; rows with equal values by label.

        Raises ValueError for a column that there is not.
        """
        columns = ("label", "count", "precision", "recall")
        if sort_by not in columns:
            raise ValueError(f"there is no column {sort_by!r}; there are {', '.join(columns)}")
        rows = [
            {
                "label": label,
                "count": row["count"],
                "precision": row["precision"],
                "recall": row["recall"],
            }
            for label, row in self.per_class.items()
        ]
        return sorted(rows, key=lambda row: row[sort_by], reverse=descending)

    def mistakes(self) -> list[dict[str, Any]]:
        """The rows of `confusion` that are wrong, the most frequent first."""
        wrong = [row for row in self.confusion if row["true"] != row["predicted"]]
        return sorted(wrong, key=lambda row: -row["count"])

    def top_k_accuracy(self, k: int) -> float:
        """Share of samples whose true label is among the `k` most probable ones, 0 to 1; 0 without samples.

        With k = 1 it is the accuracy. Raises ValueError for a k below 1, and where there were labels only and
        no probabilities.
        """
        if k < 1:
            raise ValueError(f"k is 1 or above, not {k}")
        if self.ranks is None:
            if not self.is_valid:
                return 0.0
            raise ValueError("labels alone have no second place; use from_probabilities")
        return sum(self.ranks[:k]) / max(self.count, 1)

    def to_json(self) -> dict[str, Any]:
        """Plain values, to be kept."""
        return {"error": self.error, "confusion": self.confusion, "ranks": self.ranks}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The metrics these came from."""
        if values["error"] is not None:
            return cls.invalid(values["error"])
        metrics = cls.from_confusion(values["confusion"])
        metrics.ranks = None if values["ranks"] is None else list(values["ranks"])
        return metrics

    def report(self, sort_by: Column = "label", *, descending: bool = False) -> str:
        """The figures as text of several lines: the whole, the table of the labels, the frequent mistakes."""
        if not self.is_valid:
            return str(self)
        rows = self.per_class_rows(sort_by, descending=descending)
        width = max(len("label"), *(len(str(row["label"])) for row in rows))
        lines = [str(self), "", f"{'label':<{width}}  count  precision  recall"]
        lines += [
            f"{row['label']!s:<{width}}  {row['count']:>5}  {percent(row['precision']):>9}  {percent(row['recall']):>6}"
            for row in rows
        ]
        mistakes = self.mistakes()
        if mistakes:
            lines.append("")
        lines += [
            f"{row['count']} x {row['true']} taken for {row['predicted']}"
            for row in mistakes[:SHOWN_MISTAKES]
        ]
        if len(mistakes) > SHOWN_MISTAKES:
            lines.append(f"and {len(mistakes) - SHOWN_MISTAKES} other kinds of mistakes")
        return "\n".join(lines)

    def __str__(self) -> str:
        if not self.is_valid:
            return f"no figures: {self.error}"
        return f"{percent(self.accuracy)} of {self.count} samples right"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


def percent(share: float) -> str:
    """A share with one decimal; 100 % only where nothing is missing, 0 % only where nothing is there."""
    tenths = round(share * 1000)
    if 0.0 < share < 1.0:
        tenths = min(max(tenths, 1), 999)
    return f"{tenths / 10:.1f} %"
