"""This is where it is chosen which linear answer suits some samples, by what it says of those left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import fit_temperature
from edge_agent.ml.left_out import LeftOut
from edge_agent.ml.linear_answers import DEFAULT_RIDGE, UNIT, Recipe
from edge_agent.ml.scatter import FullScatter

Matrix = NDArray[np.float64]

CERTAIN = 2.0
"""How many standard errors better another option must be than the usual one."""

Chooser = Callable[[LeftOut], tuple[Recipe, Matrix]]
"""A recipe that suits the left-out samples, and their scores by it."""


def choose_nearest(left: LeftOut) -> tuple[Recipe, Matrix]:
    """The cosine to the mean, with its temperature."""
    scores = UNIT * left.nearest()
    T = fit_temperature(scores, left.y)
    return Recipe(nearest=T, estimated_from=len(left)), T * scores


def choose_regression(left: LeftOut) -> tuple[Recipe, Matrix]:
    """Ridge regression with the penalty and the temperature of leave-one-out."""
    ridge, F = left.best_ridge()
    T = fit_temperature(UNIT * F, left.y)
    return Recipe(regression=T, ridge=ridge, estimated_from=len(left)), T * UNIT * F


def choose_mix(left: LeftOut, options: Sequence[tuple[float, float]]) -> tuple[Recipe, Matrix]:
    """Discriminant analysis with some share of ridge regression: the best of some (shrinkage, share).

    Both are brought to their own temperature, mixed and brought to that of the mixture. The first option
    stays unless the loss of another, each class weighing alike, is lower by more than `CERTAIN` standard
    errors over groups: samples are too few to tell apart what is about as good.
    """
    ridge, F = (
        _regression(left, options[0][0]) if any(share for _, share in options) else (DEFAULT_RIDGE, None)
    )
    T_ridge = 0.0 if F is None else fit_temperature(UNIT * F, left.y)
    first: Matrix | None = None
    found: list[tuple[float, Recipe, Matrix]] = []
    for shrinkage, share in options:
        scores, tau = left.discriminant(shrinkage)
        T_lda = left.temperature(shrinkage)
        mixed = (1.0 - share) * T_lda * scores
        if F is not None:
            mixed += share * T_ridge * UNIT * F
        losses, T = left.losses(mixed)
        change = np.zeros(len(losses)) if first is None else losses - first
        first = losses if first is None else first
        recipe = Recipe(
            discriminant=(1.0 - share) * T * T_lda,
            shrinkage=shrinkage,
            tau=tau,
            regression=share * T * T_ridge,
            ridge=ridge,
            estimated_from=len(left),
        )
        mean = float(change.mean())
        if not found or mean + CERTAIN * _standard_error(change, left.places) < 0.0:
            found.append((mean, recipe, T * mixed))
    _, recipe, scores = min(found, key=lambda one: one[0])
    return recipe, scores


def _regression(left: LeftOut, shrinkage: float) -> tuple[float, Matrix]:
    """Ridge regression to mix in: with many samples by the penalty of discriminant analysis, whose factor is
    there already, with few by the best."""
    if not isinstance(left.state.scatter, FullScatter):
        return left.best_ridge()
    ridge = left.state.ridge(shrinkage)
    return ridge, left.regression(ridge)


def _standard_error(change: Matrix, groups: NDArray[np.intp]) -> float:
    """Of the mean of changes [n] that belong together in groups [n] (cluster-robust)."""
    sums = np.bincount(groups, weights=change - change.mean())
    return float(np.sqrt(np.square(sums).sum()) / len(change))
