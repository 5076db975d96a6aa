"""This is where samples are taken over in batches by the one who learns from them, each of them checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import MLFeatureProvider, MLFeatureType, value_of
from edge_agent.ml.labels import label_kind, plain_label
from edge_agent.ml.providers import (
    FEATURES,
    LABEL,
    ArrayProvider,
    MatrixBatchProvider,
    MLArrayBatchProvider,
    MLBatchProvider,
    Rows,
    label_count,
    sample_at,
    sample_count,
)
from edge_agent.ml.summed import Sums, sums_at_hand

__all__ = [
    "FEATURES",
    "LABEL",
    "ArrayProvider",
    "Block",
    "MLArrayBatchProvider",
    "MLBatchProvider",
    "MatrixBatchProvider",
    "Rows",
    "TrainingRows",
    "checked_features",
    "feature_blocks",
    "mini_batches",
    "training_rows",
]

Block = tuple[NDArray[np.float32], list[Any]]
"""Features [n, D] and n labels, all of them text or all of them whole numbers."""


class TrainingRows:
    """A provider as a learner wants it: named, typed, of one length and finite, or refused with the index.

    `n_features` None takes the length, `label_type` None the type of the labels (STRING or INT64) from the
    first sample; DOUBLE is for the numbers of a regression. Raises `MLModelError` at construction for an
    empty batch or an unusable first sample (unless `look_at_first` is false), later for the first unusable
    one: FEATURE_TYPE for a wrong type, UPDATE for the rest, among it a label of the other type, and whatever
    `before_reading` raises, which is called before the provider is asked for anything.
    """

    def __init__(
        self,
        provider: MLBatchProvider,
        *,
        n_features: int | None = None,
        label_type: MLFeatureType | None = None,
        feature_name: str = FEATURES,
        label_name: str = LABEL,
        look_at_first: bool = True,
        before_reading: Callable[[], None] | None = None,
    ) -> None:
        self._before_reading = before_reading
        self._provider = provider
        self._feature_name = feature_name
        self._label_name = label_name
        self._n_features = n_features
        self._label_type = label_type
        self._count = sample_count(provider)
        if self._count < 1:
            raise MLModelError(MLModelErrorCode.UPDATE, "the batch is empty: there is nothing to learn from")
        if look_at_first:
            self.arrays([0])

    @property
    def count(self) -> int:
        """How many samples there are."""
        return self._count

    @property
    def n_features(self) -> int:
        """Length of every sample's features; known once a sample was read."""
        assert self._n_features is not None
        return self._n_features

    @property
    def label_type(self) -> MLFeatureType:
        """STRING, INT64 or DOUBLE; known once a sample was read."""
        assert self._label_type is not None
        return self._label_type

    def sums(self, stop: Callable[[], None] = lambda: None) -> Sums | None:
        """The sums of all samples, where the provider keeps them."""

        def between() -> None:
            self._stop_if_told()
            stop()

        return sums_at_hand(self._provider, between)

    def features(self, at: int) -> MLFeatureProvider:
        """The sample at an index, as its provider has it."""
        return self._provider.features(at)

    def arrays(self, indices: Rows) -> Block:
        """Checked features float32 [n, D] and labels of the given indices."""
        wanted = range(*indices.indices(self._count)) if isinstance(indices, slice) else indices
        raw, labels = self._read(indices, wanted)
        if self._n_features is not None and raw.shape[1] != self._n_features:
            raise self._wrong(wanted[0], f"{raw.shape[1]} features, the model has {self._n_features}")
        with np.errstate(
            over="ignore"
        ):  # what does not fit float32 becomes infinite and is refused just below
            X = np.ascontiguousarray(raw, dtype=np.float32)
        if not np.isfinite(X).all():
            bad = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
            raise self._wrong(wanted[bad], "a feature is not a finite number")
        label_type = self._label_type
        for index, label in zip(wanted, labels, strict=True):
            kind = label_kind(label, label_type)
            if kind is None:
                raise self._wrong(index, f"the label is {label!r}", MLModelErrorCode.FEATURE_TYPE)
            label_type = label_type or kind
            if kind is not label_type:
                raise self._wrong(
                    index, f"the label {label!r} is {kind.name}, the others are {label_type.name}"
                )
        # Only samples that were found good say what the others have to be.
        self._n_features, self._label_type = X.shape[1], label_type
        if label_type is MLFeatureType.STRING:
            return X, list(labels)
        plain = int if label_type is MLFeatureType.INT64 else float
        return X, [plain(label) for label in labels]

    def _read(self, indices: Rows, wanted: Sequence[int]) -> tuple[NDArray[Any], Sequence[str | int | float]]:
        if isinstance(self._provider, ArrayProvider):
            self._stop_if_told()
            raw, labels = self._provider.arrays(indices)
            numbers = isinstance(raw, np.ndarray) and raw.dtype.kind in "iuf" and raw.ndim == 2
            given = label_count(labels)
            if not numbers or len(raw) != len(wanted) or given != len(wanted):
                shape = getattr(raw, "shape", type(raw).__name__)
                raise self._wrong(
                    wanted[0], f"{len(wanted)} samples asked for, {shape} and {given} labels given"
                )
            return raw, labels
        rows: list[NDArray[Any]] = []
        names: list[str | int | float] = []
        for index in wanted:
            row, label = self._sample(index)
            if rows and len(row) != len(rows[0]):
                raise self._wrong(index, f"{len(row)} features, those before have {len(rows[0])}")
            rows.append(row)
            names.append(label)
        return np.stack(rows), names

    def _sample(self, index: int) -> tuple[NDArray[Any], str | int | float]:
        self._stop_if_told()
        sample = sample_at(self._provider, index)
        try:
            row = value_of(sample, self._feature_name, missing=MLModelErrorCode.UPDATE)
            name = value_of(sample, self._label_name, missing=MLModelErrorCode.UPDATE)
            if row.type is not MLFeatureType.MULTI_ARRAY or row.is_undefined:
                shown = "undefined" if row.is_undefined else f"of type {row.type.name}"
                raise MLModelError(
                    MLModelErrorCode.FEATURE_TYPE,
                    f"feature {self._feature_name!r} is {shown}, expected MULTI_ARRAY",
                )
            label = plain_label(name, self._label_name, self._label_type)
        except MLModelError as error:
            raise self._wrong(index, str(error), error.code) from None
        array = row.multi_array_value
        if array.ndim != 1 or (self._n_features is not None and len(array) != self._n_features):
            expected = "one row" if self._n_features is None else f"({self._n_features},)"
            raise self._wrong(
                index, f"feature {self._feature_name!r} has shape {array.shape}, expected {expected}"
            )
        return array, label

    def _stop_if_told(self) -> None:
        if self._before_reading is not None:
            self._before_reading()

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
    try:
        matrix = np.asarray(X)
    except (ValueError, TypeError, OverflowError) as error:
        raise MLModelError(
            MLModelErrorCode.FEATURE_TYPE, f"expected numbers of shape (n, {n_features}): {error}"
        ) from None
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
