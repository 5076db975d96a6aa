"""This is where samples become sums that can be added to, taken from and merged exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.triangle import Triangle

Matrix = NDArray[np.float64]


class ClassStatistics:
    """Per class a count and a sum, over all classes the Gram matrix sum x x' [D, D], all float64; of the last only
    what lies up to its diagonal.

    Every change is a sum, so the order of samples does not matter and what was added can be taken away again.
    With `gram=False` only counts and sums are kept (O(C D) instead of O(D D) memory).
    """

    def __init__(self, n_features: int, *, gram: bool = True) -> None:
        self.n_features = n_features
        self.gram: Triangle | None = Triangle.zeros(n_features) if gram else None
        self._counts: dict[str, int] = {}
        self._sums: dict[str, Matrix] = {}

    @classmethod
    def from_blocks(
        cls, blocks: Iterable[tuple[Matrix, Sequence[str]]], n_features: int, *, gram: bool = True
    ) -> Self:
        """The statistics of all blocks (X [n, D], n labels)."""
        statistics = cls(n_features, gram=gram)
        for X, labels in blocks:
            statistics.add(X, labels)
        return statistics

    @classmethod
    def restore(cls, counts: Mapping[str, int], means: Matrix, lower: Matrix) -> Self:
        """From counts, the means [C, D] of their sorted names and the rows of the Gram matrix up to its diagonal.

        `lower` has D (D + 1) / 2 numbers. Raises `ValueError` for shapes that do not fit.
        """
        D = means.shape[1]
        statistics = cls(D, gram=False)
        if means.shape != (len(counts), D) or lower.shape != (D * (D + 1) // 2,):
            raise ValueError(f"means {means.shape} and {lower.shape} sums do not fit {len(counts)} classes")
        if not np.isfinite(means).all():
            raise ValueError("a mean is not a finite number")
        statistics.gram = Triangle.from_packed(lower, D).mirror()
        for name, mean in zip(sorted(counts), means, strict=True):
            statistics._counts[name], statistics._sums[name] = counts[name], mean * counts[name]
        return statistics

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that have samples, sorted."""
        return tuple(sorted(self._counts))

    @property
    def n_samples(self) -> int:
        """How many samples are in the sums."""
        return sum(self._counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """How many samples each class has."""
        return dict(self._counts)

    def means(self, classes: Sequence[str] | None = None) -> Matrix:
        """The class means [C, D], in the order of `classes`."""
        names = self.classes if classes is None else classes
        if not names:
            return np.zeros((0, self.n_features))
        return np.stack([self._sums[name] / self._counts[name] for name in names])

    def within_scatter(self) -> Triangle:
        """Sw = G - sum_c n_c mu_c mu_c' [D, D]; needs the Gram matrix, and is another one."""
        if self.gram is None:
            raise ValueError("these statistics were kept without their Gram matrix")
        M = self.means()
        B = M * np.sqrt([self._counts[name] for name in self.classes])[:, None]
        Sw = self.gram.copy()
        Sw.add_products(B, -1.0)
        return Sw

    def add(self, X: Matrix, labels: Sequence[str]) -> None:
        """Add n samples [n, D]."""
        X = self._checked(X, labels)
        for name, count, total in self._by_class(X, labels):
            self._counts[name] = self._counts.get(name, 0) + count
            self._sums[name] = self._sums[name] + total if name in self._sums else total
        if self.gram is not None:
            self.gram.add_products(X)

    def remove(self, X: Matrix, labels: Sequence[str]) -> None:
        """Take away n samples [n, D] that were added before; a class that is left without samples is gone.

        Raises `MLModelError` UPDATE, changing nothing, when a class has fewer samples than are to be taken.
        """
        X = self._checked(X, labels)
        changes = list(self._by_class(X, labels))
        for name, count, _ in changes:
            if self._counts.get(name, 0) < count:
                has = self._counts.get(name, 0)
                raise MLModelError(
                    MLModelErrorCode.UPDATE, f"class {name!r} has {has} samples, {count} cannot be removed"
                )
        for name, count, total in changes:
            self._counts[name] -= count
            self._sums[name] = self._sums[name] - total
            if self._counts[name] == 0:
                del self._counts[name], self._sums[name]
        if self.gram is not None:
            # Nothing left means exactly nothing: the rounding of sums and differences goes too.
            if self._counts:
                self.gram.add_products(X, -1.0)
            else:
                self.gram = Triangle.zeros(self.n_features)

    def relabel(self, X: Matrix, old: Sequence[str], new: Sequence[str]) -> None:
        """Move n samples [n, D] from their old labels to new ones; the Gram matrix does not change.

        Raises `MLModelError` UPDATE when an old class has fewer samples than are to be moved.
        """
        gram, self.gram = self.gram, None
        try:
            self.remove(X, old)
            self.add(X, new)
        finally:
            self.gram = gram

    def merge(self, other: ClassStatistics) -> None:
        """Add everything another board learned.

        Raises `MLModelError` UPDATE when the two were made of features of different length, or one has no
        Gram matrix.
        """
        if other.n_features != self.n_features or (other.gram is None) != (self.gram is None):
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"statistics over {self.n_features} and {other.n_features} features cannot be merged",
            )
        for name, count in other.counts.items():
            total = other.means((name,))[0] * count
            self._counts[name] = self._counts.get(name, 0) + count
            self._sums[name] = self._sums[name] + total if name in self._sums else total
        if self.gram is not None and other.gram is not None:
            self.gram.add(other.gram)

    def _checked(self, X: Matrix, labels: Sequence[str]) -> Matrix:
        if X.shape != (len(labels), self.n_features):
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"{len(labels)} labels and features of shape {X.shape} do not go together",
            )
        return np.asarray(X, dtype=np.float64)

    @staticmethod
    def _by_class(X: Matrix, labels: Sequence[str]) -> Iterable[tuple[str, int, Matrix]]:
        names = sorted(set(labels))
        number = {name: column for column, name in enumerate(names)}
        belongs = np.zeros((len(names), len(labels)))
        belongs[[number[label] for label in labels], np.arange(len(labels))] = 1.0
        totals = belongs @ X
        for name, count, total in zip(names, belongs.sum(axis=1), totals, strict=True):
            yield name, int(count), total.copy()
