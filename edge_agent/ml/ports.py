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
from edge_agent.ml.providers import ArrayProvider, MLBatchProvider, sample_count

_ROWS = 512


@dataclass(frozen=True)
class Ports:
    """The names, types and sizes of what a classifier takes and gives."""

    input_name: str
    output_name: str
    n_features: int
    label_type: MLFeatureType

    @property
    def probabilities_name(self) -> str:
        """The name of the output with the probability of each class."""
        return f"{self.output_name}_probabilities"

    @property
    def features(self) -> MLFeatureDescription:
        """What a sample is."""
        return MLFeatureDescription(
            self.input_name,
            MLFeatureType.MULTI_ARRAY,
            multi_array_constraint=MLMultiArrayConstraint((self.n_features,), converts=True),
        )

    @property
    def label(self) -> MLFeatureDescription:
        """What it is called; answered, and asked for in training."""
        return MLFeatureDescription(self.output_name, self.label_type)

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
        for start in range(0, count, _ROWS):
            stop = min(start + _ROWS, count)
            if isinstance(batch, ArrayProvider):
                yield start, batch.arrays(slice(start, stop))[0]
            else:
                rows = [self.row(batch.features(at), f"sample {at}: ") for at in range(start, stop)]
                yield start, np.stack(rows)

    def row(self, sample: MLFeatureProvider, who: str = "") -> NDArray[Any]:
        """The features [D] of a sample.

        Raises `MLModelError` FEATURE_TYPE for a missing feature, a wrong type, shape or a number that is not
        finite.
        """
        try:
            value = value_of(sample, self.input_name, missing=MLModelErrorCode.FEATURE_TYPE)
        except MLModelError as error:
            raise MLModelError(error.code, f"{who}{error}") from None
        problem = self.features.problem(value)
        if problem is None and not np.isfinite(value.multi_array_value).all():
            problem = "an array with a number that is not a finite number"
        if problem is not None:
            raise MLModelError(
                MLModelErrorCode.FEATURE_TYPE, f"{who}feature {self.input_name!r} is {problem}"
            )
        return value.multi_array_value

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
