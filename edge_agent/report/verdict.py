"""This is where it is said in a sentence or two whether more pictures would help, and of what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_agent.ml.diagnosis import FEW_PICTURES
from edge_agent.ml.learning_curve import CurvePoint, gain_of_doubling
from edge_agent.ml.metrics import MLClassifierMetrics, percent

WORTH = 0.01
"""A doubling that brings less is not worth the walk."""
ENOUGH = 0.98
"""Above this an accuracy cannot rise much."""
NOTICEABLE = 0.02
"""A label is weak when it is found so much less often than all are."""
NAMED = 5
"""So many labels are named."""


def conclusion(
    curve: Sequence[CurvePoint], judged: MLClassifierMetrics, pictures: Mapping[str, int], *, doubts: int = 0
) -> str:
    """Whether to photograph more, and which labels first.

    `judged` is of pictures that were not learned from; `pictures` is how many each label has; `doubts` is how
    many labels are probably wrong.
    """
    weak = weak_labels(judged, pictures)
    which = f" Begin with {_named(weak)}." if weak else ""
    first = (
        f" First of all look at the {_counted(doubts, 'doubtful label')} below: wrong labels cost more than missing"
        " pictures."
        if doubts
        else ""
    )
    gain = gain_of_doubling(curve)
    if gain is None:
        return (
            f"There are too few pictures to say what more would bring: take at least {FEW_PICTURES} of each"
            f" label.{which}{first}"
        )
    last = curve[-1]
    seen = f"With {_counted(last.per_label, 'picture')} of each label {percent(last.mean)} of new ones are recognised"
    # Errors rarely fall to less than half by that.
    expected = min(gain.accuracy, (1.0 - last.mean) / 2)
    if expected >= WORTH and gain.accuracy > gain.error and last.mean < ENOUGH:
        return (
            f"Photograph more: {_lower(seen)}, and twice as many pictures would bring about"
            f" {_points(expected)} more.{which}{first}"
        )
    if last.mean >= ENOUGH:
        return (
            f"There are enough pictures: {_lower(seen)}. More of the same kind would hardly help; take some where"
            f" it will be used and in other light, to see whether it holds there too.{which}{first}"
        )
    return (
        f"More of the same pictures would hardly help: {_lower(seen)}, and the last doubling brought"
        f" {_points(max(gain.accuracy, 0.0))}. Take different ones: other places, other light, other sides, nearer"
        f" and larger.{which}{first}"
    )


def weak_labels(judged: MLClassifierMetrics, pictures: Mapping[str, int]) -> tuple[str, ...]:
    """The labels that are recognised worse than the whole or have few pictures, the worst first."""
    recall = {label: row["recall"] for label, row in judged.per_class.items() if row["count"]}
    weak = [
        label
        for label, count in pictures.items()
        if count < FEW_PICTURES or recall.get(label, 1.0) < judged.accuracy - NOTICEABLE
    ]
    return tuple(sorted(weak, key=lambda label: (recall.get(label, 1.0), pictures[label], label)))


def _named(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:NAMED])
    return f"{shown} and {len(labels) - NAMED} others" if len(labels) > NAMED else shown


def _points(share: float) -> str:
    return f"{share * 100:.1f} percentage points"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
