"""This is where a nearest-neighbours classifier is made, empty or with samples to begin with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.authoring.hyperparameters import bad_parameter, whole_number
from edge_agent.ml.authoring.labels import checked_label, same_kind
from edge_agent.ml.batches import checked_features
from edge_agent.ml.heads.knn import KNearestNeighborsHead
from edge_agent.ml.members import is_listed
from edge_agent.ml.model import MOST_FEATURES, MLModel, MLModelMetadata
from edge_agent.ml.parameters import MLNumericConstraint, MLParameterDescription, MLParameterKey, locked, only
from edge_agent.ml.providers import label_count

Key = MLParameterKey

MOST_NEIGHBORS = 1000


class KNearestNeighborsClassifierBuilder:
    """Makes a `KNearestNeighborsHead` model under names of its own, updatable unless `is_updatable` is False.

    `number_of_neighbors` may be 1 to 1000 until `set_number_of_neighbors_with_bounds` says otherwise; weighting,
    index, leaf size and distance are fixed in the model. Keywords that are not known are refused.

    Raises `MLModelError`: PARAMETERS for a value that is not allowed, GENERIC for names, dimensions or labels
    that cannot be.
    """

    def __init__(
        self,
        input_name: str,
        output_name: str,
        number_of_dimensions: int,
        default_class_label: str | int,
        *,
        number_of_neighbors: int = 5,
        weighting_scheme: str = "uniform",
        index_type: str = "linear",
        leaf_size: int = 30,
        distance: str = "squared_euclidean",
        unknown_distance: float = 0.0,
        samples_per_class: int = 0,
        keep_duplicates: bool = True,
    ) -> None:
        for what, name in (("input", input_name), ("output", output_name)):
            if not isinstance(name, str) or not name:
                raise _bad(f"the name of the {what} is a text, not {name!r}")
        if input_name == output_name:
            raise _bad(f"input and output have the same name, {input_name!r}")
        if isinstance(number_of_dimensions, bool) or not isinstance(number_of_dimensions, int):
            raise _bad(f"number_of_dimensions is a whole number, not {number_of_dimensions!r}")
        if number_of_dimensions < 1:
            raise _bad(f"number_of_dimensions is at least 1, not {number_of_dimensions}")
        if number_of_dimensions > MOST_FEATURES:
            raise _bad(f"number_of_dimensions is at most {MOST_FEATURES}, not {number_of_dimensions}")
        self._input_name, self._output_name = input_name, output_name
        self._default_label = checked_label(default_class_label, "default_class_label")
        self._head = KNearestNeighborsHead(number_of_dimensions, default_label=self._default_label)
        self.author = self.license = self.description = ""
        """Who made the model, under which license, and what for."""
        self.is_updatable = True
        self._allowed = MLNumericConstraint(1, MOST_NEIGHBORS)
        self._neighbors = _neighbors(number_of_neighbors)
        self._head.tune(
            {
                Key.WEIGHTING_SCHEME: weighting_scheme,
                Key.DISTANCE: distance,
                Key.UNKNOWN_DISTANCE: unknown_distance,
                Key.SAMPLES_PER_CLASS: samples_per_class,
                Key.KEEP_DUPLICATES: keep_duplicates,
            }
        )
        self.set_index_type(index_type, leaf_size)

    @property
    def number_of_dimensions(self) -> int:
        """How many numbers a sample has."""
        return self._head.n_features

    @property
    def weighting_scheme(self) -> str:
        """`uniform` or `inverse_distance`; may be set."""
        return str(self._head.tuning[Key.WEIGHTING_SCHEME])

    @weighting_scheme.setter
    def weighting_scheme(self, weighting_scheme: str) -> None:
        self._head.tune({Key.WEIGHTING_SCHEME: weighting_scheme})

    @property
    def index_type(self) -> str:
        """`linear` or `kd_tree`; `set_index_type` sets it."""
        return str(self._head.tuning[Key.INDEX_TYPE])

    @property
    def leaf_size(self) -> int:
        """The size of the leaves of a `kd_tree`."""
        return int(self._head.tuning[Key.LEAF_SIZE])

    @property
    def number_of_neighbors(self) -> int:
        """k, where the model is not told otherwise."""
        return self._neighbors

    def number_of_neighbors_allowed_range(self) -> tuple[int, int] | None:
        """The least and the greatest k allowed, or None where a set says which are."""
        low, high = self._allowed.min_number, self._allowed.max_number
        return None if low is None or high is None else (int(low), int(high))

    def number_of_neighbors_allowed_set(self) -> set[int] | None:
        """The only ks allowed, or None where a range says which are."""
        numbers = self._allowed.enumerated_numbers
        return None if numbers is None else {int(k) for k in numbers}

    @property
    def number_of_samples(self) -> int:
        """How many samples the model is going to know from the beginning."""
        return len(self._head.exemplars)

    def set_index_type(self, index_type: str, leaf_size: int = 30) -> None:
        """`linear` looks at all samples; `kd_tree` puts them in a tree with leaves of `leaf_size`."""
        size = whole_number(leaf_size, "leaf_size")
        if index_type == "linear" and size != 30:
            raise bad_parameter("leaf_size is for index_type='kd_tree'; a linear index has no leaves")
        self._head.tune({Key.INDEX_TYPE: index_type, Key.LEAF_SIZE: size})

    def set_number_of_neighbors_with_bounds(
        self,
        number_of_neighbors: int,
        *,
        allowed_range: tuple[int, int] | None = None,
        allowed_set: Collection[int] | None = None,
    ) -> None:
        """k and what may be chosen instead: either a range, both ends allowed, or a set."""
        if (allowed_range is None) == (allowed_set is None):
            raise bad_parameter("give either allowed_range or allowed_set")
        k = _neighbors(number_of_neighbors)
        for what, given in (("set", allowed_set), ("range", allowed_range)):
            if given is not None and not is_listed(given):
                raise bad_parameter(f"the allowed {what} of number_of_neighbors lists numbers, not {given!r}")
        if allowed_set is not None:
            numbers = {_neighbors(one, "every allowed number_of_neighbors") for one in allowed_set}
            if not numbers:
                raise bad_parameter("the allowed set of number_of_neighbors is empty")
            if k not in numbers:
                raise bad_parameter(f"number_of_neighbors {k} is not in its allowed set {sorted(numbers)}")
            allowed = only(*numbers)
        else:
            assert allowed_range is not None
            ends = [_neighbors(one, "every allowed number_of_neighbors") for one in allowed_range]
            if len(ends) != 2:
                raise bad_parameter(f"allowed_range is (least, most), not {allowed_range!r}")
            low, high = ends
            if low > high:
                raise bad_parameter(
                    f"the allowed range of number_of_neighbors is empty: {low} is above {high}"
                )
            if not low <= k <= high:
                raise bad_parameter(f"number_of_neighbors {k} is not in its allowed range {low} to {high}")
            allowed = MLNumericConstraint(low, high)
        self._neighbors, self._allowed = k, allowed

    def add_samples(self, data_points: Any, labels: Sequence[str | int]) -> None:
        """Give the model samples [n, number_of_dimensions] with n labels of the kind of the default label."""
        try:
            X = np.asarray(data_points)
        except (ValueError, TypeError, OverflowError):
            raise _bad("the points are not all of one length") from None
        if X.ndim != 2 or X.shape[1] != self._head.n_features:
            raise _bad(f"points of shape {X.shape}, expected (n, {self._head.n_features})")
        count = label_count(labels)
        if len(X) != count:
            raise _bad(f"{len(X)} points do not go with {count} labels")
        known = [checked_label(label, f"sample {index}: the label") for index, label in enumerate(labels)]
        for index, label in enumerate(known):
            same_kind(self._default_label, label, f"sample {index}")
        if len(X):
            self._head.remember(checked_features(X, self._head.n_features), known)

    def model(self) -> MLModel:
        """The model, writable; what is added to the builder later does not change it."""
        return MLModel(
            self._head.copy(),
            metadata=MLModelMetadata(description=self.description, author=self.author, license=self.license),
            is_writable=True,
            parameter_descriptions=self._descriptions(),
            input_name=self._input_name,
            output_name=self._output_name,
            not_updatable_because="" if self.is_updatable else "its author made it so",
        )

    def _descriptions(self) -> list[MLParameterDescription]:
        settings = self._head.tuning
        fixed = {Key.WEIGHTING_SCHEME, Key.INDEX_TYPE, Key.LEAF_SIZE, Key.DISTANCE}
        described = []
        for one in self._head.parameter_descriptions:
            if one.key == Key.NUMBER_OF_NEIGHBORS:
                described.append(
                    replace(one, default_value=self._neighbors, numeric_constraint=self._allowed)
                )
            elif one.key in fixed:
                described.append(locked(one, settings[one.key]))
            else:
                described.append(replace(one, default_value=settings[one.key]))
        return described


def _neighbors(value: object, who: str = "number_of_neighbors") -> int:
    k = whole_number(value, who)
    if k > MOST_NEIGHBORS:
        raise bad_parameter(f"{who} is at most {MOST_NEIGHBORS}, not {k}")
    return k


def _bad(problem: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.GENERIC, problem)
