"""This is where the samples of a pipeline become features, each of them once."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import MLFeatureProvider, value_of
from edge_agent.ml.front import Front
from edge_agent.ml.labels import plain_label
from edge_agent.ml.ports import input_problem
from edge_agent.ml.providers import MLBatchProvider, Rows, sample_at, sample_count
from edge_agent.ml.values import MLFeatureType, MLFeatureValue

MOST_IN_MEMORY = 16 * 1024 * 1024
"""In bytes: features of more samples wait in a file without a name, in the folder for temporary files."""


class ExtractedBatchProvider:
    """The samples of another batch as the last stage of a pipeline learns them.

    Each is extracted when it is first asked for; every later epoch finds its features ready. Raises
    `MLModelError` IO where there is no room for the features.
    """

    def __init__(
        self, provider: MLBatchProvider, front: Front, *, label_name: str, label_type: MLFeatureType | None
    ) -> None:
        self._provider = provider
        self._front = front
        self._label_name = label_name
        self._label_type = label_type
        self._count = sample_count(provider)
        self._X = _room(self._count, front.n_features)
        self._labels: list[Any] = [None] * self._count
        self.before_reading: Callable[[], None] = lambda: None
        """Called before each sample is extracted; may raise to stop the reader."""

    @property
    def count(self) -> int:
        """How many samples there are."""
        return self._count

    def features(self, at: int) -> MLFeatureProvider:
        """The sample at an index, before extraction."""
        return self._provider.features(at)

    def arrays(self, indices: Rows) -> tuple[NDArray[Any], Sequence[str | int | float]]:
        """Features float32 [n, D] and labels of the given indices.

        Raises `MLModelError`, naming the index: UPDATE for a missing feature and for a size or shape that the
        pipeline does not take, FEATURE_TYPE for another type.
        """
        wanted = list(range(self._count)[indices] if isinstance(indices, slice) else indices)
        for at in wanted:
            if self._labels[at] is None:
                self._extract(at)
        return np.array(self._X[wanted]), [self._labels[at] for at in wanted]

    def check(self) -> None:
        """Look at every sample and extract none; raises as `arrays`."""
        for at in range(self._count):
            sample = sample_at(self._provider, at)
            with _naming(at):
                self._read(sample)

    def _extract(self, at: int) -> None:
        self.before_reading()
        sample = sample_at(self._provider, at)
        with _naming(at):
            value, label = self._read(sample)
            self._X[at] = self._front.row(value)
        self._labels[at] = label

    def _read(self, sample: MLFeatureProvider) -> tuple[MLFeatureValue, str | int | float]:
        """What a sample is and what it is called."""
        name = self._front.input.name
        value = value_of(sample, name, missing=MLModelErrorCode.UPDATE)
        given = value_of(sample, self._label_name, missing=MLModelErrorCode.UPDATE)
        label = plain_label(given, self._label_name, self._label_type)
        problem = input_problem(self._front.input, value)
        if problem is not None:
            other = value.type is not self._front.input.type or value.is_undefined
            code = MLModelErrorCode.FEATURE_TYPE if other else MLModelErrorCode.UPDATE
            raise MLModelError(code, f"feature {name!r} is {problem}")
        return value, label


@contextlib.contextmanager
def _naming(at: int) -> Iterator[None]:
    """Whatever is wrong in here is wrong with this sample."""
    try:
        yield
    except MLModelError as error:
        raise MLModelError(error.code, f"sample {at}: {error}") from error


def _room(count: int, n_features: int) -> NDArray[np.float32]:
    """An array [count, n_features] to be filled; raises `MLModelError` IO where there is no room for it."""
    size = count * n_features * np.dtype(np.float32).itemsize
    if size <= MOST_IN_MEMORY:
        return np.empty((count, n_features), np.float32)
    try:
        # The file has no name from the start, so nothing of it stays whatever happens to this process.
        with tempfile.TemporaryFile() as file:
            # Taken at once: where a mapped file finds no room later, the system ends the process.
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.float32, "r+", shape=(count, n_features))
    except OSError as error:
        raise MLModelError(
            MLModelErrorCode.IO,
            f"the features of {count} samples need {size} bytes in the folder for temporary files:"
            f" {error.strerror or error}",
        ) from error
