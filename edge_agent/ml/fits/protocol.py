"""This is where it is written down what a head being trained in iterations can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import FEATURES, LABEL, Rows
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureProvider
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey, ParameterValue, resolve

BLOCK_ROWS = 512
"""A pass reads so many rows at a time, so that a matrix that lies on disk stays there."""


@dataclass(frozen=True, eq=False)
class FitData:
    """Samples as a fit reads them, again and again. Raises `MLModelError` UPDATE when they do not go together.

    `X` may be a memory map: it is only ever read in blocks of rows, and never changed.
    """

    X: NDArray[np.float32]
    """float32 [n, D]: features as the extractor gave them."""
    y: NDArray[np.intp]
    """[n]: the class of each row, an index into `classes`."""
    classes: tuple[str, ...]
    """The labels, different ones; each has at least one row."""
    chosen: NDArray[np.intp] | None = None
    """The only rows that count, in this order; None for all of them."""
    pictures: NDArray[np.intp] | None = None
    """[n]: the picture that each row shows, as it is or as one of its copies, which follow it; None: each shows
    another."""

    def __post_init__(self) -> None:
        """Hold the three against each other."""
        problem = None
        if self.X.ndim != 2 or self.X.dtype != np.float32:
            problem = f"features are {self.X.dtype} of shape {self.X.shape}, expected float32 (n, D)"
        elif self.y.shape != (len(self.X),) or self.y.dtype.kind not in "iu":
            problem = f"{len(self.X)} rows and classes {self.y.dtype} of shape {self.y.shape}"
        elif len(self.X) == 0:
            problem = "there are no samples"
        elif len(set(self.classes)) != len(self.classes):
            problem = "a label occurs twice among the classes"
        elif self.y.min() < 0 or self.y.max() >= len(self.classes):
            problem = f"a row has a class that is not one of {len(self.classes)}"
        elif self.pictures is not None and self.pictures.shape != self.y.shape:
            problem = f"{len(self.X)} rows and pictures of shape {self.pictures.shape}"
        elif not self.counts.all():
            problem = f"the class {self.classes[int(self.counts.argmin())]!r} has no samples"
        if problem:
            raise MLModelError(MLModelErrorCode.UPDATE, f"data of a fit: {problem}")

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.X.shape[1])

    @property
    def targets(self) -> NDArray[np.intp]:
        """The class of each row that counts."""
        return self.y if self.chosen is None else self.y[self.chosen]

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many rows each class has [C]."""
        return np.bincount(self.targets, minlength=len(self.classes))

    @property
    def originals(self) -> NDArray[np.intp]:
        """Which of the rows that count are the first of their picture, ascending: copies are left out."""
        if self.pictures is None:
            return np.arange(len(self))
        return np.sort(np.unique(self.shown, return_index=True)[1])

    @property
    def shown(self) -> NDArray[np.intp]:
        """The picture that each of the rows that count shows."""
        if self.pictures is None:
            return np.arange(len(self))
        return self.pictures if self.chosen is None else self.pictures[self.chosen]

    def rows(self, indices: Sequence[int] | slice) -> NDArray[np.float32]:
        """The features [m, D] of some of the rows that count."""
        if self.chosen is None:
            return self.X[indices if isinstance(indices, slice) else list(indices)]
        return self.X[self.chosen[indices if isinstance(indices, slice) else list(indices)]]

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[NDArray[np.float32]]:
        """All rows in order, `size` at a time. Raises `MLModelError` UPDATE, naming the first that is not
        finite."""
        for start in range(0, len(self), size):
            block = self.rows(slice(start, start + size))
            if not np.isfinite(block).all():
                bad = start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
                raise MLModelError(MLModelErrorCode.UPDATE, f"sample {bad}: a feature is not a finite number")
            yield block

    def batch(self) -> FitBatch:
        """The same samples for a head to learn from."""
        return FitBatch(self)

    def part(self, rows: NDArray[np.intp]) -> Self:
        """Only some of the rows that count."""
        return replace(self, chosen=rows if self.chosen is None else self.chosen[rows])


class FitBatch:
    """The data of a fit as a batch provider; nothing of it is copied."""

    def __init__(self, data: FitData) -> None:
        self._data = data
        self._targets = data.targets

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self._targets)

    def features(self, at: int) -> MLFeatureProvider:
        """The sample at an index."""
        X, labels = self.arrays([at])
        return MLDictionaryFeatureProvider({FEATURES: X[0], LABEL: labels[0]})

    def arrays(self, indices: Rows) -> tuple[NDArray[np.float32], list[str]]:
        """Features float32 [n, D] and the n labels of the given indices."""
        wanted = indices if isinstance(indices, slice) else list(indices)
        return self._data.rows(wanted), [self._data.classes[k] for k in self._targets[wanted]]


@dataclass(frozen=True)
class FitMetrics:
    """How well the samples are known after an iteration, or were at its beginning; each fit says which."""

    loss: float
    """Mean negative log of the probability of the true class, without any penalty."""
    accuracy: float
    """Share of samples whose most probable class is the true one, 0 to 1."""


@runtime_checkable
class Fit(Protocol):
    """A head being trained in iterations, each a full pass over the samples.

    Every state between two iterations can be laid down, as `arrays()` and `describe()`, and continued from
    with the same data to the same bits.
    """

    name: ClassVar[str]
    """What it is listed under in `FITS`."""
    parameter_names: ClassVar[tuple[str, ...]]
    """What `begin` knows, apart from the seed."""
    iteration: int
    """How many iterations are done."""

    @property
    def converged(self) -> bool:
        """Whether a further iteration would change nothing worth an iteration."""

    def step(self) -> FitMetrics:
        """Do one iteration; once converged it changes nothing but still says the metrics.

        Raises `MLModelError` UPDATE when the numbers grow without bounds or a feature is not finite.
        """

    def head(self) -> Head:
        """What is trained so far, a head of the registry, which an update continues as it is.

        It shares nothing with the fit.
        """

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that continuing needs and that is an array; without the data. They are the caller's own."""

    def describe(self) -> dict[str, Any]:
        """The rest, as JSON."""

    @classmethod
    def begin(cls, data: FitData, parameters: Mapping[str, object], seed: int) -> Self:
        """A fit before its first iteration.

        Raises `MLModelError` PARAMETERS for a parameter that is unknown or has a bad value.
        """

    @classmethod
    def restore(
        cls, data: FitData, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]
    ) -> Self:
        """The fit these came from; raises `MLModelError` IO when they do not fit together or to the data."""


def settings_of(
    descriptions: Iterable[MLParameterDescription], given: Mapping[str, object]
) -> dict[MLParameterKey, ParameterValue]:
    """Every described parameter with its value; raises `MLModelError` PARAMETERS as `resolve` does."""
    return resolve(descriptions, {MLParameterKey(name): value for name, value in given.items()})


def data_described(data: FitData) -> dict[str, Any]:
    """What a description says of the data it is of."""
    return {"classes": list(data.classes), "n_features": data.n_features}


def check_data(data: FitData, description: Mapping[str, Any]) -> None:
    """Raises `MLModelError` IO unless a fit that was laid down was of such data."""
    for name, value in data_described(data).items():
        if description[name] != value:
            raise MLModelError(
                MLModelErrorCode.IO, f"the fit was laid down for other data: {name} was {description[name]}"
            )
