"""This is where logistic regression is trained in iterations of L-BFGS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.arrays import stored_array
from edge_agent.ml.fits.protocol import FitData, FitMetrics, check_data, data_described, settings_of
from edge_agent.ml.heads.logistic import TOLERANCE, LogisticHead
from edge_agent.ml.lbfgs import LBFGS
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.regression import SoftmaxRegression, UnitRows

_KNOWN = tuple(one for one in LogisticHead.parameter_descriptions if one.key == Key.L2)


class LogisticFit:
    """Multinomial logistic regression; comes out as a `LogisticHead`.

    An iteration is a step of L-BFGS, mostly one pass; one in ten reads the samples once more because the
    first length of the step did not do. It is converged at the optimum, where no part of the gradient is
    above `TOLERANCE`. The metrics are those after the iteration. Nothing is random.
    """

    name: ClassVar[str] = "logistic"
    parameter_names: ClassVar[tuple[str, ...]] = tuple(one.key.name for one in _KNOWN)

    def __init__(self, data: FitData, objective: SoftmaxRegression, search: LBFGS) -> None:
        self._data = data
        self._objective = objective
        self._search = search
        self.iteration = 0

    @property
    def converged(self) -> bool:
        """Whether the gradient has vanished, or float64 knows no way further down."""
        return self._search.stalled or self._search.steepness <= TOLERANCE

    def step(self) -> FitMetrics:
        """One step of L-BFGS."""
        if not self.converged:
            self._search.step(self._objective)
            self.iteration += 1
        noticed = self._search.at.noticed
        return FitMetrics(loss=noticed["loss"], accuracy=noticed["accuracy"])

    def head(self) -> LogisticHead:
        """The weights as they are now."""
        W, b = self._objective.weights(self._search.position)
        return LogisticHead.fitted(self._data.classes, W, b, self._objective.l2)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What L-BFGS remembers, and the centre [D] of the unit vectors; all float64."""
        return {**self._search.arrays(), "centre": self._objective.centre.copy()}

    def describe(self) -> dict[str, Any]:
        """The classes, the penalty, the iterations done and the rest of L-BFGS."""
        return {
            **data_described(self._data),
            "l2": self._objective.l2,
            "iteration": self.iteration,
            "search": self._search.describe(),
        }

    @classmethod
    def begin(cls, data: FitData, parameters: Mapping[str, object], seed: int) -> Self:  # noqa: ARG003
        """From weights of zero; reads the samples twice. Parameters: `l2`."""
        objective = _objective(data, float(settings_of(_KNOWN, parameters)[Key.L2]))
        return cls(data, objective, LBFGS.begin(objective, np.zeros(objective.size)))

    @classmethod
    def restore(
        cls, data: FitData, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]
    ) -> Self:
        """The fit these came from; reads no sample."""
        check_data(data, description)
        centre = stored_array(arrays, "centre", (data.n_features,))
        objective = _objective(data, float(description["l2"]), centre)
        fit = cls(data, objective, LBFGS.restore(arrays, description["search"], objective.size))
        fit.iteration = int(description["iteration"])
        return fit


def _objective(data: FitData, l2: float, centre: NDArray[np.float64] | None = None) -> SoftmaxRegression:
    rows = UnitRows(data.blocks, len(data), data.n_features)
    return SoftmaxRegression(rows, data.targets, len(data.classes), l2, centre=centre)
