"""This is where the nearest of all remembered samples vote, as in Core ML's k-nearest-neighbours classifier."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MLBatchProvider, training_rows
from edge_agent.ml.exemplars import Exemplars, Growing, check_kind
from edge_agent.ml.heads.protocol import Parameters, Training, TrainingProgress, stored_array
from edge_agent.ml.neighbors import (
    KdTreeIndex,
    LinearIndex,
    NeighborIndex,
    inverse_distance_weights,
    unit_rows,
)
from edge_agent.ml.parameters import (
    MLNumericConstraint,
    MLParameterDescription,
    MLParameterKey,
    ParameterValue,
    resolve,
)

Matrix = NDArray[np.float64]
Key = MLParameterKey

DEFAULT_LABEL = "unknown"
_BLOCK_ROWS = 512


class KNearestNeighborsHead:
    """Remembers every sample; the `number_of_neighbors` nearest vote on a new one.

    Training appends in one pass, and a new label is a class at once. Nothing else is learned, so there is no
    loss. With nothing learned, and for a sample whose nearest neighbour lies beyond `unknown_distance`, the
    answer is `default_label`. Distances are squared Euclidean as in Core ML, or cosine; features are taken as
    they are. Equal votes go to the class learned first; classes learned together are sorted.
    """

    name: ClassVar[str] = "knn"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = (
        MLParameterDescription(Key.NUMBER_OF_NEIGHBORS, 5, MLNumericConstraint(1, 1000)),
        MLParameterDescription(
            Key.WEIGHTING_SCHEME, "uniform", allowed_values=frozenset({"uniform", "inverse_distance"})
        ),
        MLParameterDescription(Key.INDEX_TYPE, "linear", allowed_values=frozenset({"linear", "kd_tree"})),
        MLParameterDescription(Key.LEAF_SIZE, 30, MLNumericConstraint(1, 1_000_000)),
        MLParameterDescription(
            Key.DISTANCE, "squared_euclidean", allowed_values=frozenset({"squared_euclidean", "cosine"})
        ),
        # 0 stands for no limit in these two.
        MLParameterDescription(Key.UNKNOWN_DISTANCE, 0.0, MLNumericConstraint(0.0)),
        MLParameterDescription(Key.SAMPLES_PER_CLASS, 0, MLNumericConstraint(0)),
        MLParameterDescription(Key.KEEP_DUPLICATES, default_value=True),
    )

    def __init__(self, n_features: int, *, default_label: str | int | None = DEFAULT_LABEL) -> None:
        self._n_features = n_features
        self._default_label = default_label
        self._exemplars = Exemplars.none(n_features)
        self._settings = resolve(self.parameter_descriptions)
        self._index: NeighborIndex | None = None

    @property
    def n_features(self) -> int:
        """How many features a sample has."""
        return self._n_features

    @property
    def default_label(self) -> Any:
        """The answer where nothing that was learned fits."""
        return self._default_label

    @property
    def exemplars(self) -> Exemplars:
        """Everything remembered."""
        return self._exemplars

    @property
    def classes_(self) -> tuple[Any, ...]:
        """The labels in the order they were learned; those learned together are sorted."""
        return self._exemplars.classes

    @property
    def unknown_threshold(self) -> float | None:
        """`unknown_distance`, None where it is 0."""
        return float(self._settings[Key.UNKNOWN_DISTANCE]) or None

    @property
    def tuning(self) -> dict[Key, ParameterValue]:
        """The parameters in force."""
        return dict(self._settings)

    def tuned(self, parameters: Parameters) -> Self:
        """This head with other parameters for its answers; raises `MLModelError` PARAMETERS for a bad one."""
        other = self.copy()
        other.tune(parameters)
        return other

    def tune(self, parameters: Parameters) -> None:
        """Take other parameters; raises `MLModelError` PARAMETERS for a bad one."""
        settings = resolve(self.parameter_descriptions, {**self._settings, **parameters})
        if settings != self._settings:
            self._settings, self._index = settings, None

    def train(self, data: MLBatchProvider, parameters: Parameters) -> Training:
        """Remember all samples beside those known, in one pass; nothing can be changed on the way."""
        self.tune(parameters)
        rows = training_rows(data)
        if rows.n_features != self.n_features:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"sample 0: {rows.n_features} features, the model has {self.n_features}",
            )
        blocks = (
            rows.arrays(slice(start, min(start + _BLOCK_ROWS, rows.count)))
            for start in range(0, rows.count, _BLOCK_ROWS)
        )
        at, known = 0, len(self.classes_)
        for at in self._append(blocks, rows.count):
            yield TrainingProgress("mini_batch", 0, at)
        self._limit(known)
        yield TrainingProgress("epoch", 0, at)

    def remember(self, X: NDArray[np.float32], labels: Sequence[Any]) -> None:
        """Add samples [n, D] with their labels, as training does."""
        known = len(self.classes_)
        for _ in self._append(iter([(X, labels)]), len(labels)):
            pass
        self._limit(known)

    def _append(
        self, blocks: Iterator[tuple[NDArray[np.float32], Sequence[Any]]], count: int
    ) -> Iterator[int]:
        growing = Growing(self._exemplars, count)
        for index, (X, labels) in enumerate(blocks):
            self._check_kind(labels)
            self._know(growing.add(X, labels))
            yield index

    def _check_kind(self, labels: Sequence[Any]) -> None:
        if self._default_label is not None and not self.classes_ and len(labels):
            check_kind((self._default_label,), labels[0], "sample 0")

    def _limit(self, known: int) -> None:
        """Bring what was learned into order: labels behind the `known` ones, duplicates, too many of a class."""
        exemplars = self._exemplars.sorted_from(known)
        if not self._settings[Key.KEEP_DUPLICATES]:
            exemplars = exemplars.distinct()
        if self._settings[Key.SAMPLES_PER_CLASS]:
            exemplars = exemplars.newest(int(self._settings[Key.SAMPLES_PER_CLASS]))
        self._know(exemplars)

    def _know(self, exemplars: Exemplars) -> None:
        if exemplars is not self._exemplars:
            self._exemplars, self._index = exemplars, None

    def remove(self, indices: Collection[int]) -> None:
        """Forget samples by their index in `exemplars`; the others close ranks.

        This, `remove_label` and `relabel` raise `MLModelError` UPDATE for what is not there, and then change
        nothing.
        """
        self._know(self._exemplars.without(indices))

    def remove_label(self, label: str | int) -> None:
        """Forget every sample of a label, and the label."""
        self._know(self._exemplars.without_label(label))

    def relabel(self, index: int, label: str | int) -> None:
        """Give a sample another label; one that has no sample left is forgotten."""
        self._know(self._exemplars.relabelled(index, label))

    def indices_of(self, x: NDArray[Any]) -> list[int]:
        """Where in `exemplars` the features [D] are, every time they are remembered."""
        return self._exemplars.indices_of(x)

    def label_at(self, index: int) -> Any:
        """The label of the sample at an index in `exemplars`."""
        return self.classes_[self._exemplars.codes[index]]

    def _nearest(self, X: NDArray[np.float32], k: int) -> tuple[Matrix, NDArray[np.intp]]:
        """Distances and indices [n, min(k, N)] of the nearest, by the distance in force."""
        cosine = self._settings[Key.DISTANCE] == "cosine"
        index = self._index
        if index is None:
            rows = unit_rows(self._exemplars.rows) if cosine else self._exemplars.rows
            leaf_size = int(self._settings[Key.LEAF_SIZE])
            tree = self._settings[Key.INDEX_TYPE] == "kd_tree"
            index = self._index = KdTreeIndex(rows, leaf_size) if tree else LinearIndex(rows)
        if not cosine:
            return index.nearest(X, k)
        distances, indices = index.nearest(unit_rows(X), k)
        return distances / 2.0, indices

    def predict_proba(self, X: NDArray[np.float32]) -> Matrix:
        """The share of each class in the votes on features [n, D]: [n, C]."""
        P = np.zeros((len(X), len(self.classes_)))
        if not self.classes_:
            return P
        distances, indices = self._nearest(X, int(self._settings[Key.NUMBER_OF_NEIGHBORS]))
        uniform = self._settings[Key.WEIGHTING_SCHEME] == "uniform"
        votes = np.ones_like(distances) if uniform else inverse_distance_weights(distances)
        codes, rows = self._exemplars.codes[indices], np.arange(len(X))
        for column in range(votes.shape[1]):
            P[rows, codes[:, column]] += votes[:, column]
        P /= votes.sum(axis=1, keepdims=True)
        return P

    def distances(self, X: NDArray[np.float32]) -> Matrix | None:
        """Distance [n] to the nearest sample; None before anything was learned."""
        return self._nearest(X, 1)[0][:, 0] if self.classes_ else None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The samples float32 [N, D] and the class of each."""
        return {"rows": self._exemplars.rows, "codes": self._exemplars.codes}

    def describe(self) -> dict[str, Any]:
        """The labels, the default label and the parameters in force."""
        return {
            "classes": list(self.classes_),
            "n_features": self.n_features,
            "default_label": self._default_label,
            "parameters": {str(key): value for key, value in self._settings.items()},
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Self:
        """The head these came from; raises `MLModelError` IO when they do not fit together."""
        head = cls(description["n_features"], default_label=description["default_label"])
        classes = tuple(description["classes"])
        codes = stored_array(arrays, "codes", (None,), np.int32)
        if not np.array_equal(np.unique(codes), np.arange(len(classes))):
            raise MLModelError(MLModelErrorCode.IO, "the classes of the samples are not those that are named")
        rows = stored_array(arrays, "rows", (len(codes), head.n_features), np.float32)
        head._exemplars = Exemplars(rows, codes, classes)
        head.tune({Key(name): value for name, value in description["parameters"].items()})
        return head

    def copy(self) -> Self:
        """A head that knows the same; what it remembers is never changed in place, so it is shared."""
        return copy.copy(self)
