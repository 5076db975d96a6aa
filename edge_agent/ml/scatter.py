"""This is where the spread of samples around their means is kept, ready to be inverted with a ridge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.arrays import stored_array
from edge_agent.ml.cholesky import Cholesky
from edge_agent.ml.triangle import Triangle

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]


class Look(Protocol):
    """Some rows x [n, D] seen through (S + r I)^-1, for any ridge r above 0."""

    def quadratic(self, ridge: float) -> Matrix:
        """x' (S + r I)^-1 x [n]."""

    def pairs(self, rows: Indices, ridge: float) -> Matrix:
        """x' (S + r I)^-1 z [k, k] for all pairs of the chosen rows."""

    def solved(self, ridge: float) -> Matrix:
        """Rows times (S + r I)^-1 [n, D]."""

    def cross(self, other: Any, ridge: float) -> Matrix:
        """x' (S + r I)^-1 b [n, m] for the rows b [m, D] of another look at the same scatter."""


class Scatter(Protocol):
    """A positive semi-definite matrix S [D, D]."""

    @property
    def trace(self) -> float:
        """The sum of its eigenvalues."""

    def scaled(self, factor: float) -> Scatter:
        """The same times a number above 0."""

    def quadratic(self, rows: Matrix, ridge: float) -> Matrix:
        """x' (S + r I)^-1 x [n] of rows [n, D], in the precision that is stored."""

    def look(self, rows: Matrix) -> Look:
        """Rows [n, D] seen through the inverse with several ridges."""

    def arrays(self, ridge: float) -> dict[str, NDArray[Any]]:
        """What is stored of it, float32 where it is large; the inverse with this ridge will be asked for."""

    def as_stored(self, ridge: float) -> Scatter:
        """The same as it is when it was stored and read again."""


@dataclass(frozen=True)
class SpannedScatter:
    """S = axes' diag(eigenvalues) axes, with eigenvalues [r] and orthonormal axes [r, D].

    r is at most the number of rows it was made of, so with few samples no D x D matrix is ever formed, and
    every ridge costs the same as the first.
    """

    eigenvalues: Matrix
    axes: NDArray[np.floating]

    @classmethod
    def from_rows(cls, B: Matrix) -> Self:
        """S = B' B from rows [n, D], through the n x n matrix B B'."""
        eigenvalues, vectors = np.linalg.eigh(B @ B.T)
        # Below this the axis is made of rounding, and its share in any ridged inverse is smaller than
        # rounding too.
        keep = eigenvalues > max(float(eigenvalues[-1]), 0.0) * 1e-13 if len(B) else np.zeros(0, dtype=bool)
        kept = eigenvalues[keep]
        axes = vectors[:, keep].T @ B
        axes /= np.sqrt(kept)[:, None]
        return cls(kept, axes)

    @classmethod
    def from_matrix(cls, S: Matrix) -> Self:
        """From the matrix itself [D, D]; eigenvalues below zero are rounding and become zero."""
        eigenvalues, vectors = np.linalg.eigh(S)
        return cls(np.maximum(eigenvalues, 0.0), vectors.T)

    @classmethod
    def of_nothing(cls, n_features: int) -> Self:
        """The zero matrix."""
        return cls(np.zeros(0), np.zeros((0, n_features), dtype=np.float32))

    @property
    def trace(self) -> float:
        """The sum of the eigenvalues."""
        return float(self.eigenvalues.sum())

    def scaled(self, factor: float) -> SpannedScatter:
        """The same times a number."""
        return SpannedScatter(self.eigenvalues * factor, self.axes)

    def rows(self) -> Matrix:
        """Rows [r, D] with rows' rows = S, to be stacked with those of other scatters."""
        return np.asarray(np.sqrt(self.eigenvalues)[:, None] * self.axes, dtype=np.float64)

    def share(self, ridge: float) -> Matrix:
        """By how much r (S + r I)^-1 shortens a vector along each axis [r], 0 to 1."""
        return self.eigenvalues / (self.eigenvalues + ridge)

    def quadratic(self, rows: Matrix, ridge: float) -> Matrix:
        """In the precision of the axes."""
        inside = np.asarray(rows.astype(self.axes.dtype, copy=False) @ self.axes.T, dtype=np.float64)
        np.square(inside, out=inside)
        return np.asarray((np.einsum("nd,nd->n", rows, rows) - inside @ self.share(ridge)) / ridge)

    def look(self, rows: Matrix) -> SpannedLook:
        """The products with the axes are made once for all ridges."""
        return SpannedLook(self, rows)

    def arrays(self, ridge: float) -> dict[str, NDArray[Any]]:  # noqa: ARG002 - any ridge is as good
        """Eigenvalues and axes."""
        return {"eigenvalues": self.eigenvalues, "axes": self.axes.astype(np.float32, copy=False)}

    def as_stored(self, ridge: float) -> SpannedScatter:  # noqa: ARG002
        """With axes in float32."""
        return SpannedScatter(self.eigenvalues, self.axes.astype(np.float32, copy=False))


