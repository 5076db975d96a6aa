"""This is where it is found out what more pictures of each label would bring, from those that are there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.fits.protocol import BLOCK_ROWS, FitData

HELD_SHARE = 0.25
"""Of each label, so much is kept to measure with."""
MOST_HELD = 2000
"""So many pictures are enough to measure with: the standard error of an accuracy is then about 1 % at most."""
MOST_LEARNED = 3000
"""No point of the curve learns from more pictures than this, so that the whole takes half
a minute on a desk, and not hours on a board."""
SEEDS = (0, 1, 2, 3, 4)

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class CurvePoint:
    """How well pictures are recognised that were not learned from, after so many of each label."""

    per_label: int
    """Pictures of each label; a label that has fewer gives all it has."""
    accuracies: tuple[float, ...]
    """0 to 1, one for each way to draw them."""

    @property
    def mean(self) -> float:
        """Of the accuracies."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """Their standard deviation; 0 for a single one."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0


@dataclass(frozen=True)
class Gain:
    """What twice as many pictures bring at the end of a curve."""

    accuracy: float
    """By how much the accuracy rises, 0 to 1."""
    error: float
    """The standard error of that."""


def learning_curve(
    data: FitData, *, seeds: Sequence[int] = SEEDS, held_share: float = HELD_SHARE
) -> list[CurvePoint]:
    """Accuracy against pictures of each label: 1, 2, 5, 10 ... up to what there is.

    For each seed a part of each label is held out and discriminant analysis learns from the first 1, 2, ...
    of the others. A label with one picture is learned and not measured. Empty with fewer than two labels or
    where no label has two pictures.
    """
    y = data.targets
    counts = np.bincount(y, minlength=len(data.classes))
    held = _held(counts, held_share)
    if len(counts) < 2 or not held.any():
        return []
    left = counts - held
    accuracies: dict[int, list[float]] = {size: [] for size in _sizes(left)}
    for seed in seeds:
        drawn = _drawn(y, len(counts), seed)
        judged = np.concatenate([rows[:kept] for rows, kept in zip(drawn, held, strict=True)])
        for size, found in accuracies.items():
            learned = [rows[kept : kept + size] for rows, kept in zip(drawn, held, strict=True)]
            found.append(_accuracy(data, np.sort(np.concatenate(learned)), np.sort(judged)))
    return [CurvePoint(size, tuple(found)) for size, found in accuracies.items()]


def gain_of_doubling(curve: Sequence[CurvePoint]) -> Gain | None:
    """What the last doubling brought, draw by draw; None for a curve of fewer than two points."""
    if len(curve) < 2:
        return None
    last = curve[-1]
    before = next((one for one in reversed(curve[:-1]) if 2 * one.per_label <= last.per_label), curve[0])
    doublings = math.log2(last.per_label / before.per_label)
    each = (np.array(last.accuracies) - np.array(before.accuracies)) / doublings
    error = float(each.std(ddof=1) / math.sqrt(len(each))) if len(each) > 1 else 0.0
    return Gain(float(each.mean()), error)


def _held(counts: Indices, share: float) -> Indices:
    most = max(1, MOST_HELD // max(len(counts), 1))
    held = np.clip(np.rint(counts * share).astype(np.intp), 1, most)
    return np.where(counts > 1, np.minimum(held, counts - 1), 0)


def _sizes(left: Indices) -> list[int]:
    """1, 2, 5, 10 and so on below the most that a label has, and that; as long as they are not too many."""
    most = int(left.max())
    sizes = [size for size in _steps(most) if size * 1.2 < most]
    return [size for size in [*sizes, most] if size == 1 or int(np.minimum(left, size).sum()) <= MOST_LEARNED]


def _steps(most: int) -> Iterator[int]:
    ten = 1
    while ten <= most:
        yield from (ten, 2 * ten, 5 * ten)
        ten *= 10


def _drawn(y: Indices, n_classes: int, seed: int) -> list[Indices]:
    """The rows of each class in an order that depends on the seed, the class and their number only."""
    order = np.argsort(y, kind="stable")
    ends = np.cumsum(np.bincount(y, minlength=n_classes))[:-1]
    return [
        rows[np.random.default_rng([seed, index]).permutation(len(rows))]
        for index, rows in enumerate(np.split(order, ends))
    ]


def _accuracy(data: FitData, learned: Indices, judged: Indices) -> float:
    fit = LDAFit.begin(data.part(learned), {}, 0)
    fit.step()
    head, y = fit.head(), data.targets
    column = np.array([head.classes_.index(label) for label in data.classes])
    right = 0
    for start in range(0, len(judged), BLOCK_ROWS):
        rows = judged[start : start + BLOCK_ROWS]
        right += int((head.predict_proba(data.rows(rows.tolist())).argmax(axis=1) == column[y[rows]]).sum())
    return right / len(judged)
