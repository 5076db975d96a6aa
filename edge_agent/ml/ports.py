"""This is where samples go into a model and answers come out, under the names its author gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.constraints import MLDictionaryConstraint, MLMultiArrayConstraint
from edge_agent.ml.description import MLFeatureDescription
from edge_agent.ml.features import (
    MLDictionaryFeatureProvider,
    MLFeatureProvider,
    MLFeatureType,
    MLFeatureValue,
    value_of,
)
from edge_agent.ml.front import Front
from edge_agent.ml.providers import ArrayProvider, MLBatchProvider, sample_count

_ROWS = 512
_ROWS_BEHIND_FRONT = 16
"""Extracting takes so much longer than answering that larger blocks gain nothing; a prediction can be cancelled
between two."""


@dataclass(frozen=True)
class Ports:
    """The names, types and sizes of what a model takes and gives: features or, before a front, whatever that
    takes; a label with probabilities or, where there are `n_values`, numbers."""

    input_name: str
    output_name: str
    n_features: int
    label_type: MLFeatureType
    front: Front | None = None
    n_values: int | None = None

    @property
    def probabilities_name(self) -> str:
        """The name of the output with the probability of each class."""
        return f"{self.output_name}_probabilities"

    @property
    def features(self) -> MLFeatureDescription:
        """What a sample is."""
        if self.front is not None:
            return self.front.input
        return MLFeatureDescription(
            self.input_name,
            MLFeatureType.MULTI_ARRAY,
            multi_array_constraint=MLMultiArrayConstraint((self.n_features,), converts=True),
        )

    @property
    def label(self) -> MLFeatureDescription:
        """What it is called, or the number it should be answered with; answered, and asked for in training."""
        if self.n_values is not None and self.n_values > 1:
            return MLFeatureDescription(
                self.output_name,
                MLFeatureType.MULTI_ARRAY,
                multi_array_constraint=MLMultiArrayConstraint((self.n_values,), converts=True),
            )
        return MLFeatureDescription(self.output_name, self.label_type)

    @property
    def outputs(self) -> dict[str, MLFeatureDescription]:
        """Everything answered, by name."""
        given = {self.output_name: self.label}
        if self.n_values is None:
            given[self.probabilities_name] = self.probabilities
        return given

    @property
    def probabilities(self) -> MLFeatureDescription:
        """How probable each class is."""
        return MLFeatureDescription(
            self.probabilities_name,
            MLFeatureType.DICTIONARY,
            dictionary_constraint=MLDictionaryConstraint(self.label_type),
        )

    def blocks(self, batch: MLBatchProvider) -> Iterator[tuple[int, NDArray[Any]]]:
        """All samples in order, a block at a time: the index of the first, the features [n, D].

        Raises as `row`, naming the index.
        """
        count = sample_count(batch)
        size = _ROWS if self.front is None else _ROWS_BEHIND_FRONT
        for start in range(0, count, size):
            stop = min(start + size, count)
            if isinstance(batch, ArrayProvider) and self.front is None:
                yield start, batch.arrays(slice(start, stop))[0]
            else:
                rows = [self.row(batch.features(at), f"sample {at}: ") for at in range(start, stop)]
                yield start, np.stack(rows)

    def row(self, sample: MLFeatureProvider, who: str = "") -> NDArray[Any]:
        """The features [D] of a sample.

        Raises `MLModelError` FEATURE_TYPE for a missing feature, a wrong type, shape or a number that is not
        finite, and whatever a stage of the front raises.
        """
        try:
            value = value_of(sample, self.input_name, missing=MLModelErrorCode.FEATURE_TYPE)
            problem = input_problem(self.features, value)
            if problem is not None:
                raise MLModelError(MLModelErrorCode.FEATURE_TYPE, f"feature {self.input_name!r} is {problem}")
            return value.multi_array_value if self.front is None else self.front.row(value)
        except MLModelError as error:
            raise MLModelError(error.code, f"{who}{error}") from error

    def answers(
        self, P: NDArray[np.float64], classes: Sequence[Any], default: Any, unknown: NDArray[np.bool_]
    ) -> list[MLDictionaryFeatureProvider]:
        """The most probable of C classes and the probabilities [n, C], for each sample.

        What is `unknown` [n], and all where there are no classes, is `default`; where that is None the label
        is undefined.
        """
        nothing = MLFeatureValue(undefined=self.label_type) if default is None else default
        labels = [classes[int(row.argmax())] for row in P] if classes else [nothing] * len(P)
        return [
            MLDictionaryFeatureProvider(
                {
                    self.output_name: nothing if far else label,
                    self.probabilities_name: dict(zip(classes, row.tolist(), strict=True)),
                }
            )
            for label, row, far in zip(labels, P, unknown, strict=True)
        ]

    def value_answers(self, V: NDArray[np.float64]) -> list[MLDictionaryFeatureProvider]:
        """Numbers [n, n_values], for each sample: a DOUBLE where there is one, an array of several."""
        return [
            MLDictionaryFeatureProvider(
                {self.output_name: float(row[0]) if self.n_values == 1 else np.array(row)}
            )
            for row in V
        ]


def input_problem(wanted: MLFeatureDescription, value: MLFeatureValue) -> str | None:
    """Why a value cannot be learned or predicted from, None where it can."""
    problem = wanted.problem(value)
    if problem is None and value.type is MLFeatureType.MULTI_ARRAY:
        finite = np.isfinite(value.multi_array_value).all()
        return None if finite else "an array with a number that is not a finite number"
    return problem
