"""This is where predicted labels are held against the true ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self


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

    def __init__(self, y_true: Sequence[str], y_pred: Sequence[str]) -> None:
        self.error = None
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

    @property
    def classification_error(self) -> float:
        """Share of samples whose label was predicted wrong, 0 to 1."""
        return 1.0 - self.accuracy if self.is_valid else 0.0

    @property
    def is_valid(self) -> bool:
        """Whether there are figures."""
        return self.error is None
