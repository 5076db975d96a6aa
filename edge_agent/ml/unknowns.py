"""This is where it is decided how far off a sample is like nothing that was learned."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

UNKNOWN_RATE = 0.05
"""The share of new samples of known classes that may be taken for unknown, unless something else is given."""


def nearest(distances: Matrix) -> Matrix:
    """The distance [n] to the nearest class, from squared distances [n, C] to the means less tau/n_c.

    The mean of n_c samples is itself off, which adds tau/n_c to every distance from it; less that, as in the
    scores, small classes are not harder to belong to.
    """
    return np.asarray(np.maximum(distances.min(axis=1), 0.0))


def threshold(left_out: Matrix, rate: float) -> float | None:
    """The distance that new samples of known classes exceed at `rate`, from those of samples left out [n].

    A new sample is equally likely to fall into each of the n + 1 gaps between n that are like it, so the
    quantile is at (n + 1) (1 - rate) in their order, between two of them on the line (conformal prediction:
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005). Where that is beyond the
    greatest, it is the greatest or, if more, Student's bound for one more sample: mean + t sd sqrt(1 + 1/n).

    Above 0, also where all lie on their means. None for a rate of 0 and without samples: nothing is unknown.
    """
    n = len(left_out)
    if rate <= 0.0 or n == 0:
        return None
    found = float(np.quantile(left_out, 1.0 - rate, method="weibull"))
    if (n + 1) * rate < 1.0 and n > 1:
        spread = float(left_out.std(ddof=1)) * math.sqrt(1.0 + 1.0 / n)
        found = max(found, float(left_out.mean()) + _student(1.0 - rate, n - 1) * spread)
    return max(found, float(np.finfo(np.float64).tiny))


def _student(share: float, freedom: int) -> float:
    """The quantile of Student's t, by its expansion around that of the normal distribution.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5, to the third order.
    """
    z, v = NormalDist().inv_cdf(share), float(freedom)
    return (
        z
        + (z**3 + z) / (4.0 * v)
        + (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / (96.0 * v**2)
        + (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / (384.0 * v**3)
    )
