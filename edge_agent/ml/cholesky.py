"""This is where a symmetric positive definite matrix is factorised, and what that makes cheap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]

BLOCK = 64
"""Rows of a diagonal block. Nearly all of the work is then the products of matrices between blocks, which are
fast, and numpy has no triangular solve of its own."""


@dataclass(frozen=True)
class Cholesky:
    """A = L L' with `lower` L [D, D], float32 or float64, and the inverses of its diagonal blocks."""

    lower: Rows
    inverses: tuple[Rows, ...]

    @classmethod
    def of(cls, A: NDArray[np.float64]) -> Self:
        """Factorise A [D, D], which is overwritten; raises `numpy.linalg.LinAlgError` where it is not positive."""
        D = len(A)
        inverses = []
        for start in range(0, D, BLOCK):
            end = min(start + BLOCK, D)
            before = A[start:, :start]
            if start:
                A[start:, start:end] -= before @ before[: end - start].T
            block = np.linalg.cholesky(A[start:end, start:end])
            A[start:end, start:end] = block
            A[:start, start:end] = 0.0
            inverses.append(np.linalg.inv(block))
            A[end:, start:end] = A[end:, start:end] @ inverses[-1].T
        return cls(A, tuple(inverses))

    @classmethod
    def from_packed(cls, packed: Rows, D: int) -> Self:
        """From what `packed` gave, in its precision."""
        lower = np.zeros((D, D), dtype=packed.dtype)
        for row in range(D):
            begin = row * (row + 1) // 2
            lower[row, : row + 1] = packed[begin : begin + row + 1]
        inverses = [
            np.linalg.inv(lower[start : start + BLOCK, start : start + BLOCK]) for start in range(0, D, BLOCK)
        ]
        return cls(lower, tuple(inverses))

    def packed(self) -> NDArray[np.float32]:
        """L row by row without what lies above its diagonal: float32 [D (D + 1) / 2]."""
        return np.concatenate(
            [self.lower[row, : row + 1] for row in range(len(self.lower))], dtype=np.float32
        )

    def half(self, rows: Rows) -> Rows:
        """H [n, D] of rows [n, D] with h = L^-1 x, so that products of its rows are x' A^-1 z."""
        rows = rows.astype(self.lower.dtype, copy=False)
        H = np.empty_like(rows)
        for start, inverse in zip(range(0, rows.shape[1], BLOCK), self.inverses, strict=True):
            end = start + len(inverse)
            H[:, start:end] = (
                rows[:, start:end] - H[:, :start] @ self.lower[start:end, :start].T
            ) @ inverse.T
        return H

    def back(self, H: Rows) -> Rows:
        """Rows x A^-1 [n, D] of what `half` gave for rows x."""
        W = np.empty_like(H)
        starts = range(0, H.shape[1], BLOCK)
        for start, inverse in zip(reversed(starts), reversed(self.inverses), strict=True):
            end = start + len(inverse)
            W[:, start:end] = (H[:, start:end] - W[:, end:] @ self.lower[end:, start:end]) @ inverse
        return W

    def solve(self, rows: Rows) -> Rows:
        """Rows [n, D] times A^-1."""
        return self.back(self.half(rows))
