"""This is where samples are offered with their sums made already, so that nobody has to read them all."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.statistics import ClassStatistics


@dataclass(frozen=True)
class Sums:
    """What is known of all samples of a batch without reading them."""

    statistics: ClassStatistics
    """Counts, class sums and Gram matrix of their signed roots; not to be changed."""
    marks: NDArray[np.uint32]
    """The content mark of each sample [n], in the order of the batch."""


@runtime_checkable
class SummedBatchProvider(Protocol):
    """What a batch provider may have besides."""

    def sums(self, stop: Callable[[], None]) -> Sums | None:
        """Of exactly its samples; None where they are not kept.

        `stop` is called between blocks of samples; what it raises ends the reading.
        """


def sums_at_hand(provider: object, stop: Callable[[], None] = lambda: None) -> Sums | None:
    """The sums of a batch, if its provider has them."""
    return provider.sums(stop) if isinstance(provider, SummedBatchProvider) else None


def content_marks(X: NDArray[np.float32]) -> list[int]:
    """A number for each row [n, D] that depends on its bits only (CRC-32).

    Which samples are looked at more closely must not depend on the order of arrival, so their content decides.
    """
    return [zlib.crc32(row) for row in np.ascontiguousarray(X)]
