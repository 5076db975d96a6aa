"""This is where a symmetric positive definite matrix is factorised, and what that makes cheap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.triangle import Triangle

Rows = NDArray[Any]


@dataclass(frozen=True)
class Cholesky:
    """A = L L' with `lower` L [D, D], float32 or float64, and the inverses of its diagonal blocks.

    numpy has no triangular solve of its own; with the inverses all of the work is products of matrices.
    """

    lower: Triangle
    inverses: tuple[Rows, ...]

    @classmethod
    def of(cls, A: Triangle) -> Self:
        """Factorise A, which is overwritten; raises `numpy.linalg.LinAlgError` where it is not positive."""
        inverses: list[Rows] = []
        for start, block in zip(A.starts, A.blocks, strict=True):
            for before, other, inverse in zip(A.starts, A.blocks, inverses, strict=False):
                end = before + len(other)
                block[:, before:end] -= block[:, :before] @ other[:, :before].T
                block[:, before:end] = block[:, before:end] @ inverse.T
            block[:, start:] -= block[:, :start] @ block[:, :start].T
            block[:, start:] = np.linalg.cholesky(block[:, start:])
            inverses.append(np.linalg.inv(block[:, start:]))
        return cls(A, tuple(inverses))

    @classmethod
    def from_packed(cls, packed: Rows, D: int) -> Self:
        """From what `packed` gave, in its precision."""
        return cls._with_inverses(Triangle.from_packed(packed, D))

    @classmethod
    def _with_inverses(cls, lower: Triangle) -> Self:
        pairs = zip(lower.starts, lower.blocks, strict=True)
        return cls(lower, tuple(np.linalg.inv(block[:, start:]) for start, block in pairs))

    def packed(self) -> NDArray[np.float32]:
        """L row by row without what lies above its diagonal: float32 [D (D + 1) / 2]."""
        return np.asarray(self.lower.packed(np.float32))

    def rounded(self) -> Cholesky:
        """The same as `packed` and `from_packed` make it: in float32."""
        return self._with_inverses(
            Triangle([block.astype(np.float32, copy=False) for block in self.lower.blocks])
        )

    def scaled(self, factor: float) -> Cholesky:
        """Of A times a number above 0, in the same precision."""
        root = float(np.sqrt(factor))
        return Cholesky(self.lower.scaled(root), tuple(one / one.dtype.type(root) for one in self.inverses))

    def product(self, diagonal: float = 0.0) -> Triangle:
        """A again, with a number added to its diagonal, in float64."""
        A = Triangle.zeros(len(self.lower))
        wide = [block.astype(np.float64, copy=False) for block in self.lower.blocks]
        for mine, block in zip(wide, A.blocks, strict=True):
            for start, other in zip(A.starts, wide, strict=True):
                end = other.shape[1]
                if end > block.shape[1]:
                    break
                block[:, start:end] = mine[:, :end] @ other.T
        A.add_diagonal(diagonal)
        return A

    def half(self, rows: Rows) -> Rows:
        """H [n, D] of rows [n, D] with h = L^-1 x, so that products of its rows are x' A^-1 z."""
        H = rows.astype(self.inverses[0].dtype if self.inverses else rows.dtype)
        for start, block, inverse in zip(self.lower.starts, self.lower.blocks, self.inverses, strict=True):
            end = start + len(block)
            H[:, start:end] = (H[:, start:end] - H[:, :start] @ block[:, :start].T) @ inverse.T
        return H

    def back(self, H: Rows) -> Rows:
        """Rows x A^-1 [n, D] of what `half` gave for rows x."""
        W = H.copy()
        parts = zip(self.lower.starts, self.lower.blocks, self.inverses, strict=True)
        for start, block, inverse in reversed(list(parts)):
            end = start + len(block)
            W[:, start:end] = W[:, start:end] @ inverse
            W[:, :start] -= W[:, start:end] @ block[:, :start]
        return W

    def solve(self, rows: Rows) -> Rows:
        """Rows [n, D] times A^-1."""
        return self.back(self.half(rows))
