"""This is where pictures that show the same are found: copies, and the frames of a burst."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SAME_COSINE = 0.95
"""Features of two pictures that point so much the same way are those of one picture, cut, mirrored or brightened."""
SAME_BITS = 5
"""Difference hashes of two pictures that differ in so few of 64 bits are those of one picture, re-encoded or scaled."""
LEAST_COSINE = 0.6
"""A hash alone is not believed: two empty walls have the same."""
PIECE = 1000
"""So many pictures of a label are held against each other, so that the work grows with the pictures and not with
their square."""
COMPARED = 500
"""So many pictures say how alike pictures of different labels are."""
_BLOCK = 256

Indices = NDArray[np.intp]


def unit_rows(X: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows of length one, float32 [n, D]; a row of zeros stays."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(length > 0.0, length, 1.0), dtype=np.float32)


def same_cosine(X: NDArray[np.floating], y: Indices) -> float:
    """From which cosine on rows of features [n, D] with classes [n] show the same: `SAME_COSINE`, or more.

    A camera that never moves gives pictures that are all alike. Copies are more alike than nineteen of twenty
    pairs of pictures of different labels; every so many-th row is looked at.
    """
    step = -(-len(X) // COMPARED)
    U, of = unit_rows(X[:: step or 1]), y[:: step or 1]
    apart = (U @ U.T)[of[:, None] != of]
    return max(SAME_COSINE, float(np.quantile(apart, 0.95))) if len(apart) else SAME_COSINE


def copy_groups(
    X: NDArray[np.floating], hashes: Mapping[int, int] | None = None, cosine: float = SAME_COSINE
) -> Indices:
    """For each row of features [n, D] the first row that shows the same [n]; itself where none comes before it.

    Rows join the first picture that they resemble, never a picture that only resembles it: a slow pan of a
    camera is no single picture. `hashes` are difference hashes of 64 bits, of the rows that have one.
    Time is O(n n D), memory O(n D).
    """
    U = unit_rows(X)
    n = len(U)
    first = np.arange(n, dtype=np.intp)
    free = np.ones(n, dtype=np.bool_)
    bits = np.zeros(n, dtype=np.uint64)
    hashed = np.zeros(n, dtype=np.bool_)
    for row, value in (hashes or {}).items():
        bits[row], hashed[row] = value, True
    for start in range(0, n, _BLOCK):
        cosines = U[start : start + _BLOCK] @ U[start:].T
        for row, alike in enumerate(cosines, start):
            if not free[row]:
                continue
            free[row] = False
            same = (alike >= cosine) & free[start:]
            if hashed[row]:
                near = hashed[start:] & free[start:] & (alike >= LEAST_COSINE)
                same |= near & _few_bits(bits[start:] ^ bits[row])
            found = start + np.flatnonzero(same)
            first[found] = row
            free[found] = False
    return first


def capped(X: NDArray[np.floating], most: int) -> Indices:
    """Which rows [m] of one label's features [n, D] are learned from: of those that show the same, the first `most`.

    Each `PIECE` rows are looked at by themselves.
    """
    kept = []
    for start in range(0, len(X), PIECE):
        groups = copy_groups(X[start : start + PIECE])
        kept.append(start + np.flatnonzero(_places(groups) < most))
    return np.concatenate(kept) if kept else np.zeros(0, dtype=np.intp)


def close_pairs(X: NDArray[np.floating], groups: Indices, above: float, most: int) -> Indices:
    """Rows, at most `most` of them, in pairs that resemble each other but not enough to be sure; the likeliest first.

    `groups` are those of `copy_groups`; pairs within one are left out.
    """
    U = unit_rows(X)
    best = np.zeros(len(U), dtype=np.float32)
    for start in range(0, len(U), _BLOCK):
        S = U[start : start + _BLOCK] @ U.T
        S[groups[start : start + _BLOCK, None] == groups] = 0.0
        best[start : start + _BLOCK] = S.max(axis=1, initial=0.0)
    order = np.argsort(-best, kind="stable")[:most]
    return np.asarray(order[best[order] >= above], dtype=np.intp)


def _places(groups: Indices) -> Indices:
    """The place of each row in its group, counted from 0."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, int)
    sizes = np.diff(np.r_[begins, len(ordered)])
    places = np.empty(len(groups), dtype=np.intp)
    places[order] = np.arange(len(ordered)) - np.repeat(begins, sizes)
    return places


def _few_bits(bits: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether at most `SAME_BITS` of each number's bits are set; numpy counts them from 2.0 on only."""
    return np.asarray(np.unpackbits(bits[:, None].view(np.uint8), axis=1).sum(axis=1) <= SAME_BITS)
