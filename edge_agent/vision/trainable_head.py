"""This is where a TFLite model that trains itself becomes a head, and with it a model that tasks update."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import (
    Block,
    MatrixBatchProvider,
    MLBatchProvider,
    TrainingRows,
    feature_blocks,
    mini_batches,
)
from edge_agent.ml.features import MLFeatureType
from edge_agent.ml.heads.protocol import Head, Matrix, Parameters, Training, TrainingProgress, stored_array
from edge_agent.ml.labels import label_type_of
from edge_agent.ml.model import BUILT_IN_HEADS, MLModel, MLModelMetadata
from edge_agent.ml.parameters import (
    MLNumericConstraint,
    MLParameterDescription,
    MLParameterKey,
    ParameterValue,
    resolve,
)
from edge_agent.vision.trainable import TrainableModel

Key = MLParameterKey

_FILE = "model"
_WEIGHTS = "weights/"


class TrainableHead:
    """A `.tflite` with signatures for training, behind the protocol of every learning method.

    It begins from a file (`from_file`, `trainable_model`), never from nothing. The runtime does the steps;
    order, mini-batches and epochs are the task's parameters. `learning_rate` is one only where the file's
    `train` takes it; a file for a fixed number of samples fixes `mini_batch_size`, and its last mini-batch of
    an epoch is filled up with samples from the first. The same file, runtime, data, parameters and seed give
    the same bits.

    Classes: the labels given with the file name its outputs in their order. Labels that are met later take
    the next free outputs, those met together sorted; an update with more labels than outputs is refused.
    A regression (see `training_layout`) has no classes: it learns and answers numbers (`values`).
    """

    name: ClassVar[str] = "tflite"
    file_suffix: ClassVar[str] = ".tflite"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = (
        MLParameterDescription(
            Key.LEARNING_RATE, 0.05, MLNumericConstraint(0.0, 100.0), adjustable_in_progress=True
        ),
        MLParameterDescription(Key.EPOCHS, 20, MLNumericConstraint(1, 100_000), adjustable_in_progress=True),
        MLParameterDescription(Key.MINI_BATCH_SIZE, 32, MLNumericConstraint(1, 65_536)),
        MLParameterDescription(Key.SHUFFLE, default_value=True),
        MLParameterDescription(Key.SEED, 0, MLNumericConstraint(0, 2**63 - 1)),
    )

    def __init__(self, n_features: int, model: TrainableModel | None = None) -> None:
        if model is None or model.layout.n_features != n_features:
            raise MLModelError(
                MLModelErrorCode.CUSTOM_MODEL,
                f"the head {self.name!r} begins from a .tflite file for {n_features} features;"
                " use trainable_model",
            )
        self._name = model.name
        self._runtime = model.runtime.name
        self._layout = model.layout
        self._source = model.data
        self._sha256 = model.sha256
        self._classes: tuple[Any, ...] = ()
        self._parameters: dict[str, ParameterValue] = {}
        self._weights: Mapping[str, NDArray[Any]] = model.weights()
        # The interpreter, while there is one; a copy opens its own only when it is asked something.
        self._model: TrainableModel | None = model
        # What this file can be told, in place of what every file of the kind may be told.
        vars(self)["parameter_descriptions"] = self._own_descriptions()

    @classmethod
    def from_file(cls, path: Path | str, *, labels: Sequence[str | int] = (), runtime: str = "auto") -> Self:
        """The head that a file holds; `labels` name the first outputs, in their order.

        Raises `MLModelError` as `TrainableModel`, and GENERIC for labels that do not fit the outputs.
        """
        model = TrainableModel(path, runtime=runtime)
        head = cls(model.layout.n_features, model)
        most = head._layout.n_outputs if head._layout.is_classifier else 0
        if len(labels) > most or len(set(labels)) != len(labels) or None in map(label_type_of, labels):
            raise MLModelError(
                MLModelErrorCode.GENERIC,
                f"{path}: {len(labels)} labels were given for {most} classes; each needs one of its own",
            )
        head._classes = tuple(labels)
        return head

    def _own_descriptions(self) -> tuple[MLParameterDescription, ...]:
        rows = self._layout.train_rows
        own = []
        for one in type(self).parameter_descriptions:
            if one.key == Key.LEARNING_RATE and self._layout.learning_rate is None:
                continue
            if one.key == Key.MINI_BATCH_SIZE and rows is not None:
                only = MLNumericConstraint(rows, rows, frozenset({rows}))
                own.append(replace(one, default_value=rows, numeric_constraint=only))
            else:
                own.append(one)
        return tuple(own)

    @property
    def n_features(self) -> int:
        """How many features a sample has."""
        return self._layout.n_features

    @property
    def unknown_threshold(self) -> float | None:
        """None: the file's answers do not tell the unknown from the undecided."""
        return None

    @property
    def classes_(self) -> tuple[Any, ...]:
        """The labels of the outputs that have one, in their order; none for a regression."""
        return self._classes

    @property
    def model(self) -> TrainableModel:
        """The model in its interpreter, as far as it is trained."""
        if self._model is None:
            model = TrainableModel(self._name, data=self._source, runtime=self._runtime)
            model.set_weights(self._weights)
            self._model = model
        return self._model

    def train(self, data: MLBatchProvider, parameters: Parameters) -> Training:
        """Learn in epochs of mini-batches, after one pass that checks every label.

        What is sent in may change the learning rate and the number of epochs; an epoch that has begun is
        finished.
        """
        settings = resolve(self.parameter_descriptions, parameters)
        rows = data
        if not isinstance(rows, TrainingRows):
            kind = MLFeatureType.DOUBLE if self.n_values is not None else None
            rows = TrainingRows(rows, label_type=kind)
        if rows.n_features != self.n_features:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"sample 0: {rows.n_features} features, the model has {self.n_features}",
            )
        self._check_labels(rows)
        model = self.model
        rng = np.random.default_rng(int(settings[Key.SEED])) if settings[Key.SHUFFLE] else None
        epoch = 0
        while epoch < int(settings[Key.EPOCHS]):
            self._parameters = {str(key): value for key, value in settings.items()}
            index, seen, loss_sum = 0, 0, 0.0
            batches = mini_batches(rows, int(settings[Key.MINI_BATCH_SIZE]), rng)
            for index, (n, (X, labels)) in enumerate(self._filled(batches)):
                rate = settings.get(Key.LEARNING_RATE)
                loss = model.train(
                    X, self._targets(labels), learning_rate=None if rate is None else float(rate)
                )
                seen, loss_sum = seen + n, loss_sum + loss * n
                settings = self._changed(
                    settings, (yield TrainingProgress("mini_batch", epoch, index, {"loss_value": loss}))
                )
            self._check_weights(epoch)
            progress = TrainingProgress("epoch", epoch, index, {"loss_value": loss_sum / seen})
            settings = self._changed(settings, (yield progress))
            epoch += 1

    def _filled(self, batches: Iterator[Block]) -> Iterator[tuple[int, Block]]:
        """Each mini-batch with the number of its own samples, filled up where the file wants so many."""
        size = self._layout.train_rows
        first: Block | None = None
        for X, labels in batches:
            first = first or (X, labels)
            n = len(labels)
            if size is None or n == size:
                yield n, (X, labels)
                continue
            pool, names = np.concatenate([X, first[0]]), [*labels, *first[1]]
            order = np.arange(size) % len(names)
            yield n, (pool[order], [names[at] for at in order])

    def _check_labels(self, rows: MLBatchProvider) -> None:
        new: set[Any] = set()
        for _, labels in feature_blocks(rows):
            if self._layout.is_classifier:
                new.update(labels)
        classes = (*self._classes, *sorted(new - set(self._classes)))
        if len(classes) > self._layout.n_outputs:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"there is no room for the label {classes[self._layout.n_outputs]!r}:"
                f" {self._name} has {self._layout.n_outputs} classes",
            )
        self._classes = classes

    def _targets(self, labels: Sequence[Any]) -> NDArray[Any]:
        if self._layout.is_classifier:
            number = {label: column for column, label in enumerate(self._classes)}
            return np.array([number[label] for label in labels], dtype=np.int64)
        return np.array(labels, dtype=np.float64)

    def _check_weights(self, epoch: int) -> None:
        weights = self.model.weights()
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"epoch {epoch}: the weights grew without bounds; try smaller numbers or a lower learning_rate",
            )

    def _changed(
        self, settings: dict[Key, ParameterValue], sent: Parameters | None
    ) -> dict[Key, ParameterValue]:
        if not sent:
            return settings
        settings = resolve(self.parameter_descriptions, {**settings, **sent})
        self._parameters = {str(key): value for key, value in settings.items()}
        return settings

    def predict_proba(self, X: NDArray[np.float32]) -> Matrix:
        """Probabilities [n, C] of features [n, D], among the outputs that have a label."""
        if not self._classes:
            return np.zeros((len(X), 0))
        # An output without a label has taken part in training only as what a sample is not.
        P = self.model.probabilities(X)[:, : len(self._classes)] + np.finfo(np.float64).tiny
        return np.asarray(P / P.sum(axis=1, keepdims=True))

    @property
    def n_values(self) -> int | None:
        """How many numbers a regression answers; None for a classifier."""
        return None if self._layout.is_classifier else self._layout.n_outputs

    def values(self, X: NDArray[Any]) -> Matrix:
        """What the model says of features [n, D], as numbers [n, n_outputs]: a regression's answers."""
        return self.model.infer(X).astype(np.float64)

    def distances(self, X: NDArray[np.float32]) -> Matrix | None:  # noqa: ARG002 - the protocol's signature
        """None, as `unknown_threshold`."""
        return None

    def _learned(self) -> Mapping[str, NDArray[Any]]:
        return self._weights if self._model is None else self._model.weights()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The file's bytes [n] and what was learned beyond them."""
        learned = {f"{_WEIGHTS}{name}": array for name, array in self._learned().items()}
        return {_FILE: np.frombuffer(self._source, dtype=np.uint8), **learned}

    def describe(self) -> dict[str, Any]:
        """The labels, the parameters in force and what the file must be."""
        return {
            "classes": list(self._classes),
            "n_features": self.n_features,
            "file": Path(self._name).name,
            "sha256": self._sha256,
            "parameters": dict(self._parameters),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Self:
        """The head these came from; raises `MLModelError` IO when they do not fit together."""
        data = stored_array(arrays, _FILE, (None,), np.uint8).tobytes()
        model = TrainableModel(str(description["file"]), data=data)
        if model.sha256 != description["sha256"]:
            raise MLModelError(MLModelErrorCode.IO, f"{model.name}: it is not the file that was trained")
        head = cls(description["n_features"], model)
        head._classes = tuple(description["classes"])
        head._parameters = dict(description["parameters"])
        weights = {
            name.removeprefix(_WEIGHTS): array for name, array in arrays.items() if name.startswith(_WEIGHTS)
        }
        model.set_weights(weights)
        head._weights = weights
        return head

    def copy(self) -> Self:
        """A head that knows the same and goes its own way; it costs a copy of the weights."""
        other = copy.copy(self)
        vars(other).update(_weights=dict(self._learned()), _model=None)
        return other


class RegressionBatchProvider(MatrixBatchProvider):
    """A batch over features [n, D] and the n numbers that a regression should answer.

    Raises `MLModelError`: FEATURE_TYPE for what are no numbers, GENERIC when the rows are not as many.
    """

    def __init__(self, X: NDArray[Any], values: Sequence[float] | NDArray[Any]) -> None:
        try:
            numbers = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise MLModelError(
                MLModelErrorCode.FEATURE_TYPE, f"a regression learns a list of numbers: {error}"
            ) from error
        super().__init__(X, numbers.tolist() if numbers.ndim == 1 else ())


TRAINABLE_HEADS: Mapping[str, type[Head]] = MappingProxyType(
    {**BUILT_IN_HEADS, TrainableHead.name: TrainableHead}
)
"""Every built-in head and this one. Loading finds them by itself; they are for a table of heads with a plugin's."""


def trainable_model(
    path: Path | str,
    *,
    labels: Sequence[str | int] = (),
    metadata: MLModelMetadata | None = None,
    extractor_fingerprint: str = "",
    parameters: Mapping[MLParameterKey, object] | None = None,
    runtime: str = "auto",
) -> MLModel:
    """An updatable and writable model around a `.tflite` file that trains itself.

    What `write` saves holds the file's bytes and the weights; the file itself is never changed and no longer
    needed.

    Raises `MLModelError` as `TrainableHead.from_file`, and PARAMETERS for a bad parameter.
    """
    return MLModel(
        TrainableHead.from_file(path, labels=labels, runtime=runtime),
        extractor_fingerprint=extractor_fingerprint,
        metadata=metadata,
        parameters=parameters,
        is_writable=True,
    )
