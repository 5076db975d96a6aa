"""This is where the stored vectors nearest to a query are found: by looking at all, or through a k-d tree.

Both ways give the same neighbours, distances and order, bit for bit: distances are squared Euclidean in
float64, summed in one way only, and of equally distant rows those stored earlier come first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]
Rows = NDArray[np.float32]

_CELLS = 1 << 20
"""How many distances are held at once while all rows are looked at."""
_BLOCK_ROWS = 2048
_EPS = float(np.finfo(np.float64).eps)


def squared_distances(rows: Rows, query: Rows) -> Matrix:
    """Squared Euclidean distances [n] of rows [n, D] to one query [D]; the same bits in whatever company."""
    difference = np.subtract(rows, query, dtype=np.float64)
    np.multiply(difference, difference, out=difference)
    distances: Matrix = np.add.reduce(difference, axis=1)
    return distances


def _first(distances: Matrix, indices: Indices, k: int) -> tuple[Matrix, Indices]:
    """The k smallest in order; of equal ones the smallest index first."""
    order = np.lexsort((indices, distances))[:k]
    return distances[order], indices[order]


class NeighborIndex(Protocol):
    """Something that knows rows [n, D] and finds the nearest of them."""

    def nearest(self, queries: Rows, k: int) -> tuple[Matrix, Indices]:
        """Squared distances and indices [m, min(k, n)] for queries [m, D], the nearest first."""


class LinearIndex:
    """Looks at all rows: quick to make, and the better one in many dimensions."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lengths = np.empty(len(rows))
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS].astype(np.float64)
            self._lengths[start : start + _BLOCK_ROWS] = np.einsum("ij,ij->i", block, block)

    def nearest(self, queries: Rows, k: int) -> tuple[Matrix, Indices]:
        """As the protocol says."""
        n = len(self._rows)
        k = min(k, n)
        distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.intp)
        step = max(1, _CELLS // n)
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            for at, candidates in enumerate(self._candidates(some, k), start=start):
                exact = squared_distances(self._rows[candidates], queries[at])
                distances[at], indices[at] = _first(exact, candidates, k)
        return distances, indices

    def _candidates(self, queries: Rows, k: int) -> list[Indices]:
        """For each query the rows that can be among its k nearest.

        |x|^2 - 2 x'q + |q|^2 by one matrix product is quick, but rounded: it is off by at most about
        D eps (|x| + |q|)^2 (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). What lies within
        twice that of the k-th is looked at exactly.
        """
        Q = queries.astype(np.float64)
        own = np.einsum("ij,ij->i", Q, Q)
        rough = np.empty((len(Q), len(self._rows)))
        for start in range(0, len(self._rows), _BLOCK_ROWS):
            rows = self._rows[start : start + _BLOCK_ROWS].astype(np.float64)
            rough[:, start : start + len(rows)] = Q @ rows.T
        rough *= -2.0
        rough += self._lengths
        rough += own[:, None]
        scale = (np.sqrt(self._lengths.max()) + np.sqrt(own)) ** 2
        limit = np.partition(rough, k - 1, axis=1)[:, k - 1] + 8.0 * (Q.shape[1] + 8) * _EPS * scale
        return [np.flatnonzero(row <= most) for row, most in zip(rough, limit, strict=True)]


@dataclass(frozen=True)
class _Node:
    low: Matrix
    high: Matrix
    members: Indices | None
    """Indices of a leaf's rows; None for a node with children."""
    children: tuple[_Node, ...] = ()

    def bound(self, query: Rows) -> float:
        """No row in here is nearer; also in rounded numbers, as each term and the way of summing are alike."""
        outside = np.maximum(np.subtract(self.low, query, dtype=np.float64), 0.0)
        np.maximum(outside, np.subtract(query, self.high, dtype=np.float64), out=outside)
        np.multiply(outside, outside, out=outside)
        return float(np.add.reduce(outside[None, :], axis=1)[0])


class KdTreeIndex:
    """A k-d tree (Bentley, CACM 1975) with boxes: split at the median of the widest side, at most `leaf_size`
    rows a leaf. Worth its making in few dimensions; in many it ends up looking at all rows."""

    def __init__(self, rows: Rows, leaf_size: int = 30) -> None:
        self._rows = rows
        self._leaf_size = leaf_size
        self._root = self._node(np.arange(len(rows), dtype=np.intp))

    def _node(self, members: Indices) -> _Node:
        rows = self._rows[members]
        low, high = rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64)
        side = int((high - low).argmax())
        if len(members) <= self._leaf_size or high[side] == low[side]:
            return _Node(low, high, members)
        half = len(members) // 2
        order = np.argpartition(rows[:, side], half)
        # Halves by rank, not by value: the depth is that of a balanced tree however many rows are alike.
        return _Node(low, high, None, (self._node(members[order[:half]]), self._node(members[order[half:]])))

    def nearest(self, queries: Rows, k: int) -> tuple[Matrix, Indices]:
        """As the protocol says."""
        found = [self._search(query, min(k, len(self._rows))) for query in queries]
        k = min(k, len(self._rows))
        if not found:
            return np.empty((0, k)), np.empty((0, k), dtype=np.intp)
        return np.stack([one for one, _ in found]), np.stack([other for _, other in found])

    def _search(self, query: Rows, k: int) -> tuple[Matrix, Indices]:
        distances, indices = np.empty(0), np.empty(0, dtype=np.intp)
        waiting = [(0.0, self._root)]
        while waiting:
            bound, node = waiting.pop()
            # An equally near row may have a smaller index, so a box is left out only when it is farther.
            if len(distances) == k and bound > distances[-1]:
                continue
            if node.members is None:
                both = [(child.bound(query), child) for child in node.children]
                waiting += sorted(both, key=lambda one: -one[0])
                continue
            exact = squared_distances(self._rows[node.members], query)
            distances, indices = _first(
                np.concatenate([distances, exact]), np.concatenate([indices, node.members]), k
            )
        return distances, indices


def inverse_distance_weights(distances: Matrix) -> Matrix:
    """1 / distance [m, k], times the least distance, which keeps it from overflowing and changes no share.

    Where a query lies on neighbours, only those count, as in scikit-learn.
    """
    nearest = distances[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: Matrix = np.where(nearest > 0.0, nearest / distances, distances == 0.0)
    return shares


def unit_rows(X: Rows) -> Rows:
    """Rows of length 1, float32; half the squared distance of two of them is their cosine distance.

    A row of zeros stays zero, and so lies at 0.5 from every other.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", X, X, dtype=np.float64))
    lengths[lengths == 0.0] = 1.0
    rows: Rows = (X / lengths[:, None]).astype(np.float32)
    return rows
