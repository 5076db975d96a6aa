"""This is where discriminant analysis, and what has the same state, is trained in the one iteration it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from edge_agent.ml.fits.protocol import FitData, FitMetrics, check_data, data_described, settings_of
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.parameters import MLParameterKey, ParameterValue


class LDAFit:
    """An `LDAHead` that learns all samples in its only iteration; the classes of the head are sorted.

    The metrics are those of leave-one-out. Nothing is random.
    """

    name: ClassVar[str] = "lda"
    parameter_names: ClassVar[tuple[str, ...]] = tuple(one.key.name for one in LDAHead.parameter_descriptions)
    kind: ClassVar[type[LDAHead]] = LDAHead
    """What is trained; another one that learns in the same way may stand here."""

    def __init__(self, data: FitData, settings: Mapping[MLParameterKey, ParameterValue]) -> None:
        self._data = data
        self._settings = settings
        self._head = self.kind(data.n_features)
        self._metrics: FitMetrics | None = None
        self.iteration = 0

    @property
    def converged(self) -> bool:
        """After the first iteration."""
        return self.iteration > 0

    def step(self) -> FitMetrics:
        """Learn everything."""
        if self._metrics is None:
            head = self.kind(self._data.n_features)
            *_, last = head.train(self._data.batch(), self._settings)
            self._head, self.iteration = head, 1
            self._metrics = FitMetrics(last.metrics["loss_value"], last.metrics["accuracy"])
        return self._metrics

    def head(self) -> LDAHead:
        """Before the iteration, a head that knows nothing."""
        return self._head.copy()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those of the head."""
        return {name: array.copy() for name, array in self._head.arrays().items()}

    def describe(self) -> dict[str, Any]:
        """The classes, the parameters, the metrics and what the head says of itself."""
        return {
            **data_described(self._data),
            "parameters": {key.name: value for key, value in self._settings.items()},
            "metrics": None if self._metrics is None else [self._metrics.loss, self._metrics.accuracy],
            "head": self._head.describe(),
        }

    @classmethod
    def begin(cls, data: FitData, parameters: Mapping[str, object], seed: int) -> Self:  # noqa: ARG003
        """Parameters: those of the head."""
        return cls(data, settings_of(cls.kind.parameter_descriptions, parameters))

    @classmethod
    def restore(
        cls, data: FitData, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]
    ) -> Self:
        """The fit these came from."""
        check_data(data, description)
        fit = cls(data, settings_of(cls.kind.parameter_descriptions, description["parameters"]))
        if description["metrics"] is not None:
            fit._head, fit.iteration = cls.kind.restore(arrays, description["head"]), 1
            fit._metrics = FitMetrics(*description["metrics"])
        return fit
