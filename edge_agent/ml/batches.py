"""This is where samples are handed over in batches: by the one who has them, to the one who learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureProvider, MLFeatureType

FEATURES = "features"
LABEL = "label"

Rows = Sequence[int] | slice
Block = tuple[NDArray[np.float32], list[str]]


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

    def arrays(self, indices: Rows) -> tuple[NDArray[Any], list[str]]:
        """Features float32 [n, D] and the n labels of the given indices, in their order."""


class MLArrayBatchProvider:
    """A batch held in memory: `array` of feature providers, or `dictionary` of equally long columns.

    Raises `MLModelError` GENERIC for columns of unequal length, FEATURE_TYPE for values that cannot be
    represented or that differ in type within a column.
    """

    def __init__(
        self,
        array: Sequence[MLFeatureProvider] | None = None,
        *,
        dictionary: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        if (array is None) == (dictionary is None):
            raise TypeError("MLArrayBatchProvider takes either array or dictionary")
        self._array = tuple(array) if array is not None else _rows_of(dictionary or {})

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


def _rows_of(columns: Mapping[str, Sequence[object]]) -> tuple[MLFeatureProvider, ...]:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise MLModelError(MLModelErrorCode.GENERIC, f"columns differ in length: {lengths}")
    count = next(iter(lengths.values()), 0)
    rows = tuple(
        MLDictionaryFeatureProvider({name: column[index] for name, column in columns.items()})
        for index in range(count)
    )
    for name in columns:
        kinds = {row[name].type for row in rows}
        if len(kinds) > 1:
            listed = ", ".join(sorted(kind.name for kind in kinds))
            raise MLModelError(MLModelErrorCode.FEATURE_TYPE, f"column {name!r} mixes types: {listed}")
    return rows


class MatrixBatchProvider:
    """A batch over a matrix of features [n, D] and n labels, under the names `features` and `label`."""

    def __init__(self, X: NDArray[Any], labels: Sequence[str]) -> None:
        if X.ndim != 2 or len(X) != len(labels):
            raise MLModelError(
                MLModelErrorCode.GENERIC, f"a matrix of shape {X.shape} does not go with {len(labels)} labels"
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

    def arrays(self, indices: Rows) -> tuple[NDArray[Any], list[str]]:
        """Features [n, D] and labels of the given indices."""
        if isinstance(indices, slice):
            return self._X[indices], self._labels[indices]
        return self._X[list(indices)], [self._labels[index] for index in indices]


class TrainingRows:
    """A provider as a learner wants it: named, typed, of one length and finite, or refused with the index.

    `n_features` None takes the length from the first sample. Raises `MLModelError` at construction for an
    empty batch or an unusable first sample, later for the first unusable one: FEATURE_TYPE for a wrong type,
    UPDATE for the rest.
    """

    def __init__(
        self,
        provider: MLBatchProvider,
        *,
        n_features: int | None = None,
        feature_name: str = FEATURES,
        label_name: str = LABEL,
    ) -> None:
        self._provider = provider
        self._feature_name = feature_name
        self._label_name = label_name
        self._n_features = n_features
        self._count = int(provider.count)
        if self._count < 1:
            raise MLModelError(MLModelErrorCode.UPDATE, "the batch is empty: there is nothing to learn from")
        X, _ = self.arrays([0])
        self._n_features = X.shape[1]

    @property
    def count(self) -> int:
        """How many samples there are."""
        return self._count

    @property
    def n_features(self) -> int:
        """Length of every sample's features."""
        assert self._n_features is not None
        return self._n_features

    def features(self, at: int) -> MLFeatureProvider:
        """The sample at an index, as its provider has it."""
        return self._provider.features(at)

    def arrays(self, indices: Rows) -> Block:
        """Checked features float32 [n, D] and labels of the given indices."""
        wanted = range(*indices.indices(self._count)) if isinstance(indices, slice) else indices
        if isinstance(self._provider, ArrayProvider):
            raw, labels = self._provider.arrays(indices)
            if raw.ndim != 2 or len(raw) != len(wanted) or len(labels) != len(wanted):
                raise self._wrong(
                    wanted[0], f"{len(wanted)} samples asked for, {raw.shape} and {len(labels)} labels given"
                )
        else:
            samples = [self._sample(index) for index in wanted]
            raw, labels = np.stack([row for row, _ in samples]), [label for _, label in samples]
        if self._n_features is not None and raw.shape[1] != self._n_features:
            raise self._wrong(wanted[0], f"{raw.shape[1]} features, the model has {self._n_features}")
        with np.errstate(
            over="ignore"
        ):  # what does not fit float32 becomes infinite and is refused just below
            X = np.ascontiguousarray(raw, dtype=np.float32)
        if not np.isfinite(X).all():
            bad = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
            raise self._wrong(wanted[bad], "a feature is not a finite number")
        for index, label in zip(wanted, labels, strict=True):
            if not isinstance(label, str) or not label:
                raise self._wrong(index, f"the label is {label!r}", MLModelErrorCode.FEATURE_TYPE)
        return X, labels

    def _sample(self, index: int) -> tuple[NDArray[Any], str]:
        sample = self._provider.features(index)
        values = []
        for name, kind in (
            (self._feature_name, MLFeatureType.MULTI_ARRAY),
            (self._label_name, MLFeatureType.STRING),
        ):
            value = sample.feature_value(name)
            if value is None:
                has = ", ".join(sorted(sample.feature_names)) or "none"
                raise self._wrong(index, f"there is no feature named {name!r}; it has {has}")
            if value.type is not kind or value.is_undefined:
                shown = "undefined" if value.is_undefined else f"of type {value.type.name}"
                raise self._wrong(
                    index, f"feature {name!r} is {shown}, expected {kind.name}", MLModelErrorCode.FEATURE_TYPE
                )
            values.append(value)
        row = values[0].multi_array_value
        if row.ndim != 1 or (self._n_features is not None and len(row) != self._n_features):
            expected = "one row" if self._n_features is None else f"({self._n_features},)"
            raise self._wrong(
                index, f"feature {self._feature_name!r} has shape {row.shape}, expected {expected}"
            )
        return row, values[1].string_value

    @staticmethod
    def _wrong(index: int, problem: str, code: MLModelErrorCode = MLModelErrorCode.UPDATE) -> MLModelError:
        return MLModelError(code, f"sample {index}: {problem}")


