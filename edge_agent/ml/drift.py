"""This is where it is told whether new pictures still look like those that were learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.copies import unit_rows

SURE = 2.58
"""Standard errors from which a change is told: pictures that have not changed get so far one time in a hundred."""


@dataclass(frozen=True)
class Drift:
    """How the distances of new pictures compare with those among the pictures learned from."""

    count: int
    """Of the new pictures."""
    mean_rank: float
    """0.5 when nothing has changed; 1 when each new picture is farther away than all others were."""
    z: float
    """By how many standard errors that is more than a half."""

    @property
    def changed(self) -> bool:
        """Whether it is more than chance."""
        return abs(self.z) > SURE


class Reference:
    """Pictures that were learned from, and how far each of them is from the nearest other one.

    A new picture is ranked by its distance to the nearest of them. Memory is 4 m D bytes for m pictures with D
    features.
    """

    def __init__(self, X: NDArray[np.floating]) -> None:
        self._U = unit_rows(X)
        S = self._U @ self._U.T
        np.fill_diagonal(S, -1.0)
        self._distances = np.sort(1.0 - S.max(axis=1, initial=-1.0))

    def __len__(self) -> int:
        return len(self._U)

    def ranks(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """The share [n] of pictures learned from that are nearer to their nearest than each of these [n, D] is.

        Ties count half, as in the test of Mann and Whitney.
        """
        far = 1.0 - (unit_rows(X) @ self._U.T).max(axis=1, initial=-1.0)
        below = np.searchsorted(self._distances, far, "left") + np.searchsorted(self._distances, far, "right")
        return np.asarray(below / (2.0 * max(len(self), 1)))


def drift(ranks: Sequence[float], m: int) -> Drift:
    """The mean rank of n new pictures among m, as a z-test.

    Under no change its variance is (n + m + 1) / (12 n m) (Mann and Whitney, 1947). At least one of each.
    """
    n = len(ranks)
    mean = float(np.mean(ranks))
    return Drift(n, mean, (mean - 0.5) / math.sqrt((n + m + 1) / (12.0 * n * m)))
