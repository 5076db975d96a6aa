"""This is where it is said whether there are enough pictures, from what more of them brought so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.ml.learning_curve import CurvePoint, Gain, gain_of_doubling
from edge_agent.ml.metrics import percent

WORTH = 0.01
"""A doubling that brings less is not worth the walk."""
FEW = 10
"""With fewer pictures of each label a gain that is within its error says nothing."""
HIGH = 0.98
"""Above this an accuracy cannot rise much."""


@dataclass(frozen=True)
class Enough:
    """Whether to photograph more."""

    answer: str
    """`yes`, `no`, `other-pictures` (more of the same would hardly help) or `unknown`."""
    reason: str
    gain: float | None = None
    """By how much the accuracy would rise with twice as many pictures, 0 to 1."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {"answer": self.answer, "reason": self.reason, "gain_of_doubling": self.gain}


def enough(curve: Sequence[CurvePoint], doubts: int = 0) -> Enough:
    """The verdict on a learning curve; `doubts` is how many labels are probably wrong."""
    gain: Gain | None = gain_of_doubling(curve)
    first = " First of all see to the labels that may be wrong." if doubts else ""
    if gain is None:
        return Enough(
            "unknown",
            "There are too few pictures to say what more of them would bring. Take at least 10 of each label, from"
            f" different sides and in different light.{first}",
        )
    last = curve[-1]
    # Errors rarely fall to less than half with twice as many pictures.
    expected = max(0.0, min(gain.accuracy, (1.0 - last.mean) / 2))
    seen = (
        f"Having learned {last.per_label} different pictures of each label it recognised {percent(last.mean)} of the"
        " others"
    )
    hold = (
        " This holds for pictures like those it has: photograph some where it will be used, and see with"
        " `edge-agent evaluate` whether it holds there too."
    )
    if last.mean >= HIGH:
        return Enough("yes", f"Yes. {seen}.{hold}{first}", expected)
    bring = f"twice as many pictures would bring about +{100 * expected:.1f} points"
    if expected >= WORTH and gain.accuracy > gain.error:
        return Enough("no", f"Not yet. {seen}, and {bring}.{first}", expected)
    if expected >= WORTH and last.per_label < FEW:
        return Enough(
            "unknown",
            f"There are too few pictures to say. {seen}; with so few of them that is as much chance as anything. Take"
            f" at least 10 of each label, from different sides and in different light.{first}",
            expected,
        )
    return Enough(
        "other-pictures",
        f"More pictures of the same kind would hardly help. {seen}. Take different ones: other places, other light,"
        f" other sides, nearer and larger.{first}",
        expected,
    )
