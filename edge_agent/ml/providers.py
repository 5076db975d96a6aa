"""This is where samples are handed over in batches by the one who has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureProvider

FEATURES = "features"
LABEL = "label"

Rows = Sequence[int] | slice


@runtime_checkable
class MLBatchProvider(Protocol):
    """Samples by index. Implement it lazily where they are many: one mini-batch is asked for at a time."""

    @property
    def count(self) -> int:
        """How many samples there are."""

    def features(self, at: int) -> MLFeatureProvider:
        """The sample at an index from 0 to `count - 1`."""


@runtime_checkable
class ArrayProvider(Protocol):
    """A batch provider that can also hand over many samples at once, which is far quicker."""

    @property
    def count(self) -> int:
        """How many samples there are."""

    def arrays(self, indices: Rows) -> tuple[NDArray[Any], Sequence[str | int | float]]:
        """Features float32 [n, D] and the n labels of the given indices, in their order."""


class MLArrayBatchProvider:
    """A batch held in memory: `array` of feature providers, or `dictionary` of equally long columns.

    Raises `MLModelError` GENERIC for columns of unequal length and for what is no list of samples and no
    mapping of columns, FEATURE_TYPE for values that cannot be represented or that differ in type within a
    column; the index or the name is in the text.
    """

    def __init__(
        self,
        array: Sequence[MLFeatureProvider] | None = None,
        *,
        dictionary: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        if (array is None) == (dictionary is None):
            raise TypeError("MLArrayBatchProvider takes either array or dictionary")
        self._array = _samples_of(array) if array is not None else _rows_of(dictionary)

    @property
    def array(self) -> tuple[MLFeatureProvider, ...]:
        """The samples."""
        return self._array

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self._array)

    def features(self, at: int) -> MLFeatureProvider:
        """The sample at an index."""
        return self._array[at]


def _samples_of(array: object) -> tuple[MLFeatureProvider, ...]:
    if not isinstance(array, Sequence) or isinstance(array, str | bytes):
        raise MLModelError(
            MLModelErrorCode.GENERIC, f"array is a list of feature providers, not {type(array).__name__}"
        )
    for at, sample in enumerate(array):
        if not isinstance(sample, MLFeatureProvider):
            raise MLModelError(
                MLModelErrorCode.FEATURE_TYPE, f"sample {at}: {type(sample).__name__} is no feature provider"
            )
    return tuple(array)


def _rows_of(columns: object) -> tuple[MLFeatureProvider, ...]:
    if not isinstance(columns, Mapping):
        raise MLModelError(
            MLModelErrorCode.GENERIC, f"dictionary is a mapping of columns, not {type(columns).__name__}"
        )
    lengths: dict[str, int] = {}
    for name, column in columns.items():
        listed = isinstance(column, Sequence) and not isinstance(column, str | bytes)
        if not listed and not (isinstance(column, np.ndarray) and column.ndim > 0):
            raise MLModelError(
                MLModelErrorCode.GENERIC, f"column {name!r} is no list but {type(column).__name__}"
            )
        lengths[name] = len(column)
    if len(set(lengths.values())) > 1:
        raise MLModelError(MLModelErrorCode.GENERIC, f"columns differ in length: {lengths}")
    rows = []
    for index in range(next(iter(lengths.values()), 0)):
        try:
            rows.append(MLDictionaryFeatureProvider({name: one[index] for name, one in columns.items()}))
        except MLModelError as error:
            raise MLModelError(error.code, f"sample {index}: {error}") from None
    for name in columns:
        kinds = {row[name].type for row in rows}
        if len(kinds) > 1:
            listed_kinds = ", ".join(sorted(kind.name for kind in kinds))
            raise MLModelError(MLModelErrorCode.FEATURE_TYPE, f"column {name!r} mixes types: {listed_kinds}")
    return tuple(rows)


class MatrixBatchProvider:
    """A batch over a matrix of features [n, D] and n labels, under the names `features` and `label`.

    Raises `MLModelError` GENERIC for what is no matrix and when the numbers of rows and labels differ.
    """

    def __init__(self, X: NDArray[Any], labels: Sequence[str | int | float]) -> None:
        count = label_count(labels)
        if not isinstance(X, np.ndarray) or X.ndim != 2 or len(X) != count:
            shape = getattr(X, "shape", type(X).__name__)
            raise MLModelError(
                MLModelErrorCode.GENERIC, f"a matrix of shape {shape} does not go with {count} labels"
            )
        self._X = X
        self._labels = list(labels)

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self._labels)

    def features(self, at: int) -> MLFeatureProvider:
        """The sample at an index."""
        return MLDictionaryFeatureProvider({FEATURES: self._X[at], LABEL: self._labels[at]})

    def arrays(self, indices: Rows) -> tuple[NDArray[Any], Sequence[str | int | float]]:
        """Features [n, D] and labels of the given indices."""
        if isinstance(indices, slice):
            return self._X[indices], self._labels[indices]
        return self._X[list(indices)], [self._labels[index] for index in indices]


def sample_at(provider: MLBatchProvider, at: int) -> MLFeatureProvider:
    """The sample at an index of somebody's own provider, to be learned from.

    Raises `MLModelError` that names the index for whatever the provider raises: its own code, else UPDATE.
    """
    try:
        return provider.features(at)
    except MLModelError as error:
        raise MLModelError(error.code, f"sample {at}: {error}") from error
    except Exception as error:
        raise MLModelError(
            MLModelErrorCode.UPDATE, f"sample {at}: {type(error).__name__}: {error}"
        ) from error


def label_count(labels: object) -> int | None:
    """How many labels there are, None for what is no list of labels."""
    if isinstance(labels, np.ndarray):
        return len(labels) if labels.ndim == 1 else None
    return len(labels) if isinstance(labels, Sequence) and not isinstance(labels, str | bytes) else None


def sample_count(provider: object) -> int:
    """How many samples a provider says it has; raises `MLModelError` GENERIC for what is no provider."""
    count = getattr(provider, "count", None)
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 0:
        raise MLModelError(
            MLModelErrorCode.GENERIC,
            f"a batch provider has a count and features by index; {type(provider).__name__} has not",
        )
    return int(count)


def is_in_memory(provider: object) -> bool:
    """Whether reading all samples costs no more than looking at them: one of the two here, read as it is."""
    kind = type(provider)
    return (
        getattr(kind, "arrays", None) is MatrixBatchProvider.arrays
        or getattr(kind, "features", None) is MLArrayBatchProvider.features
    )
