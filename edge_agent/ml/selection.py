"""This is where it is decided which pictures without a label teach the most once they have one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.transforms import signed_root

ENOUGH = 5
"""Until every known label has so many pictures, variety counts; afterwards doubt."""
WIDTH = 0.3
"""How far a picture speaks for others: by exp(-1) where the cosine is 1 - WIDTH."""
NEAR = float(np.exp(-1.0))
"""A picture is said to stand for those that it speaks for as much as that."""
MOST_COMPARED = 2000
"""So many candidates are held against each other, of more every so many-th: memory is 4 bytes for each pair."""
_BLOCK = 256

Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ReviewPool:
    """Pictures without a label, and what is known: all that is needed to say which to label first."""

    candidates: tuple[str, ...]
    """Their names, each once."""
    features: NDArray[np.float32]
    """[n, n_features]: of the candidates."""
    labels: tuple[str, ...]
    """What the current version knows; empty before there is one."""
    probabilities: NDArray[np.float64]
    """[n, number of labels]: what it says of each candidate."""
    labelled: NDArray[np.float32]
    """[m, n_features]: of pictures that have a label, at most 2,000 of them."""
    counts: Mapping[str, int]
    """How many pictures each label has."""
    wanted: int
    """How many suggestions are asked for; fewer may be given."""


@dataclass(frozen=True)
class Suggestion:
    """A candidate that should get a label."""

    candidate: str
    reason: str
    """Why, in a few words for a person."""


def check_suggestions(given: Sequence[object], pool: ReviewPool) -> None:
    """Raise `TypeError` or `ValueError` for what is no list of different candidates, each with its reason."""
    known = set(pool.candidates)
    for one in given:
        if not (isinstance(one, Suggestion) and isinstance(one.reason, str)):
            raise TypeError(f"expected Suggestion(candidate: str, reason: str), got {one!r}")
        if one.candidate not in known:
            raise ValueError(f"{one.candidate!r} is no candidate of the pool, or was suggested before")
        known.remove(one.candidate)


def suggestions(pool: ReviewPool) -> list[Suggestion]:
    """The candidates to label first, the best first: the most telling ones, later the most doubtful ones.

    As long as a label has fewer than `ENOUGH` pictures those are taken that stand for the most others (greedy
    kernel herding); then those between whose two likeliest labels the version decides least (margin).
    """
    known = [pool.counts.get(label, 0) for label in pool.labels]
    if len(known) < 2 or min(known) < ENOUGH:
        return [
            Suggestion(pool.candidates[row], _stands_for(others))
            for row, others in herded(pool.features, pool.labelled, pool.wanted)
        ]
    return [
        Suggestion(pool.candidates[row], _between(pool.labels, pool.probabilities[row]))
        for row in doubtful(pool.probabilities, pool.wanted)
    ]


def herded(X: Matrix, labelled: Matrix, wanted: int) -> list[tuple[int, int]]:
    """Rows of X [n, D], the most telling first, each with how many other rows it stands for better than any before.

    Each next one raises the mean over all rows of the likeness exp((cos - 1) / WIDTH) to the nearest chosen or
    labelled one [m, D] the most (greedy coverage, "MaxHerding" of Bae, Noh and Sutherland, 2024), cosines of signed
    roots. Of rows that raise it alike the first counts. Time is O(n (n + m) D + wanted n n).
    """
    step = max(1, -(-len(X) // MOST_COMPARED))
    rows = np.arange(0, len(X), step)
    Z = signed_root(X[rows]).astype(np.float32)
    K = np.exp((Z @ Z.T - 1.0) / WIDTH)
    best = np.zeros(len(rows), dtype=np.float32)
    for start in range(0, len(labelled), _BLOCK):
        L = signed_root(labelled[start : start + _BLOCK]).astype(np.float32)
        np.maximum(best, np.exp((Z @ L.T - 1.0) / WIDTH).max(axis=1, initial=0.0), out=best)
    left = np.ones(len(rows), dtype=np.bool_)
    found: list[tuple[int, int]] = []
    while left.any() and len(found) < wanted:
        gains = np.where(left, _gains(K, best), -1.0)
        at = int(gains.argmax())
        left[at] = False
        found.append((int(rows[at]), step * int(((K[at] > best) & (K[at] >= NEAR) & left).sum())))
        best = np.maximum(best, K[at])
    return found


def doubtful(P: NDArray[np.float64], wanted: int) -> list[int]:
    """Rows of probabilities [n, C], C at least 2, whose two greatest differ least; equals in their order."""
    top = np.partition(P, -2, axis=1)[:, -2:]
    return [int(row) for row in np.argsort(top[:, 1] - top[:, 0], kind="stable")[:wanted]]


def _gains(K: Matrix, best: Matrix) -> NDArray[np.float64]:
    """By how much each column raises the sum of what stands for the rows, block by block."""
    gains = np.zeros(K.shape[1])
    for start in range(0, len(K), _BLOCK):
        block = slice(start, start + _BLOCK)
        gains += np.maximum(K[block] - best[block, None], 0.0).sum(axis=0, dtype=np.float64)
    return gains


def _stands_for(others: int) -> str:
    if not others:
        return "unlike everything that has a label"
    return (
        f"stands for {others} other picture{'' if others == 1 else 's'} that nothing labelled is as near to"
    )


def _between(labels: tuple[str, ...], row: NDArray[np.float64]) -> str:
    first, second = np.argsort(-row, kind="stable")[:2]
    return f"{labels[first]} ({100 * row[first]:.0f} %) or {labels[second]} ({100 * row[second]:.0f} %)?"
