"""This is where features of many pictures are looked over for what makes them useless, whatever gave them."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.separation import Separation

DEAD, MANY_DEAD = 0.85, 0.5
"""Shares of features that are the same for every picture: refused, and warned of."""
CLIPPED, MUCH_CLIPPED = 0.1, 0.5
"""Shares of numbers at the greatest a quantised feature can hold: warned of, and refused."""
FEW_VALUES, VERY_FEW_VALUES = 16, 4
"""So many different numbers in all features of all pictures: warned of, and refused."""
ALIKE = 0.99
"""The mean cosine between pictures from which they all look the same."""
ENOUGH = 20
"""Fewer pictures say nothing about features that never change, or about guessing."""


@dataclass(frozen=True)
class Soundness:
    """What was found; `problems` are reasons not to use the extractor, `warnings` to doubt it."""

    dead: float
    """The share of features that are the same for every picture."""
    clipped: float | None
    """The share of numbers at the top of what can be held; None where nothing is quantised."""
    values: int
    """How many different numbers there are."""
    cosine: float
    """The mean between two pictures."""
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def soundness(
    X: NDArray[np.floating], most: float | None = None, separated: Separation | None = None
) -> Soundness:
    """Look over the features [n, D] of n pictures; `most` is the greatest a quantised one can hold.

    `separated` is how well they tell labelled pictures apart.
    """
    n, D = X.shape
    problems: list[str] = []
    warnings: list[str] = []
    finite = bool(np.isfinite(X).all())
    if not finite:
        problems.append("some features are not finite numbers")
    Y = np.where(np.isfinite(X), X, 0.0).astype(np.float64)
    dead = float((np.ptp(Y, axis=0) == 0.0).mean()) if n else 1.0
    length = np.linalg.norm(Y, axis=1, keepdims=True)
    total = (Y / np.where(length > 0.0, length, 1.0)).sum(axis=0)
    cosine = float((total @ total - n) / (n * (n - 1))) if n > 1 else 1.0
    values = len(np.unique(Y))
    clipped = float((most * (1.0 - 1e-6) <= Y).mean()) if most is not None and most > 0.0 else None
    if n > 1 and dead == 1.0:
        problems.append("the features are the same whatever it sees")
    elif n >= ENOUGH and dead >= DEAD:
        problems.append(f"{dead:.0%} of the {D} features never change")
    elif n >= ENOUGH and dead >= MANY_DEAD:
        warnings.append(f"{dead:.0%} of the {D} features never change")
    if clipped is not None and clipped >= CLIPPED:
        where = problems if clipped >= MUCH_CLIPPED else warnings
        where.append(
            f"{clipped:.0%} of the numbers are at the greatest that can be held: quantised for too small a range"
        )
    if n > 1 and dead < 1.0 and values <= FEW_VALUES:
        where = problems if values <= VERY_FEW_VALUES else warnings
        where.append(f"the features take only {values} different values: quantised for too large a range")
    if n >= ENOUGH and cosine >= ALIKE and dead < 1.0:
        warnings.append(f"all pictures look nearly the same to it (mean cosine {cosine:.3f})")
    if separated is not None and (said := _guessing(separated)):
        problems.append(said)
    return Soundness(dead, clipped, values, cosine, tuple(problems), tuple(warnings))


def _guessing(separated: Separation) -> str:
    """What is said of features that tell pictures apart no better than chance; empty for better ones."""
    if separated.count < ENOUGH or separated.labels < 2:
        return ""
    chance = 1.0 / separated.labels
    bound = chance + 2.0 * sqrt(chance * (1.0 - chance) / separated.count)
    share = separated.leave_one_out or 0.0
    if share > bound:
        return ""
    return (
        f"it tells {separated.labels} labels apart no better than guessing"
        f" ({share:.0%} of {separated.count} pictures right, left out one at a time)"
    )