class SpannedLook:
    """Rows in the axes of a `SpannedScatter`."""

    def __init__(self, scatter: SpannedScatter, rows: Matrix) -> None:
        self._scatter = scatter
        self._rows = rows
        self._inside = np.asarray(rows @ scatter.axes.T, dtype=np.float64)
        self._other: SpannedLook | None = None
        self._plain = np.zeros((0, 0))

    @cached_property
    def _lengths(self) -> Matrix:
        return np.asarray(np.einsum("nd,nd->n", self._rows, self._rows))

    @cached_property
    def _squares(self) -> Matrix:
        return np.square(self._inside)

    def quadratic(self, ridge: float) -> Matrix:
        """One product of a matrix and a vector for each ridge."""
        return np.asarray((self._lengths - self._squares @ self._scatter.share(ridge)) / ridge)

    def pairs(self, rows: Indices, ridge: float) -> Matrix:
        """By Woodbury's identity."""
        x, inside = self._rows[rows], self._inside[rows]
        return np.asarray((x @ x.T - (inside * self._scatter.share(ridge)) @ inside.T) / ridge)

    def solved(self, ridge: float) -> Matrix:
        """By Woodbury's identity."""
        share = self._scatter.share(ridge)
        return np.asarray((self._rows - (self._inside * share) @ self._scatter.axes) / ridge)

    def cross(self, other: SpannedLook, ridge: float) -> Matrix:
        """Likewise; what does not depend on the ridge is made once for each look that is kept."""
        if self._other is not other:
            self._other, self._plain = other, self._rows @ other._rows.T
        return np.asarray(
            (self._plain - self._inside @ (other._inside * self._scatter.share(ridge)).T) / ridge
        )


class FullScatter:
    """S as a whole matrix, and as its factor with a ridge, which takes its place; any other ridge makes it anew."""

    def __init__(
        self,
        matrix: Triangle | None,
        factor: tuple[float, Cholesky] | None = None,
        trace: float | None = None,
    ) -> None:
        """`matrix` is overwritten as soon as a ridge is known; without it there is a factor, which stays."""
        self._matrix = matrix
        self._given = factor
        self._other: tuple[float, Cholesky] | None = None
        assert matrix is not None or factor is not None, "a scatter of nothing"
        self.trace = float(self.matrix.diagonal.sum()) if trace is None else trace
        """The sum of the diagonal."""

    @property
    def matrix(self) -> Triangle:
        """S itself, not to be changed; to float32 where it comes from a stored factor."""
        if self._matrix is not None:
            return self._matrix
        known = self._given or self._other
        assert known is not None
        ridge, factor = known
        return factor.product(-ridge)

    def scaled(self, factor: float) -> FullScatter:
        """The same times a number."""
        if self._given is None:
            return FullScatter(self.matrix.scaled(factor))
        ridge, whole = self._given
        return FullScatter(None, (ridge * factor, whole.scaled(factor)), self.trace * factor)

    def factor(self, ridge: float) -> Cholesky:
        """Of S + r I; the one it was made from is kept, and the last other one."""
        for known in (self._given, self._other):
            if known is not None and np.isclose(known[0], ridge, rtol=1e-12, atol=0.0):
                return known[1]
        A = self.matrix
        # The two would take as much memory as anything else that learns; S comes back from L L' as good as it was.
        self._matrix = self._other = None
        A.add_diagonal(ridge)
        self._other = (ridge, Cholesky.of(A))
        return self._other[1]

    def quadratic(self, rows: Matrix, ridge: float) -> Matrix:
        """By forward substitution."""
        H = self.factor(ridge).half(rows)
        return np.asarray(np.einsum("nd,nd->n", H, H), dtype=np.float64)

    def look(self, rows: Matrix) -> FullLook:
        """Each ridge costs a factor and a substitution."""
        return FullLook(self, rows)

    def arrays(self, ridge: float) -> dict[str, NDArray[Any]]:
        """The factor with this ridge."""
        return {"factor": self.factor(ridge).packed(), "trace": np.array([self.trace])}

    def as_stored(self, ridge: float) -> FullScatter:
        """The factor with this ridge, in float32."""
        return FullScatter(None, (ridge, self.factor(ridge).rounded()), self.trace)


class FullLook:
    """Rows after forward substitution in the factor of a `FullScatter`."""

    def __init__(self, scatter: FullScatter, rows: Matrix) -> None:
        self._scatter = scatter
        self._rows = rows
        self._halves: dict[float, Matrix] = {}

    def _half(self, ridge: float) -> Matrix:
        if ridge not in self._halves:
            self._halves.clear()  # they are large, and a ridge is done with before the next
            self._halves[ridge] = self._scatter.factor(ridge).half(self._rows)
        return self._halves[ridge]

    def quadratic(self, ridge: float) -> Matrix:
        """Squared lengths."""
        H = self._half(ridge)
        return np.asarray(np.einsum("nd,nd->n", H, H))

    def pairs(self, rows: Indices, ridge: float) -> Matrix:
        """Products of rows."""
        H = self._half(ridge)[rows]
        return np.asarray(H @ H.T)

    def solved(self, ridge: float) -> Matrix:
        """By backward substitution."""
        return np.asarray(self._scatter.factor(ridge).back(self._half(ridge)), dtype=np.float64)

    def cross(self, other: FullLook, ridge: float) -> Matrix:
        """Products of the rows of both."""
        return np.asarray(self._half(ridge) @ other._half(ridge).T)


def stored_scatter(arrays: Mapping[str, NDArray[Any]], n_features: int, ridge: float) -> Scatter:
    """What `Scatter.arrays(ridge)` gave; raises `MLModelError` IO for what it cannot have given."""
    if "factor" not in arrays:
        eigenvalues = stored_array(arrays, "eigenvalues", (None,))
        return SpannedScatter(
            eigenvalues, stored_array(arrays, "axes", (len(eigenvalues), n_features), np.float32)
        )
    packed = stored_array(arrays, "factor", (n_features * (n_features + 1) // 2,), np.float32)
    diagonal = packed[np.cumsum(np.arange(1, n_features + 1)) - 1]
    if not ridge > 0.0 or not (diagonal > 0.0).all():
        raise MLModelError(MLModelErrorCode.IO, "a learned number is not in its range")
    trace = float(stored_array(arrays, "trace", (1,))[0])
    return FullScatter(None, (ridge, Cholesky.from_packed(packed, n_features)), trace)
