"""This is where figures become advice: what is wrong with the pictures or the training, and what to do.

The rules are those of Apple's advice on image classifiers; thresholds are ours and are named here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edge_agent.ml.metrics import MLClassifierMetrics, percent
from edge_agent.ml.picture_labels import printable_path

FEW_PICTURES = 10
"""Apple: at least so many pictures of each label."""
TESTABLE_PICTURES = 25
"""Apple: with so many of each label a part can be kept for a test."""
TEST_SHARE = 0.2
"""Apple: the part to keep for it."""
UNBALANCED_TIMES = 5.0
"""A label with this many times fewer pictures than the largest one is neglected in training."""
MANY_PICTURES = 100
"""Of each label, on average: more pictures are then not the first thing to try."""
LOW_ACCURACY = 0.9
"""Below this an accuracy is called low."""
NOTICEABLE = 0.05
"""Accuracies that differ by less are called equal, however many pictures they were measured with."""
STANDARD_ERRORS = 2.0
"""Accuracies that differ by fewer standard errors of the difference are called equal."""
FLUCTUATION = 0.1
"""Validation accuracies of several runs that lie further apart fluctuate."""
NAMED = 5
"""So many labels or files are named in a text."""


class AdviceKind(StrEnum):
    """What a piece of advice is about."""

    FEW_PICTURES = "few-pictures"
    UNBALANCED = "unbalanced"
    SMALL_PICTURES = "small-pictures"
    ONE_LABEL = "one-label"
    TWO_LABELS = "two-labels"
    DUPLICATES = "duplicates"
    TEST_SPLIT = "test-split"
    UNDERFITTING = "underfitting"
    TOO_LITTLE_DATA = "too-little-data"
    OVERFITTING = "overfitting"
    DATA_MISMATCH = "data-mismatch"


@dataclass(frozen=True)
class Advice:
    """One thing to do."""

    kind: AdviceKind
    text: str
    """What was seen and what to do about it, for the owner of the pictures."""
    labels: tuple[str, ...] = ()
    """The labels it is about; empty: all of them."""

    def __str__(self) -> str:
        return self.text


def data_advice(
    counts: Mapping[str, int],
    sizes: Iterable[tuple[Path | str, int, int]] = (),
    *,
    extractor_size: tuple[int, int] | None = None,
    has_test: bool = False,
) -> list[Advice]:
    """What is wrong with pictures before anything is learned from them.

    `counts` is how many each label has. `sizes` are (path, width, height) of those that are known, in pixels;
    they are read once, and a size of 0 is that of a picture that could not be read. `extractor_size` is width
    and height of what the extractor sees; without it sizes do not matter. `has_test`: others are kept for a
    test already.
    """
    found = []
    if len(counts) == 1:
        [label] = counts
        found.append(
            Advice(
                AdviceKind.ONE_LABEL,
                f"There is one label only, {label}: add pictures of what is not {label}, as a label of their own",
                (label,),
            )
        )
    few = tuple(sorted(label for label, count in counts.items() if count < FEW_PICTURES))
    if few:
        found.append(
            Advice(
                AdviceKind.FEW_PICTURES,
                f"Fewer than {FEW_PICTURES} pictures: {_counted(few, counts)}."
                f" Take at least {FEW_PICTURES} of each, from different sides and in different light",
                few,
            )
        )
    found += _balance(counts)
    found += _smallness(sizes, extractor_size)
    if counts and not has_test and min(counts.values()) >= TESTABLE_PICTURES:
        smallest = min(counts, key=lambda label: (counts[label], label))
        aside = round(counts[smallest] * TEST_SHARE)
        found.append(
            Advice(
                AdviceKind.TEST_SPLIT,
                f"Every label has {TESTABLE_PICTURES} pictures or more: move about {100 * TEST_SHARE:.0f} % of each"
                f" ({aside} of {smallest}) into folders of their own that are not learned from, and test with them",
            )
        )
    return found


def diagnose(
    training: MLClassifierMetrics,
    validation: MLClassifierMetrics | None = None,
    testing: MLClassifierMetrics | None = None,
    *,
    n_samples: int | None = None,
    max_iterations: int | None = None,
    converged: bool = False,
    earlier_validation: Sequence[float] = (),
) -> list[Advice]:
    """What the accuracies in training, validation and test say together; empty: nothing is to be done.

    Metrics without figures say nothing. `n_samples` is how many pictures were learned from, those that
    `training` was measured with if it is not given; with `converged` more iterations change nothing.
    `earlier_validation` are the validation accuracies of other runs with the same pictures.
    """
    if not training.is_valid:
        return []
    n_labels = max(sum(1 for row in training.per_class.values() if row["count"]), 1)
    per_label = (training.count if n_samples is None else n_samples) / n_labels
    found = []
    if training.accuracy < LOW_ACCURACY:
        found.append(_underfitting(training, max_iterations, converged=converged))
    if validation is not None and validation.is_valid:
        found += _generalisation(training, validation, per_label, max_iterations, earlier_validation)
    if testing is not None and testing.is_valid:
        known = [training] if validation is None or not validation.is_valid else [training, validation]
        if all(_below(testing, one) for one in known):
            worst = _worst(testing)
            found.append(
                Advice(
                    AdviceKind.DATA_MISMATCH,
                    f"The test is worse than training ({_share(testing)} against {_share(training)}): the pictures"
                    " to test with look different from those learned from. Learn from more diverse pictures, taken"
                    f" where and how the classifier will be used{_first_of(worst)}",
                    worst,
                )
            )
    return found


def side_by_side(
    training: MLClassifierMetrics,
    validation: MLClassifierMetrics | None = None,
    testing: MLClassifierMetrics | None = None,
) -> str:
    """The three as text, a line each: no single figure tells everything."""
    lines = {"training": training, "validation": validation, "testing": testing}
    return "\n".join(
        f"{name:<10}  {'not measured' if metrics is None else metrics}" for name, metrics in lines.items()
    )


def _balance(counts: Mapping[str, int]) -> list[Advice]:
    most = max(counts, key=lambda label: (counts[label], label), default="")
    neglected = tuple(
        sorted(label for label, count in counts.items() if count * UNBALANCED_TIMES <= counts[most])
    )
    if not neglected:
        return []
    return [
        Advice(
            AdviceKind.UNBALANCED,
            f"The labels are unbalanced: {most} has {counts[most]} pictures, {_counted(neglected, counts)}."
            " Take more of those with few, or learn from fewer of those with many",
            neglected,
        )
    ]


def _smallness(
    sizes: Iterable[tuple[Path | str, int, int]], extractor_size: tuple[int, int] | None
) -> list[Advice]:
    if extractor_size is None:
        return []
    wide, high = extractor_size
    known = small = 0
    smallest: tuple[int, str, int, int] | None = None
    for path, width, height in sizes:
        if width < 1 or height < 1:
            continue
        known += 1
        if width < wide or height < high:
            small += 1
            one = (width * height, printable_path(path), width, height)
            smallest = one if smallest is None else min(smallest, one)
    if smallest is None:
        return []
    _, name, width, height = smallest
    return [
        Advice(
            AdviceKind.SMALL_PICTURES,
            f"{small} of {known} pictures are smaller than the {wide} x {high} pixels that the extractor looks at;"
            f" they are enlarged, which costs accuracy. The smallest is {name} ({width} x {height})."
            " Use larger pictures, or cut them less",
        )
    ]


def _underfitting(training: MLClassifierMetrics, max_iterations: int | None, *, converged: bool) -> Advice:
    if converged:
        what = "It has converged, so more iterations change nothing: try another classifier or larger layers"
    elif max_iterations is None:
        what = "Train with twice as many iterations, or try another classifier"
    else:
        what = f"Train with max_iterations={2 * max_iterations}, twice as many, or try another classifier"
    worst = _worst(training)
    return Advice(
        AdviceKind.UNDERFITTING,
        f"Even of the pictures it learned from it gets only {_share(training)} right: what it is made of cannot"
        f" tell them apart yet. {what}. Look for wrong labels as well{_first_of(worst)}",
        worst,
    )


def _generalisation(
    training: MLClassifierMetrics,
    validation: MLClassifierMetrics,
    per_label: float,
    max_iterations: int | None,
    earlier: Sequence[float],
) -> list[Advice]:
    """What validation says: too little data, or too much learned by heart."""
    behind = _below(validation, training)
    if behind and per_label >= MANY_PICTURES:
        fewer = "fewer iterations"
        if max_iterations is not None and max_iterations > 1:
            fewer = f"fewer iterations, max_iterations={max_iterations // 2} for instance"
        return [
            Advice(
                AdviceKind.OVERFITTING,
                f"It is right in {_share(training)} of the pictures it learned from and in {_share(validation)} of"
                f" others, though there are many: it learns the pictures by heart. Train with {fewer}",
            )
        ]
    runs = [*earlier, validation.accuracy]
    apart = max(runs) - min(runs)
    if not behind and validation.accuracy >= LOW_ACCURACY and apart <= FLUCTUATION:
        return []
    if apart > FLUCTUATION:
        seen = f"Validation differs from run to run ({percent(min(runs))} to {percent(max(runs))})"
    else:
        seen = f"Validation is right in {_share(validation)} only"
    worst = _worst(validation)
    return [
        Advice(
            AdviceKind.TOO_LITTLE_DATA,
            f"{seen}: there is too little to learn from. Take more pictures, or make more of them by augmentation"
            f" (crop, rotation, blur, exposure){_first_of(worst)}",
            worst,
        )
    ]


def _below(one: MLClassifierMetrics, other: MLClassifierMetrics) -> bool:
    """Whether an accuracy is lower than another by more than chance and than what matters.

    Chance: the standard error of the difference of two shares, from what both have in common.
    """
    right = one.accuracy * one.count + other.accuracy * other.count
    common = right / (one.count + other.count)
    error = math.sqrt(common * (1 - common) * (1 / one.count + 1 / other.count))
    return other.accuracy - one.accuracy > max(NOTICEABLE, STANDARD_ERRORS * error)


def _worst(metrics: MLClassifierMetrics) -> tuple[str, ...]:
    """The labels that are recognised worse than the whole, the worst first; few of them."""
    rows = [row for row in metrics.per_class_rows("recall") if row["count"]]
    return tuple(row["label"] for row in rows if row["recall"] < metrics.accuracy)[:NAMED]


def _first_of(labels: Sequence[str]) -> str:
    return f"; begin with {', '.join(labels)}" if labels else ""


def _counted(labels: Sequence[str], counts: Mapping[str, int]) -> str:
    named = ", ".join(f"{label} has {counts[label]}" for label in labels[:NAMED])
    return named + (f", and {len(labels) - NAMED} more labels have few" if len(labels) > NAMED else "")


def _share(metrics: MLClassifierMetrics) -> str:
    return percent(metrics.accuracy)
