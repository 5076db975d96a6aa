"""This is where a candidate is compared with the current version."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.evidence import Evidence
from edge_agent.ml.intervals import calibration_error, wilson
from edge_agent.ml.metrics import MLClassifierMetrics

SMALLEST_PROBABILITY = 1e-15
"""What a probability of zero counts as in the loss."""

FEWEST_FOR_CALIBRATION = 20
"""With fewer held-out samples nothing is said about how honest probabilities are."""


@dataclass(frozen=True)
class Scores:
    """How well one version answers, over all held-out samples."""

    accuracy: float | None
    """Share of right answers; None without samples."""
    classification_error: float | None
    count: int
    confusion: tuple[dict[str, Any], ...]
    """`{"true": label, "predicted": label, "count": n}` for every pair that occurred."""
    per_class: dict[str, dict[str, Any]]
    """For each label its `precision`, `recall` and `count`."""
    loss: float | None
    """Mean of -ln(probability of the true label) over the samples whose label the version knows."""
    interval: tuple[float, float] | None = None
    """The accuracies that so many right ones of so few samples are compatible with (Wilson, 95 %)."""
    calibration_error: float | None = None
    """Mean difference of certainty and success; None with fewer than 20 samples."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {**asdict(self), "confusion": list(self.confusion)}


@dataclass(frozen=True)
class Comparison:
    """Both versions on the held-out samples whose label both know, each answering among those labels.

    So a new label never counts against the candidate: what is judged is whether it has become worse at what
    the current version could do.
    """

    count: int
    candidate_accuracy: float | None
    current_accuracy: float | None
    gained: int
    """Samples only the candidate gets right."""
    lost: int
    """Samples only the current version gets right."""
    p_value: float
    """Chance of losing at least `lost` out of `gained + lost` when both are equally good."""


