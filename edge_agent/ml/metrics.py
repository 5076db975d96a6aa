"""This is where predicted labels are held against the true ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class MLClassifierMetrics:
    """How well a classifier did; `error` says why where that cannot be said.

    Precision is 0 for a label that was never predicted, recall is 0 for one that never was true.
    """

    count: int
    """How many samples were judged."""
    accuracy: float
    """Share of samples whose label was predicted right, 0 to 1."""
    confusion: list[dict[str, Any]]
    """`{"true", "predicted", "count"}` for every pair of labels that occurred, sorted."""
    per_class: dict[str, dict[str, float]]
    """`{"precision", "recall", "count"}` for every label that was true or predicted; count is how often it was true."""
    error: str | None = None
    """Why there are no figures, or None."""

    @classmethod
    def from_labels(cls, y_true: Sequence[str], y_pred: Sequence[str]) -> Self:
        """The metrics of n samples; without samples, or with unequal lengths, they are not valid."""
        if len(y_true) != len(y_pred):
            return cls(0, 0.0, [], {}, f"{len(y_true)} true labels and {len(y_pred)} predicted ones")
        if not y_true:
            return cls(0, 0.0, [], {}, "there are no samples to judge by")
        pairs = Counter(zip(y_true, y_pred, strict=True))
        true, predicted = Counter(y_true), Counter(y_pred)
        per_class = {
            label: {
                "precision": pairs[label, label] / predicted[label] if predicted[label] else 0.0,
                "recall": pairs[label, label] / true[label] if true[label] else 0.0,
                "count": true[label],
            }
            for label in sorted(true | predicted)
        }
        right = sum(count for (one, other), count in pairs.items() if one == other)
        confusion = [
            {"true": one, "predicted": other, "count": count} for (one, other), count in sorted(pairs.items())
        ]
        return cls(len(y_true), right / len(y_true), confusion, per_class)

    @property
    def classification_error(self) -> float:
        """Share of samples whose label was predicted wrong, 0 to 1."""
        return 1.0 - self.accuracy if self.is_valid else 0.0

    @property
    def is_valid(self) -> bool:
        """Whether there are figures."""
        return self.error is None
