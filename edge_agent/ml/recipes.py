"""This is where it is chosen which linear answer suits some samples, by what it says of those left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import fit_temperature, fit_weights
from edge_agent.ml.left_out import LeftOut
from edge_agent.ml.linear_answers import UNIT, Recipe
from edge_agent.ml.scatter import FullScatter

Matrix = NDArray[np.float64]

FAITH, EVEN_FAITH = 3.0, 1.0
"""As how many samples the usual weights count, and that no class is preferred for its size."""
BURST = 0.9
"""Samples of one class whose features have at least this cosine are taken for one burst of a camera."""


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


def choose_mix(left: LeftOut, shrinkage: float, share: float) -> tuple[Recipe, Matrix]:
    """Discriminant analysis with this share of ridge regression.

    Both are brought to their own temperature, mixed and brought to that of the mixture.
    """
    recipe, (scores, F) = _mix(left, shrinkage, share)
    return recipe, recipe.discriminant * scores + recipe.regression * F


def choose_weights(left: LeftOut, shrinkage: float, share: float) -> tuple[Recipe, Matrix]:
    """`choose_mix`, from which the weights move as far as the left-out samples have reason to, each class
    weighing alike; with a term for the sizes of classes, where they differ.

    Where near-duplicates, left out together, ask for a lower temperature than single samples, it is theirs;
    where most samples are near-duplicates of others, so is everything.
    """
    grouped = left.in_bursts(BURST) if left.complete else left
    if 2 * grouped.pieces <= len(left):
        left = grouped
    usual, (scores, F) = _mix(left, shrinkage, share)
    counts, n = left.state.counts, len(left)
    sizes = np.broadcast_to(-np.log(counts), scores.shape)
    kinds = np.stack([usual.discriminant * scores, usual.regression * F, sizes])
    faith = np.array([FAITH, FAITH, EVEN_FAITH]) / n
    some = slice(0, 2 if counts.min() == counts.max() else 3)
    w = np.zeros(3)
    w[some] = fit_weights(kinds[some], left.y, left.weights, np.array([1.0, 1.0, 0.0])[some], faith[some])
    mixed = np.tensordot(w, kinds, 1)
    T = 1.0
    if grouped.pieces < left.pieces:
        scores, _ = grouped.discriminant(shrinkage)
        F = UNIT * grouped.regression(usual.ridge)
        together = w[0] * usual.discriminant * scores + w[1] * usual.regression * F + w[2] * sizes
        T = min(1.0, fit_temperature(together, left.y) / fit_temperature(mixed, left.y))
        mixed = together
    recipe = replace(
        usual,
        discriminant=float(T * w[0] * usual.discriminant),
        regression=float(T * w[1] * usual.regression),
        rarity=float(T * w[2]),
    )
    return recipe, T * mixed


def _mix(left: LeftOut, shrinkage: float, share: float) -> tuple[Recipe, tuple[Matrix, Matrix]]:
    """The recipe, and what discriminant analysis and ridge regression, in hundredths, say of those left out."""
    if isinstance(left.state.scatter, FullScatter):
        # With many samples by the penalty of discriminant analysis, whose factor is there already.
        ridge = left.state.ridge(shrinkage)
        F = UNIT * left.regression(ridge)
    else:
        ridge, F = left.best_ridge()
        F = UNIT * F
    scores, tau = left.discriminant(shrinkage)
    of_scores = (1.0 - share) * left.temperature(shrinkage)
    of_ridge = share * fit_temperature(F, left.y)
    T = fit_temperature(of_scores * scores + of_ridge * F, left.y)
    recipe = Recipe(
        discriminant=T * of_scores,
        shrinkage=shrinkage,
        tau=tau,
        regression=T * of_ridge,
        ridge=ridge,
        estimated_from=len(left),
    )
    return recipe, (scores, F)
