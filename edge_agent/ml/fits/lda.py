"""This is where discriminant analysis, and what has the same state, is trained in the one iteration it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.fits.protocol import FitData, FitMetrics, check_data, data_described, settings_of
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.parameters import MLParameterKey, ParameterValue
from edge_agent.ml.unknowns import UNKNOWN_RATE, threshold

FOLDS = 3
"""In so many parts pictures that have copies are left out."""


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
            self._know_strangers(head)
            self._head, self.iteration = head, 1
            self._metrics = FitMetrics(last.metrics["loss_value"], last.metrics["accuracy"])
        return self._metrics

    def _know_strangers(self, head: LDAHead) -> None:
        """Let what is unknown be judged by pictures that were left out with all of their copies.

        Beside its own copies a picture that is left out lies close to what was learned, closer than any new one: by
        such distances every new picture would be unknown. So a third of the pictures is held against what the others
        teach, in turn; of a label with one picture nothing can be said.
        """
        originals, rate = self._data.originals, self._settings.get(MLParameterKey.UNKNOWN_RATE, UNKNOWN_RATE)
        limit = head.learned.estimates.unknown_threshold
        if limit is None or len(originals) == len(self._data):
            return
        targets, pictures = self._data.targets, self._data.shown
        turn = np.empty(len(originals), dtype=np.intp)
        for label in range(len(self._data.classes)):
            mine = targets[originals] == label
            turn[mine] = np.arange(mine.sum()) % FOLDS if mine.sum() > 1 else -1
        found: list[NDArray[np.float64]] = []
        for fold in range(FOLDS):
            out = originals[turn == fold]
            if not len(out):
                continue
            others = self.kind(self._data.n_features)
            rest = np.flatnonzero(~np.isin(pictures, pictures[out]))
            for _ in others.train(self._data.part(rest).batch(), self._settings):
                pass
            distances = others.distances(self._data.rows(out))
            found += [] if distances is None else [distances]
        if found:
            limit = threshold(np.concatenate(found), float(rate))
            estimates = replace(head.learned.estimates, unknown_threshold=limit)
            head.learned = replace(head.learned, estimates=estimates)

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
