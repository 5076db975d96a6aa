"""This is where it is said how good a linear answer is, by the samples it learned from: an interval, not a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.left_out import LeftOut, near_duplicates
from edge_agent.ml.linear_answers import UNIT, Recipe, State
from edge_agent.ml.statistics import Scatter
from edge_agent.ml.transforms import signed_root

LOOSE, STRICT = 0.8, 0.7
"""Cosines of features from which samples of one class are left out together."""


@dataclass(frozen=True)
class Evidence:
    """The share of samples answered rightly by what had not learned them; None where none could be left out."""

    single: float | None
    """Each sample by itself: flattered by bursts."""
    interval: tuple[float, float] | None
    """With all near-duplicates too: at cosine 0.7 and at 0.8, the lower first."""
    per_class: dict[str, float]
    """Of the classes for which it can be said, at cosine 0.8."""


def evidence(X: NDArray[np.float32], labels: Sequence[str], recipe: Recipe) -> Evidence:
    """What leave-one-out and leave-group-out say of a recipe on features [n, D] with n labels, in closed form.

    All samples that were learned have to be given; memory is O(n n + n D).
    """
    classes = sorted(set(labels))
    y = np.array([classes.index(label) for label in labels], dtype=np.intp)
    Z = signed_root(X)
    counts = np.bincount(y, minlength=len(classes)).astype(np.float64)
    means = np.stack([Z[y == c].mean(axis=0) for c in range(len(classes))])
    state = State(counts, means, Scatter.from_rows(Z - means[y]))
    length = np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    U = X.astype(np.float64) / length

    def right(cosine: float | None) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        left = LeftOut(state, Z, y, None if cosine is None else near_duplicates(U, y, cosine))
        if not len(left):
            return np.zeros(0, dtype=np.bool_), left.y
        return _scores(left, recipe).argmax(axis=1) == left.y, left.y

    single, (loose, of), (strict, _) = right(None)[0], right(LOOSE), right(STRICT)
    if not len(single):
        return Evidence(None, None, {})
    bounds = [float(one.mean()) for one in (strict, loose) if len(one)]
    return Evidence(
        float(single.mean()),
        (min(bounds), max(bounds)) if bounds else None,
        {classes[c]: float(loose[of == c].mean()) for c in sorted(set(of.tolist()))},
    )


def _scores(left: LeftOut, recipe: Recipe) -> NDArray[np.float64]:
    scores = np.zeros((len(left), len(left.state.counts)))
    if recipe.discriminant:
        scores += recipe.discriminant * left.discriminant(recipe.shrinkage)[0]
    if recipe.regression:
        scores += recipe.regression * UNIT * left.regression(recipe.ridge)
    if recipe.nearest:
        scores += recipe.nearest * UNIT * left.nearest()
    return scores
