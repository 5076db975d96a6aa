"""This is where a share of few samples becomes an interval, and where it is told how honest probabilities are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

NORMAL_95 = 1.959963984540054
"""So many standard deviations to each side hold 95 % of a normal distribution."""
BINS = 10


def wilson(right: int, count: int) -> tuple[float, float]:
    """The shares, 0 to 1, that `right` of `count` samples are compatible with: 95 %.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927. Unlike a
    mean with its standard error it stays within 0 and 1, and is honest about few samples and about all or
    none. Raises `ValueError` without samples, or with more right ones than there are.
    """
    if not 0 <= right <= count or count == 0:
        raise ValueError(f"{right} of {count} is no share")
    z = NORMAL_95**2 / count
    share = right / count
    middle = (share + z / 2.0) / (1.0 + z)
    half = math.sqrt(z * share * (1.0 - share) + z * z / 4.0) / (1.0 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration_error(P: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """By how much certainty and success differ: the mean over ten bins of equal width, by their samples.

    `P` [n, C] are probabilities, `right` [n] says whether the most probable class was the true one. (Expected
    calibration error: Guo and others, On Calibration of Modern Neural Networks, ICML 2017.)
    """
    sure = P.max(axis=1)
    bins = np.minimum((sure * BINS).astype(np.intp), BINS - 1)
    certain = np.bincount(bins, weights=sure, minlength=BINS)
    succeeded = np.bincount(bins, weights=right.astype(np.float64), minlength=BINS)
    return float(np.abs(certain - succeeded).sum() / len(sure))