@dataclass(frozen=True)
class Suspicion:
    """What is new or has another label than the current version learned, held against what it looks like."""

    count: int
    """How many samples these are."""
    label: str | None
    """The one label whose pictures seem to be called something else; None when there was nothing to ask."""
    odds: float
    """How many times likelier the labels are if three in ten pictures of it are, than if all labels are right."""
    samples: tuple[dict[str, str], ...]
    """`{"digest": ..., "name": ..., "label": ...}` of the pictures that say so, the clearest first."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {**asdict(self), "samples": list(self.samples)}


@dataclass(frozen=True)
class Evaluation:
    """What is known about a candidate when it is decided whether it becomes the current version."""

    candidate: Scores
    current: Scores | None
    """None when there is no current version, or none that can be asked."""
    common: Comparison | None
    """None when `current` is."""
    new_labels: tuple[str, ...]
    """Labels the candidate knows and the current version does not."""
    missing_labels: tuple[str, ...]
    """Labels the current version knows and the candidate does not."""
    n_held_out: int
    forgotten: bool
    """The current version learned from samples that have since been removed."""
    learned: Comparison | None = None
    """Both versions on samples that both learned, each as if it had not (leave-one-out); None where it cannot be
    had, and where enough are held out."""
    suspicion: Suspicion | None = None
    """None when there is no current version, or nobody can say what a sample looks like without having learned it."""
    evidence: Evidence | None = None
    """What the samples it learned from say of the candidate."""
    unasked: str = ""
    """Why the current version could not be asked, where it should have been."""

    @property
    def p_value(self) -> float:
        """Of the comparison; 1 when there was none."""
        return self.common.p_value if self.common else 1.0

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {
            "candidate": self.candidate.to_json(),
            "current": self.current.to_json() if self.current else None,
            "common": asdict(self.common) if self.common else None,
            "new_labels": list(self.new_labels),
            "missing_labels": list(self.missing_labels),
            "n_held_out": self.n_held_out,
            "forgotten": self.forgotten,
            "learned": asdict(self.learned) if self.learned else None,
            "suspicion": self.suspicion.to_json() if self.suspicion else None,
            "evidence": self.evidence.to_json() if self.evidence else None,
            "unasked": self.unasked,
        }

    @property
    def short(self) -> dict[str, Any]:
        """The evidence in a line of a table; `change` is against the version before, on the same samples."""
        found = self.evidence.whole if self.evidence else None
        common = self.common
        change = None
        if common and common.candidate_accuracy is not None and common.current_accuracy is not None:
            change = {"accuracy": common.candidate_accuracy - common.current_accuracy, "count": common.count}
        return {
            "held_out": {"count": self.candidate.count, "interval": _plain(self.candidate.interval)},
            "leave_one_out": found.single.accuracy if found and found.single else None,
            "leave_duplicates_out": _plain(found.interval) if found else None,
            "change": change,
        }


def compare(
    *,
    candidate_proba: NDArray[np.floating[Any]],
    candidate_classes: Sequence[str],
    current_proba: NDArray[np.floating[Any]] | None = None,
    current_classes: Sequence[str] | None = None,
    y_true: Sequence[str],
    forgotten: bool = False,
) -> Evaluation:
    """Compare two versions on the same n held-out samples, which neither has learned from.

    `candidate_proba` is [n, number of candidate_classes] and `current_proba` likewise; both None without a
    current version. Raises `ValueError` for shapes that do not fit.
    """
    candidate = score(candidate_proba, candidate_classes, y_true)
    if current_proba is None or current_classes is None:
        return Evaluation(
            candidate=candidate,
            current=None,
            common=None,
            new_labels=tuple(candidate_classes),
            missing_labels=(),
            n_held_out=len(y_true),
            forgotten=forgotten,
        )
    return Evaluation(
        candidate=candidate,
        current=score(current_proba, current_classes, y_true),
        common=on_common_labels(candidate_proba, candidate_classes, current_proba, current_classes, y_true),
        new_labels=tuple(label for label in candidate_classes if label not in set(current_classes)),
        missing_labels=tuple(label for label in current_classes if label not in set(candidate_classes)),
        n_held_out=len(y_true),
        forgotten=forgotten,
    )


def score(proba: NDArray[np.floating[Any]], classes: Sequence[str], y_true: Sequence[str]) -> Scores:
    """The scores of the answers `proba` [n, number of classes] for samples whose true labels are `y_true`."""
    if proba.shape != (len(y_true), len(classes)):
        raise ValueError(f"{len(y_true)} samples and {len(classes)} classes do not fit {proba.shape}")
    if not y_true:
        return Scores(
            accuracy=None, classification_error=None, count=0, confusion=(), per_class={}, loss=None
        )
    answers = _answers(proba, classes, classes)
    metrics = MLClassifierMetrics.from_labels(y_true, answers)
    column = {label: index for index, label in enumerate(classes)}
    known = [(row, column[label]) for row, label in enumerate(y_true) if label in column]
    loss = None
    if known:
        rows, columns = zip(*known, strict=True)
        loss = float(-np.log(np.maximum(proba[rows, columns], SMALLEST_PROBABILITY)).mean())
    right = np.array([answer == label for answer, label in zip(answers, y_true, strict=True)])
    return Scores(
        accuracy=metrics.accuracy,
        classification_error=metrics.classification_error,
        count=metrics.count,
        confusion=tuple(metrics.confusion),
        per_class=metrics.per_class,
        loss=loss,
        interval=wilson(int(right.sum()), len(right)),
        calibration_error=calibration_error(proba, right) if len(right) >= FEWEST_FOR_CALIBRATION else None,
    )


def compared(right: NDArray[np.bool_], right_before: NDArray[np.bool_]) -> Comparison:
    """What n samples say that the candidate (`right` [n]) and the current version answered rightly."""
    if not len(right):
        return Comparison(0, None, None, gained=0, lost=0, p_value=1.0)
    gained, lost = int((right & ~right_before).sum()), int((right_before & ~right).sum())
    return Comparison(
        count=len(right),
        candidate_accuracy=float(right.mean()),
        current_accuracy=float(right_before.mean()),
        gained=gained,
        lost=lost,
        p_value=sign_test(lost, gained),
    )


def sign_test(lost: int, gained: int) -> float:
    """The exact one-sided sign test on pairs, known as McNemar's.

    It is the chance of `lost` or more heads in `lost + gained` tosses of a fair coin.
    """
    tosses = lost + gained
    heads = term = math.comb(tosses, lost)
    for k in range(lost, tosses):
        term = term * (tosses - k) // (k + 1)
        heads += term
    return float(heads / 2**tosses)


def _answers(proba: NDArray[np.floating[Any]], classes: Sequence[str], among: Sequence[str]) -> list[str]:
    """The most probable label of each row, among the given ones; the first of equals."""
    allowed = set(among)
    columns = [index for index, label in enumerate(classes) if label in allowed]
    return [classes[columns[best]] for best in proba[:, columns].argmax(axis=1)]


def on_common_labels(
    candidate_proba: NDArray[np.floating[Any]],
    candidate_classes: Sequence[str],
    current_proba: NDArray[np.floating[Any]],
    current_classes: Sequence[str],
    y_true: Sequence[str],
) -> Comparison:
    """Both on the samples whose label both know, each answering among those labels."""
    shared = sorted(set(candidate_classes) & set(current_classes))
    rows = [row for row, label in enumerate(y_true) if label in set(shared)]
    if not rows:
        return Comparison(0, None, None, gained=0, lost=0, p_value=1.0)
    truth = np.array([y_true[row] for row in rows])
    right = np.array(_answers(candidate_proba[rows], candidate_classes, shared)) == truth
    right_before = np.array(_answers(current_proba[rows], current_classes, shared)) == truth
    return compared(right, right_before)


def _plain(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
