"""This is where a candidate is compared with the current version."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.hookspecs import Decision
from edge_agent.ml.metrics import MLClassifierMetrics

SIGNIFICANT_P = 0.05
"""A candidate is worse when chance alone would make it look this bad less often than once in twenty times."""

MIN_JUDGES = 5
"""With fewer held-out samples no outcome is significant: four of four lost has p = 1/16."""

MIN_JUDGES_FOR_DROP = 20
MAX_DROP = 0.05
DROP_P = 0.15
"""With this many held-out samples a larger drop is refused as well, unless it may easily be chance.

Without the last condition two unlucky pictures of twenty decide: in a simulation with 20 to 50 held-out
samples, of which one in ten changes its answer, a candidate that is truly 2 points better was refused in 6 to
10 of 100 cases, with it in 1 to 3.
"""

SMALLEST_PROBABILITY = 1e-15
"""What a probability of zero counts as in the loss."""


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
        common=_common(candidate_proba, candidate_classes, current_proba, current_classes, y_true),
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
    metrics = MLClassifierMetrics.from_labels(y_true, _answers(proba, classes, classes))
    column = {label: index for index, label in enumerate(classes)}
    known = [(row, column[label]) for row, label in enumerate(y_true) if label in column]
    loss = None
    if known:
        rows, columns = zip(*known, strict=True)
        loss = float(-np.log(np.maximum(proba[rows, columns], SMALLEST_PROBABILITY)).mean())
    return Scores(
        accuracy=metrics.accuracy,
        classification_error=metrics.classification_error,
        count=metrics.count,
        confusion=tuple(metrics.confusion),
        per_class=metrics.per_class,
        loss=loss,
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


def decide(evaluation: Evaluation) -> Decision:
    """Whether the candidate becomes the current version, with the figures a person is shown.

    Accepted without a comparison: a first version; one in place of a version that learned from samples its
    owner has since removed, because that was the owner's word; and one for which too few
    held-out samples can judge. Refused: a candidate that is significantly worse on the samples whose label
    both know, and one whose accuracy on at least `MIN_JUDGES_FOR_DROP` of them drops by more than
    `MAX_DROP`, hardly by chance.
    """
    common = evaluation.common
    if evaluation.forgotten:
        return Decision(
            answer=True,
            reason="the current version learned from samples that were removed since",
        )
    if common is None:
        return Decision(answer=True, reason="it is the first version")
    if common.count < MIN_JUDGES or common.candidate_accuracy is None or common.current_accuracy is None:
        return Decision(
            answer=True,
            reason=f"taken without a comparison: {common.count} held-out pictures, and {MIN_JUDGES} are needed",
        )
    figures = (
        f"{common.candidate_accuracy:.1%} right where the current version has {common.current_accuracy:.1%}, "
        f"on {common.count} held-out samples"
    )
    if common.p_value < SIGNIFICANT_P:
        return Decision(answer=False, reason=f"significantly worse: {figures} (p = {common.p_value:.3f})")
    drop = common.current_accuracy - common.candidate_accuracy
    if common.count >= MIN_JUDGES_FOR_DROP and drop > MAX_DROP and common.p_value < DROP_P:
        return Decision(answer=False, reason=f"a drop of more than {MAX_DROP:.0%}: {figures}")
    if evaluation.new_labels:
        figures += f"; it also knows {', '.join(evaluation.new_labels)}"
    return Decision(answer=True, reason=figures)


def _answers(proba: NDArray[np.floating[Any]], classes: Sequence[str], among: Sequence[str]) -> list[str]:
    """The most probable label of each row, among the given ones; the first of equals."""
    allowed = set(among)
    columns = [index for index, label in enumerate(classes) if label in allowed]
    return [classes[columns[best]] for best in proba[:, columns].argmax(axis=1)]


def _common(
    candidate_proba: NDArray[np.floating[Any]],
    candidate_classes: Sequence[str],
    current_proba: NDArray[np.floating[Any]],
    current_classes: Sequence[str],
    y_true: Sequence[str],
) -> Comparison:
    shared = sorted(set(candidate_classes) & set(current_classes))
    rows = [row for row, label in enumerate(y_true) if label in set(shared)]
    if not rows:
        return Comparison(0, None, None, gained=0, lost=0, p_value=1.0)
    truth = np.array([y_true[row] for row in rows])
    right = np.array(_answers(candidate_proba[rows], candidate_classes, shared)) == truth
    right_before = np.array(_answers(current_proba[rows], current_classes, shared)) == truth
    gained, lost = int((right & ~right_before).sum()), int((right_before & ~right).sum())
    return Comparison(
        count=len(rows),
        candidate_accuracy=float(right.mean()),
        current_accuracy=float(right_before.mean()),
        gained=gained,
        lost=lost,
        p_value=sign_test(lost, gained),
    )
