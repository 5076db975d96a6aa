"""This is where counts, means and scatter become other linear classifiers, alone and mixed, that know their error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.scatter import Look, Scatter

Matrix = NDArray[np.float64]

NO_VARIATION = 1e-9
"""Mean squared distance of unit vectors from their class mean that counts as none."""
DEFAULT_RIDGE = 1e-2
"""In force while no sample can be left out."""
UNIT = 100.0
"""Ridge regression and the cosine answer in hundredths, so that a temperature fits all kinds."""


@dataclass(frozen=True)
class Recipe:
    """How much of each kind goes into the scores; with the state, all there is to a linear answer."""

    discriminant: float = 0.0
    shrinkage: float = 0.3
    tau: float = 0.0
    """The small-class bias of discriminant analysis."""
    regression: float = 0.0
    ridge: float = DEFAULT_RIDGE
    """Ridge regression's penalty, per sample."""
    nearest: float = 0.0
    """The share of the cosine to the class mean."""
    rarity: float = 0.0
    """Times the logarithm of its size, what is taken from the score of a class."""
    estimated_from: int = 0
    """How many left-out samples say so."""


@dataclass(frozen=True)
class Linear:
    """Scores [n, C] = rows [n, D] coef [D, C] + intercept [C]."""

    coef: Matrix
    intercept: Matrix

    def mixed(self, factor: float, more: Linear) -> Linear:
        """This and so much of another."""
        return Linear(self.coef + factor * more.coef, self.intercept + factor * more.intercept)


@dataclass(frozen=True)
class State:
    """Counts [C], means [C, D] and within-class scatter: everything that linear answers are functions of."""

    counts: Matrix
    means: Matrix
    scatter: Scatter

    @property
    def varies(self) -> bool:
        """Whether any class has two different samples."""
        return self.scatter.trace > NO_VARIATION * self.total

    @property
    def total(self) -> float:
        """How many samples there are, N."""
        return float(self.counts.sum())

    @cached_property
    def centre(self) -> Matrix:
        """The mean of all samples [D]."""
        return np.asarray(self.counts @ self.means / self.total)

    @cached_property
    def look(self) -> Look:
        """The means from the centre, seen through the scatter."""
        return self.scatter.look(self.means - self.centre)

    @cached_property
    def roots(self) -> Matrix:
        """The square roots of the counts [C], which make rows B of the means with B' B between the classes."""
        return np.sqrt(self.counts)

    def solve(self, recipe: Recipe) -> Linear:
        """The answer of a recipe."""
        D, C = self.means.shape[1], len(self.counts)
        answer = Linear(np.zeros((D, C)), np.zeros(C))
        if recipe.discriminant:
            answer = answer.mixed(recipe.discriminant, self._discriminant(recipe.shrinkage, recipe.tau))
        if recipe.regression:
            answer = answer.mixed(recipe.regression * UNIT, self._regression(recipe.ridge))
        if recipe.nearest:
            length = np.linalg.norm(self.means, axis=1, keepdims=True)
            cosine = Linear((self.means / np.where(length > 0.0, length, 1.0)).T, np.zeros(C))
            answer = answer.mixed(recipe.nearest * UNIT, cosine)
        return Linear(answer.coef, answer.intercept - recipe.rarity * np.log(self.counts))

    def ridge(self, shrinkage: float) -> float:
        """lam of discriminant analysis, whose A is S/N + lam I."""
        N = self.total
        return shrinkage * self.scatter.trace / N / min(N - 1.0, float(self.means.shape[1]))

    @cached_property
    def _known(self) -> dict[float, Matrix]:
        return {}

    def _solved(self, ridge: float) -> Matrix:
        """The means from the centre times (S + r I)^-1 [C, D]; made once for each r."""
        if ridge not in self._known:
            self._known[ridge] = self.look.solved(ridge)
        return self._known[ridge]

    def directions(self, shrinkage: float) -> Matrix:
        """A^-1 times the means from the centre [D, C]."""
        N = self.total
        # A^-1 of S/N + lam I is N (S + lam N I)^-1.
        return N * self._solved(self.ridge(shrinkage) * N).T

    def _discriminant(self, shrinkage: float, tau: float) -> Linear:
        m, coef = self.means - self.centre, self.directions(shrinkage)
        bias = 0.5 * tau / self.counts - 0.5 * np.einsum("cd,dc->c", m, coef) - self.centre @ coef
        return Linear(coef, bias)

    def _regression(self, ridge: float) -> Linear:
        """W = (Sw + B'B + lam N)^-1 B' diag(sqrt n), by Woodbury's identity from (Sw + lam N)^-1."""
        N, roots = self.total, self.roots
        PB = self._solved(ridge * N).T * roots
        K = np.eye(len(self.counts)) + roots[:, None] * self.look.cross(self.look, ridge * N) * roots
        coef = PB @ np.linalg.solve(K, np.diag(roots))
        return Linear(coef, self.counts / N - self.centre @ coef)
