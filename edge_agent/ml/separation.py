"""This is where it is measured how well features tell labelled pictures apart, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import softmax
from edge_agent.ml.left_out import LeftOut
from edge_agent.ml.linear_answers import State
from edge_agent.ml.scatter import SpannedScatter
from edge_agent.ml.transforms import signed_root

SHRINKAGE = 0.3
NEAR = 0.8
"""The cosine of plain features from which pictures of a label are left out together, where they are not all alike."""
LITTLE = 0.02
"""A difference of losses that means nothing, however sure."""
ERRORS = 1.96
"""So many standard errors are more than chance: 95 %."""

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Separation:
    """What left-out pictures are answered by discriminant analysis of the others; None where none can be left out."""

    count: int
    labels: int
    leave_one_out: float | None
    leave_duplicates_out: float | None
    """With every picture of the label that is nearly the same left out too."""
    loss: float | None
    """Mean -ln of the probability of the true label, left out one at a time."""
    losses: tuple[float, ...] = field(default=(), repr=False)
    """Of each picture that could be left out, one at a time."""

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "losses"}


def separation(X: NDArray[np.floating], labels: Sequence[str]) -> Separation:
    """Leave out each of some samples [n, D], alone and with its near-duplicates, and ask the rest.

    Shrinkage is fixed, so that the figures of two extractors compare. Time grows with n^2 D.
    """
    classes = sorted(set(labels))
    y = np.array([classes.index(label) for label in labels], dtype=np.intp)
    none = Separation(len(y), len(classes), None, None, None)
    if len(classes) < 2:
        return none
    Z = signed_root(X)
    state = _state(Z, y, len(classes))
    if not state.varies:
        return none
    single = LeftOut(state, Z, y)
    if not len(single):
        return none
    scores = single.discriminant(SHRINKAGE)[0]
    scores = single.temperature(SHRINKAGE) * scores
    judged = single.judged(scores)
    own = softmax(scores)[np.arange(len(single)), single.y]
    losses = -np.log(np.maximum(own, np.finfo(np.float64).eps))
    apart = single.in_bursts(NEAR)
    grouped = None
    if len(apart):
        grouped = float((apart.discriminant(SHRINKAGE)[0].argmax(axis=1) == apart.y).mean())
    return Separation(
        count=len(y),
        labels=len(classes),
        leave_one_out=judged["accuracy"],
        leave_duplicates_out=grouped,
        loss=judged["loss_value"],
        losses=tuple(losses.tolist()),
    )


def held_out_accuracy(
    X: NDArray[np.floating], labels: Sequence[str], aside: Sequence[bool]
) -> tuple[float, int] | None:
    """The share of samples set aside that the others answer rightly, and how many were; None for none."""
    out = np.asarray(aside, dtype=np.bool_)
    known = sorted({label for label, away in zip(labels, aside, strict=True) if not away})
    asked = [place for place in np.flatnonzero(out).tolist() if labels[place] in known]
    if len(known) < 2 or not asked:
        return None
    Z = signed_root(X)
    y = np.array([known.index(label) for label, away in zip(labels, aside, strict=True) if not away])
    state = _state(Z[~out], y, len(known))
    if not state.varies:
        return None
    tau = LeftOut(state, Z[~out], y).discriminant(SHRINKAGE)[1]
    coef = state.directions(SHRINKAGE)
    m = state.means - state.centre
    bias = 0.5 * tau / state.counts - 0.5 * np.einsum("cd,dc->c", m, coef) - state.centre @ coef
    said = (Z[asked] @ coef + bias).argmax(axis=1)
    right = sum(known[column] == labels[place] for column, place in zip(said, asked, strict=True))
    return right / len(asked), len(asked)


def clearly_better(one: Separation, other: Separation) -> bool:
    """Whether one tells the same pictures apart better than another, by more than chance and by more than a little.

    By chance: the mean difference of the losses, picture by picture, against its own standard error.
    """
    a, b = np.array(one.losses), np.array(other.losses)
    if not len(a) or len(a) != len(b):
        return bool(len(a)) and not len(b)
    gain = b - a
    error = float(gain.std(ddof=1)) / sqrt(len(gain)) if len(gain) > 1 else 0.0
    return float(gain.mean()) > max(LITTLE, ERRORS * error) and (one.leave_one_out or 0.0) >= (
        other.leave_one_out or 0.0
    )


def _state(Z: NDArray[np.float64], y: Indices, n_classes: int) -> State:
    counts = np.bincount(y, minlength=n_classes).astype(np.float64)
    means = np.zeros((n_classes, Z.shape[1]))
    np.add.at(means, y, Z)
    means /= np.maximum(counts, 1.0)[:, None]
    return State(counts, means, SpannedScatter.from_rows(Z - means[y]))
