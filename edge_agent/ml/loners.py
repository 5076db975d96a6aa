"""This is where pictures are found that look like no other picture of their label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.copies import unit_rows

FEWEST = 5
"""A label with fewer pictures says too little about what its pictures look like."""
DEVIATIONS = 5.0
"""How far below the median a likeness has to be, in standard deviations estimated from the median deviation."""
_BLOCK = 256
_NORMAL = 1.4826  # the standard deviation of a normal distribution in median absolute deviations


@dataclass(frozen=True)
class Loner:
    """A picture that looks like nothing else of its label."""

    index: int
    """Of its row."""
    likeness: float
    """Cosine of its features to the most similar picture of its label."""


def likeness(X: NDArray[np.floating], y: NDArray[np.intp]) -> NDArray[np.float32]:
    """The cosine [n] of each row of features [n, D] to the most similar other row of its class.

    NaN where it is alone in its class.
    """
    U = unit_rows(X)
    found = np.full(len(U), np.nan, dtype=np.float32)
    for c in np.unique(y):
        rows = np.flatnonzero(y == c)
        if len(rows) < 2:
            continue
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            S = U[block] @ U[rows].T
            S[np.arange(len(block)), start + np.arange(len(block))] = -1.0
            found[block] = S.max(axis=1)
    return found


def loners(X: NDArray[np.floating], y: NDArray[np.intp]) -> list[Loner]:
    """The rows of features [n, D] with classes [n] that are far from all others of their class, the farthest first.

    Far is what lies `DEVIATIONS` below what is usual in all classes together. Copies should have been left out:
    a picture and its copy are never alone.
    """
    near = likeness(X, y)
    near[np.bincount(y)[y] < FEWEST] = np.nan
    known = near[~np.isnan(near)]
    if len(known) < FEWEST:
        return []
    middle = float(np.median(known))
    below = middle - DEVIATIONS * _NORMAL * float(np.median(np.abs(known - middle)))
    alone = np.flatnonzero(near < below)
    return [Loner(int(row), float(near[row])) for row in alone[np.argsort(near[alone], kind="stable")]]
