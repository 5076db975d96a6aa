"""This is where a symmetric matrix is kept as what lies up to its diagonal, in half of the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

Rows = NDArray[Any]

BLOCK = 64
"""Rows of a block. Nearly all of the work is then products of matrices, which are fast, and what is made on the way
is as large as one block."""


class Triangle:
    """Rows of a matrix [D, D], in blocks that end with their last diagonal element.

    A block of the rows a to b is an array [b - a, b]. What lies above the diagonal in it is the same as below where
    the matrix is symmetric, and 0 where this is a factor.
    """

    def __init__(self, blocks: list[Rows]) -> None:
        self.blocks = blocks

    @classmethod
    def zeros(cls, D: int, dtype: DTypeLike = np.float64) -> Self:
        """Of nothing but 0."""
        ends = [min(start + BLOCK, D) for start in range(0, D, BLOCK)]
        return cls([np.zeros((end - BLOCK * at, end), dtype=dtype) for at, end in enumerate(ends)])

    @classmethod
    def of(cls, matrix: Rows) -> Self:
        """What a matrix [D, D] has there; the rest is taken to be the same."""
        triangle = cls.zeros(len(matrix), matrix.dtype)
        for start, block in zip(triangle.starts, triangle.blocks, strict=True):
            block[:] = matrix[start : start + len(block), : block.shape[1]]
        return triangle

    @classmethod
    def from_packed(cls, packed: Rows, D: int) -> Self:
        """From D (D + 1) / 2 numbers row by row, in their precision; 0 above the diagonal."""
        triangle = cls.zeros(D, packed.dtype)
        for start, block in zip(triangle.starts, triangle.blocks, strict=True):
            for row in range(start, start + len(block)):
                begin = row * (row + 1) // 2
                block[row - start, : row + 1] = packed[begin : begin + row + 1]
        return triangle

    def __len__(self) -> int:
        return self.blocks[-1].shape[1] if self.blocks else 0

    @property
    def starts(self) -> range:
        """The first row of each block."""
        return range(0, len(self), BLOCK)

    @property
    def diagonal(self) -> Rows:
        """[D]."""
        parts = [block.diagonal(start) for start, block in zip(self.starts, self.blocks, strict=True)]
        return np.concatenate(parts) if parts else np.zeros(0)

    @property
    def largest(self) -> float:
        """The greatest absolute value, 0 of nothing."""
        return max((float(max(block.max(), -block.min())) for block in self.blocks), default=0.0)

    def parts(self) -> Iterator[Rows]:
        """What `packed` gives, a block at a time."""
        for start, block in zip(self.starts, self.blocks, strict=True):
            yield np.concatenate([row[: start + at + 1] for at, row in enumerate(block)])

    def packed(self, dtype: DTypeLike | None = None) -> Rows:
        """Row by row without what lies above the diagonal [D (D + 1) / 2]."""
        D, at = len(self), 0
        numbers = np.empty(D * (D + 1) // 2, dtype=dtype or (self.blocks[0].dtype if D else np.float64))
        for part in self.parts():
            numbers[at : at + len(part)] = part
            at += len(part)
        return numbers

    def square(self) -> Rows:
        """The whole symmetric matrix [D, D]."""
        matrix = np.zeros((len(self), len(self)), dtype=self.blocks[0].dtype if self.blocks else np.float64)
        for start, block in zip(self.starts, self.blocks, strict=True):
            end = start + len(block)
            lower = np.tril(block[:, start:])
            matrix[start:end, :start] = block[:, :start]
            matrix[:start, start:end] = block[:, :start].T
            matrix[start:end, start:end] = lower + np.tril(lower, -1).T
        return matrix

    def mirror(self) -> Self:
        """Repeat in the blocks on the diagonal what is below it above it; returns this one."""
        for start, block in zip(self.starts, self.blocks, strict=True):
            lower = np.tril(block[:, start:])
            block[:, start:] = lower + np.tril(lower, -1).T
        return self

    def copy(self) -> Triangle:
        """Another one of the same numbers."""
        return Triangle([block.copy() for block in self.blocks])

    def scaled(self, factor: float) -> Triangle:
        """The same times a number, in the same precision."""
        return Triangle([block * block.dtype.type(factor) for block in self.blocks])

    def add_products(self, B: Rows, sign: float = 1.0) -> None:
        """Add B' B of rows B [n, D], or take it away with a sign of -1."""
        for start, block in zip(self.starts, self.blocks, strict=True):
            products = B[:, start : start + len(block)].T @ B[:, : block.shape[1]]
            if sign < 0.0:
                block -= products
            else:
                block += products

    def add(self, other: Triangle) -> None:
        """Add another one of the same size."""
        for mine, its in zip(self.blocks, other.blocks, strict=True):
            mine += its

    def add_diagonal(self, value: float) -> None:
        """Add a number to each element of the diagonal."""
        for start, block in zip(self.starts, self.blocks, strict=True):
            each = np.arange(len(block))
            block[each, start + each] += value
