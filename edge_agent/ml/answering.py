"""This is where a model answers, for rows of features, for a sample and for a whole batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError
from edge_agent.ml.batches import MLArrayBatchProvider, MLBatchProvider, checked_features
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureProvider
from edge_agent.ml.heads.protocol import Head, TunableHead, ValueHead
from edge_agent.ml.ports import Ports
from edge_agent.ml.predicting import Completion, MLPredictionRequest


class Answering:
    """The part of a model that answers; it needs a head and the ports that samples go in by."""

    head: Head

    @property
    def ports(self) -> Ports:
        """The names, types and sizes of what goes in and comes out."""
        raise NotImplementedError

    @property
    def n_values(self) -> int | None:
        """How many numbers a model answers that gives no labels (a regression, an extractor); None otherwise."""
        return self.head.n_values if isinstance(self.head, ValueHead) else None

    @property
    def classes(self) -> tuple[Any, ...]:
        """The labels, all text or all whole numbers, in the order of the columns of `predict_proba`."""
        return self.head.classes_

    @property
    def n_features(self) -> int:
        """How many features a sample has, after the front of a pipeline."""
        return self.head.n_features

    @property
    def default_label(self) -> Any:
        """The label of what is unknown, where the head has one; None otherwise."""
        return self.head.default_label if isinstance(self.head, TunableHead) else None

    @property
    def unknown_threshold(self) -> float | None:
        """The distance above which a sample is unlike everything learned; None where the head cannot tell."""
        return self.head.unknown_threshold

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities [n, C] of features [n, D] in the order of `classes`; [n, 0] before training.

        Raises `MLModelError` FEATURE_TYPE, naming the row, for a wrong shape, type or a number that is not
        finite.
        """
        return self.head.predict_proba(checked_features(X, self.n_features))

    def distances(self, X: NDArray[Any]) -> NDArray[np.float64] | None:
        """How far each of [n, D] is from the nearest class [n]; None where the head cannot tell."""
        return self.head.distances(checked_features(X, self.n_features))

    def is_unknown(self, X: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of [n, D] are unlike everything learned [n]; none where the head cannot tell."""
        distances, threshold = self.distances(X), self.unknown_threshold
        if distances is None or threshold is None:
            return np.zeros(len(X), dtype=np.bool_)
        return np.asarray(distances > threshold)

    def predict(self, from_: MLFeatureProvider) -> MLDictionaryFeatureProvider:
        """Label and probability of each class for one sample; before training the label is undefined.

        Raises `MLModelError` FEATURE_TYPE for a missing feature, a wrong type, shape or a number that is not
        finite.
        """
        return self._answers(self.ports.row(from_)[None, :])[0]

    def predictions(self, from_: MLBatchProvider) -> MLArrayBatchProvider:
        """Predictions for a whole batch, in its order; raises as `predict`, naming the sample's index."""
        return _joined(self._answered(from_))

    @overload
    def begin_prediction(
        self,
        from_: MLBatchProvider,
        *,
        completion_handler: Completion[MLArrayBatchProvider] | None = None,
    ) -> MLPredictionRequest[MLArrayBatchProvider]: ...

    @overload
    def begin_prediction(
        self,
        from_: MLFeatureProvider,
        *,
        completion_handler: Completion[MLDictionaryFeatureProvider] | None = None,
    ) -> MLPredictionRequest[MLDictionaryFeatureProvider]: ...

    def begin_prediction(
        self, from_: Any, *, completion_handler: Completion[Any] | None = None
    ) -> MLPredictionRequest[Any]:
        """As `predict` for a sample and `predictions` for a batch, in the background: returns at once.

        What they raise comes out of the request's `result()`.
        """
        if isinstance(from_, MLBatchProvider):
            return MLPredictionRequest(
                lambda: self._answered(from_), _joined, completion_handler=completion_handler
            )
        return MLPredictionRequest(
            lambda: iter([self.predict(from_)]), lambda parts: parts[0], completion_handler=completion_handler
        )

    prediction = predict
    """Apple's name of it."""

    def _answered(self, batch: MLBatchProvider) -> Iterator[list[MLDictionaryFeatureProvider]]:
        """The answers for a batch, a block at a time."""
        for start, X in self.ports.blocks(batch):
            try:
                answers = self._answers(X)
            except MLModelError as error:
                raise MLModelError(error.code, f"in the samples from {start} on: {error}") from None
            yield answers

    def _answers(self, X: NDArray[Any]) -> list[MLDictionaryFeatureProvider]:
        if self.n_values is not None and isinstance(self.head, ValueHead):
            return self.ports.value_answers(self.head.values(checked_features(X, self.n_features)))
        P, default = self.predict_proba(X), self.default_label
        unknown = self.is_unknown(X) if self.classes and default is not None else np.zeros(len(X), np.bool_)
        return self.ports.answers(P, self.classes, default, unknown)


def _joined(blocks: Iterable[list[MLDictionaryFeatureProvider]]) -> MLArrayBatchProvider:
    return MLArrayBatchProvider(list(itertools.chain.from_iterable(blocks)))
