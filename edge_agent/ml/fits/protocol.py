"""This is where it is written down what a head being trained in iterations can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.heads.protocol import Head

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
        elif not (counts := np.bincount(self.y, minlength=len(self.classes))).all():
            problem = f"the class {self.classes[int(counts.argmin())]!r} has no samples"
        if problem:
            raise MLModelError(MLModelErrorCode.UPDATE, f"data of a fit: {problem}")

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.X.shape[1])

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many rows each class has [C]."""
        return np.bincount(self.y, minlength=len(self.classes))

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
        """All rows in order, `rows` at a time: features [m, D] and classes [m]."""
        for start in range(0, len(self.y), rows):
            yield self.X[start : start + rows], self.y[start : start + rows]


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
    converged: bool
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
