"""This is where the nearest mean, ridge regression and mixtures with discriminant analysis answer as heads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.discriminant import NEAREST_MEAN_TEMPERATURE
from edge_agent.ml.estimates import softmax
from edge_agent.ml.heads.lda import RATE, SHRINKAGE, LDAHead
from edge_agent.ml.heads.protocol import stored_array
from edge_agent.ml.left_out import LeftOut
from edge_agent.ml.linear_answers import UNIT, Linear, Recipe, State
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey, ParameterValue
from edge_agent.ml.recipes import choose_mix, choose_nearest, choose_regression, choose_weights
from edge_agent.ml.transforms import signed_root

Matrix = NDArray[np.float64]

SHARE = 0.3
"""How much ridge regression is mixed in."""
HALF = 0.5
"""How much of it `auto` begins with."""
SINGLES = Recipe(regression=NEAREST_MEAN_TEMPERATURE / UNIT)
"""Where no class varies: ridge regression on the means, which looks at how they differ from each other."""


class MixedHead(LDAHead):
    """A linear answer other than that of discriminant analysis, from the same counts, means and scatter.

    It learns, is merged and forgets exactly as `LDAHead` does, and its distances are the same. What
    leave-one-out chose (`recipe`) stays until at least as many samples say otherwise. Where no class has two
    different samples it is the nearest mean by cosine, or what `singles` says.
    """

    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = (RATE,)
    singles: ClassVar[Recipe | None] = None
    """What answers where no class has two different samples; None is the nearest mean."""

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)
        self.recipe: Recipe | None = None
        """None where the answer is the nearest mean for want of anything better."""
        self._linear = Linear(np.zeros((n_features, 0)), np.zeros(0))

    @property
    def linear(self) -> Linear:
        """What gives the logarithms of the probabilities of unit vectors, up to a constant in each row."""
        return self._linear

    def choose(self, left: LeftOut, shrinkage: float) -> tuple[Recipe, Matrix]:
        """A recipe for what was learned, and the scores of left-out samples by it."""
        raise NotImplementedError

    def _solve(
        self,
        state: State,
        classes: tuple[str, ...],
        samples: tuple[Matrix, NDArray[np.intp]],
        settings: Mapping[MLParameterKey, ParameterValue],
    ) -> dict[str, float]:
        left = LeftOut(state, *samples) if state.varies else None
        metrics = self._learn(state, classes, left, samples, settings)
        prior = np.log(state.counts / state.total) * (settings.get(MLParameterKey.PRIOR) == "empirical")
        before = self.recipe.estimated_from if self.recipe else 0
        if left is None:
            self.recipe = self.singles
        elif len(left) and len(left) >= before:
            shrinkage = float(settings.get(MLParameterKey.SHRINKAGE, SHRINKAGE))
            self.recipe, scores = self.choose(left, shrinkage)
            metrics = left.judged(scores + prior)
        if self.recipe is None:
            self._linear = super().linear
            return metrics
        answer = state.solve(self.recipe)
        self._linear = replace(answer, intercept=answer.intercept + prior)
        return metrics

    def remove_label(self, label: str) -> None:
        """As `LDAHead.remove_label`; the recipe stays."""
        before = self.classes_
        super().remove_label(label)
        if self.recipe is None or not self.classes_:
            keep = [index for index, name in enumerate(before) if name != label]
            self._linear = Linear(self._linear.coef[:, keep], self._linear.intercept[keep])
        else:
            known = self.learned
            self._linear = State(known.counts, known.means, known.scatter).solve(self.recipe)

    def predict_proba(self, X: NDArray[np.float32]) -> Matrix:
        """Probabilities [n, C] of features [n, D]."""
        return softmax(signed_root(X) @ self._linear.coef + self._linear.intercept)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those of `LDAHead`, and the coefficients of the answer, float64."""
        return {
            **super().arrays(),
            "answer_coef": self._linear.coef,
            "answer_intercept": self._linear.intercept,
        }

    def describe(self) -> dict[str, Any]:
        """What `LDAHead` says, and the recipe."""
        return {**super().describe(), "recipe": None if self.recipe is None else asdict(self.recipe)}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Self:
        """The head these came from; raises `MLModelError` IO when they do not fit together."""
        head = super().restore(arrays, description)
        D, C = head.n_features, len(head.classes_)
        coef = stored_array(arrays, "answer_coef", (D, C))
        head._linear = Linear(coef, stored_array(arrays, "answer_intercept", (C,)))  # noqa: SLF001 - its own
        stored = description["recipe"]
        if stored is not None:
            numbers = {one.name: float(stored.get(one.name, one.default)) for one in fields(Recipe)}
            if not all(math.isfinite(value) for value in numbers.values()) or not (
                numbers["shrinkage"] > 0.0 < numbers["ridge"]
            ):
                raise MLModelError(MLModelErrorCode.IO, "a learned number is not in its range")
            samples = int(numbers.pop("estimated_from"))
            head.recipe = Recipe(**numbers, estimated_from=samples)
        return head


class NearestMeanHead(MixedHead):
    """The class whose mean unit vector has the greatest cosine (imprinting), with a temperature."""

    name: ClassVar[str] = "ncm"

    def choose(self, left: LeftOut, shrinkage: float) -> tuple[Recipe, Matrix]:  # noqa: ARG002
        """The cosine and its temperature."""
        return choose_nearest(left)


class RidgeHead(MixedHead):
    """Ridge regression on class indicators; leave-one-out chooses the penalty and the temperature."""

    name: ClassVar[str] = "ridge"
    singles: ClassVar[Recipe | None] = SINGLES

    def choose(self, left: LeftOut, shrinkage: float) -> tuple[Recipe, Matrix]:  # noqa: ARG002
        """The penalty and the temperature."""
        return choose_regression(left)


class LDARidgeHead(MixedHead):
    """Seven tenths of the scores of discriminant analysis and three of ridge regression's, calibrated."""

    name: ClassVar[str] = "lda+ridge"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = LDAHead.parameter_descriptions
    singles: ClassVar[Recipe | None] = SINGLES

    def choose(self, left: LeftOut, shrinkage: float) -> tuple[Recipe, Matrix]:
        """The penalty, tau and the temperatures."""
        return choose_mix(left, shrinkage, SHARE)


class AutoHead(MixedHead):
    """Discriminant analysis and ridge regression, half and half, from where left-out samples move the weights.

    Each class weighs alike in that, however few samples it has, and a term for the sizes of classes takes back
    what ridge regression gives the large ones. Near-duplicates (cosine of features at least 0.9, of one
    class) are left out together where the temperature is found, so that bursts of a camera do not make sure.
    """

    name: ClassVar[str] = "auto"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = LDAHead.parameter_descriptions
    singles: ClassVar[Recipe | None] = SINGLES

    def choose(self, left: LeftOut, shrinkage: float) -> tuple[Recipe, Matrix]:
        """The penalty, tau, the weights and the temperature."""
        return choose_weights(left, shrinkage, HALF)
