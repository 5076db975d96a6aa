"""This is where the samples themselves decide whether discriminant analysis or logistic regression learns them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.estimates import log_loss
from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.fits.logistic import LogisticFit
from edge_agent.ml.fits.protocol import BLOCK_ROWS, FitData, FitMetrics, check_data, data_described
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.logistic import LogisticHead
from edge_agent.ml.heads.protocol import Head

PER_CLASS = 100
"""Up to so many pictures a class, LDA was better on five picture sets out of six."""
HELD_OUT = 0.2
"""The share of pictures that decides, where they are more."""

_NAMES = (*LDAFit.parameter_names, *LogisticFit.parameter_names)


class AutoFit:
    """LDA up to a hundred pictures a class on average (the nearest mean, with one each); above, the better one.

    Copies of a picture do not count, and stay on its side: they are learned from with it or not at all. Which
    one is better is found on a fifth of each class, drawn by the seed: LDA learns the rest in the first
    iteration, logistic regression in those that follow. The one that is right more often, and at a tie the one
    with the lower loss, then learns all samples; logistic regression starts from what it knows. The head is, at
    any time, the better one so far. The metrics are those of the fit that did the iteration.
    """

    name: ClassVar[str] = "auto"
    parameter_names: ClassVar[tuple[str, ...]] = _NAMES

    def __init__(self, data: FitData, parameters: Mapping[str, object], seed: int) -> None:
        self._data = data
        self._parameters = dict(parameters)
        self._seed = seed
        self._fit: LDAFit | LogisticFit
        self._stage = "final"
        """"lda" and "logistic" while they compete, "final" for all samples."""
        self._scores: dict[str, tuple[float, float]] = {}
        self._first: LDAHead | None = None
        self._learned = self._held_out = data
        self.iteration = 0
        if _competes(data):
            self._stage = "lda"
            judging = _held_out(data, seed)
            rest = np.setdiff1d(np.arange(len(data)), data.with_copies(judging))
            self._learned, self._held_out = data.part(rest), data.part(judging)

    @property
    def converged(self) -> bool:
        """Whether the chosen one has learned all samples."""
        return self._stage == "final" and self._fit.converged

    def step(self) -> FitMetrics:
        """One iteration of whichever fit it is the turn of."""
        if self.converged:
            return self._fit.step()
        if self._fit.converged:
            self._next()
        metrics = self._fit.step()
        self.iteration += 1
        if self._stage != "final":
            self._scores[self._stage] = self._score(self._fit.head())
        return metrics

    def head(self) -> Head:
        """The better one so far."""
        if self._stage == "logistic" and self._first is not None and not self._logistic_is_better:
            return self._first.copy()
        return self._fit.head()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those of the fit under way, and while logistic regression competes those of the LDA before it."""
        mine = {f"fit_{name}": array for name, array in self._fit.arrays().items()}
        if self._first is not None:
            mine |= {f"lda_{name}": array.copy() for name, array in self._first.arrays().items()}
        return mine

    def describe(self) -> dict[str, Any]:
        """The classes, the parameters, the seed, how far it is and what the parts say of themselves."""
        return {
            **data_described(self._data),
            "parameters": dict(self._parameters),
            "seed": self._seed,
            "iteration": self.iteration,
            "stage": self._stage,
            "scores": {name: list(score) for name, score in self._scores.items()},
            "kind": self._fit.name,
            "fit": self._fit.describe(),
            "lda": None if self._first is None else self._first.describe(),
        }

    @classmethod
    def begin(cls, data: FitData, parameters: Mapping[str, object], seed: int) -> Self:
        """Parameters: those of `LDAFit` and of `LogisticFit`, each for the one it concerns."""
        for name in parameters:
            if name not in _NAMES:
                raise MLModelError(
                    MLModelErrorCode.PARAMETERS,
                    f"parameter {name} is unknown; known are {', '.join(_NAMES)}",
                )
        fit = cls(data, parameters, seed % 2**64)
        fit._fit = LDAFit.begin(fit._learned, fit._meant_for(LDAFit), seed)
        LogisticFit.l2_of(fit._meant_for(LogisticFit))  # a bad one is refused before anything is learned
        return fit

    @classmethod
    def restore(
        cls, data: FitData, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]
    ) -> Self:
        """The fit these came from."""
        check_data(data, description)
        fit = cls(data, description["parameters"], int(description["seed"]))
        competes = fit._stage != "final"
        fit._stage = description["stage"]
        if fit._stage != "final" and not competes:
            raise MLModelError(MLModelErrorCode.IO, "the fit was laid down for more samples than there are")
        fit._scores = {name: (score[0], score[1]) for name, score in description["scores"].items()}
        fit.iteration = int(description["iteration"])
        kind: type[LDAFit | LogisticFit] = LDAFit if description["kind"] == LDAFit.name else LogisticFit
        seen = data if fit._stage == "final" else fit._learned
        fit._fit = kind.restore(seen, _prefixed(arrays, "fit_"), description["fit"])
        if description["lda"] is not None:
            fit._first = LDAHead.restore(_prefixed(arrays, "lda_"), description["lda"])
        return fit

    @property
    def _logistic_is_better(self) -> bool:
        return self._scores["logistic"] > self._scores["lda"]

    def _next(self) -> None:
        """Give the turn to the next one."""
        if isinstance(self._fit, LDAFit):
            self._first = self._fit.head()
            self._fit = LogisticFit.begin(self._learned, self._meant_for(LogisticFit), self._seed)
            self._stage = "logistic"
            return
        if self._logistic_is_better:
            self._fit = LogisticFit.beginning_from(self._data, self._fit.head())
        else:
            self._fit = LDAFit.begin(self._data, self._meant_for(LDAFit), self._seed)
        self._first, self._stage = None, "final"

    def _meant_for(self, kind: type[LDAFit | LogisticFit]) -> dict[str, object]:
        return {name: value for name, value in self._parameters.items() if name in kind.parameter_names}

    def _score(self, head: LDAHead | LogisticHead) -> tuple[float, float]:
        """Share of the held-out samples it is right about, and minus the loss."""
        place = {label: column for column, label in enumerate(head.classes_)}
        columns = np.array([place[label] for label in self._data.classes], dtype=np.intp)
        y = self._held_out.targets
        P = np.vstack([head.predict_proba(X)[:, columns] for X in self._held_out.blocks(BLOCK_ROWS)])
        return float((P.argmax(axis=1) == y).mean()), -log_loss(P, y)


def _competes(data: FitData) -> bool:
    return len(data.originals) > PER_CLASS * len(data.classes) and len(data.classes) > 1


def _held_out(data: FitData, seed: int) -> NDArray[np.intp]:
    """The rows that decide, ascending: a share of the pictures of each class, none of a class that has but one."""
    rng = np.random.default_rng(seed)
    originals = data.originals
    y = data.targets[originals]
    chosen = np.zeros(len(y), dtype=np.bool_)
    for k, count in enumerate(np.bincount(y, minlength=len(data.classes))):
        share = min(max(round(HELD_OUT * int(count)), 1), int(count) - 1)
        chosen[rng.permutation(np.flatnonzero(y == k))[:share]] = True
    return originals[chosen]


def _prefixed(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