def training_rows(provider: MLBatchProvider) -> TrainingRows:
    """The provider with its samples checked on the way; one that already is comes back as it is."""
    return provider if isinstance(provider, TrainingRows) else TrainingRows(provider)


def feature_blocks(provider: MLBatchProvider, *, rows: int = 512) -> Iterator[Block]:
    """All samples in order, at most `rows` at a time: features float32 [n, D] and n labels.

    Raises `MLModelError` that names the index of the first unusable sample.
    """
    checked = training_rows(provider)
    for start in range(0, checked.count, rows):
        yield checked.arrays(slice(start, min(start + rows, checked.count)))


def mini_batches(
    provider: MLBatchProvider, size: int, rng: np.random.Generator | None = None
) -> Iterator[Block]:
    """One pass over all samples, `size` at a time (the last may be smaller), shuffled when `rng` is given."""
    checked = training_rows(provider)
    if rng is None:
        yield from feature_blocks(checked, rows=size)
        return
    order = rng.permutation(checked.count)
    for start in range(0, checked.count, size):
        yield checked.arrays([int(index) for index in order[start : start + size]])


def checked_features(X: NDArray[Any], n_features: int) -> NDArray[np.float32]:
    """A matrix to predict from, as float32 [n, D].

    Raises `MLModelError` FEATURE_TYPE, naming the row, unless it is [n, n_features] of finite numbers.
    """
    matrix = np.asarray(X)
    if matrix.ndim != 2 or matrix.shape[1] != n_features or matrix.dtype.kind not in "iuf":
        raise MLModelError(
            MLModelErrorCode.FEATURE_TYPE,
            f"expected numbers of shape (n, {n_features}), got {matrix.dtype} of shape {matrix.shape}",
        )
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(matrix, dtype=np.float32)
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise MLModelError(MLModelErrorCode.FEATURE_TYPE, f"row {bad}: a feature is not a finite number")
    return rows
