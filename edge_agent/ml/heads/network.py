"""This is where a network of fully connected layers learns, as in Core ML's updatable neural networks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml import descent
from edge_agent.ml.batches import MLBatchProvider, TrainingRows, feature_blocks, mini_batches, training_rows
from edge_agent.ml.exemplars import check_kind, in_order
from edge_agent.ml.heads.protocol import Parameters, Training, TrainingProgress, split_layer_values
from edge_agent.ml.layers import Function, InnerProduct, Layer
from edge_agent.ml.losses import CROSS_ENTROPY, Loss
from edge_agent.ml.networks import Network
from edge_agent.ml.parameters import (
    MLNumericConstraint,
    MLParameterDescription,
    MLParameterKey,
    ParameterValue,
    resolve,
)

Matrix = NDArray[np.float64]
Key = MLParameterKey

HIDDEN_UNITS = 64
_UNIT = MLNumericConstraint(0.0, 1.0)
_INT64 = MLNumericConstraint(-(2**63), 2**63 - 1)


def default_network(n_features: int, sizes: Sequence[int] = (HIDDEN_UNITS,), seed: int = 0) -> Network:
    """Unit vectors, hidden units with ReLU in layers of the sizes, one output a class with softmax; all that
    have numbers are updatable."""
    rng = np.random.default_rng(seed)
    layers: list[Layer] = [Function("unit", "signed_root")]
    width = n_features
    for at, size in enumerate(sizes):
        place = "" if at == 0 else str(at + 1)
        hidden = InnerProduct.random(f"hidden{place}", width, size, rng)
        hidden.is_updatable = True
        layers += [hidden, Function(f"relu{place}", "relu")]
        width = size
    output = InnerProduct("output", np.zeros((0, width)), np.zeros(0), is_updatable=True)
    return Network([*layers, output, Function("softmax", "softmax")], Loss("loss", CROSS_ENTROPY))


class NeuralNetworkHead:
    """A network whose updatable layers learn by mini-batches; all others keep their bits.

    A label that is new gets an output of zeros beside the old ones, whose weights stay as they are until they
    are trained; with `keep_old_outputs` they are not. What the optimizer remembers survives from one update
    to the next. The same data, parameters and seed give the same bits. An answer whose probability is below
    `min_confidence` counts as unknown.
    """

    name: ClassVar[str] = "network"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = (
        MLParameterDescription(Key.OPTIMIZER, "adam", allowed_values=frozenset(descent.OPTIMIZERS)),
        MLParameterDescription(
            Key.LEARNING_RATE, 0.01, MLNumericConstraint(0.0), adjustable_in_progress=True
        ),
        MLParameterDescription(Key.MOMENTUM, 0.0, _UNIT, adjustable_in_progress=True),
        MLParameterDescription(Key.BETA1, 0.9, _UNIT, adjustable_in_progress=True),
        MLParameterDescription(Key.BETA2, 0.999, _UNIT, adjustable_in_progress=True),
        MLParameterDescription(Key.EPS, 1e-8, _UNIT, adjustable_in_progress=True),
        MLParameterDescription(Key.EPOCHS, 20, MLNumericConstraint(1), adjustable_in_progress=True),
        MLParameterDescription(Key.MINI_BATCH_SIZE, 10, MLNumericConstraint(1)),
        MLParameterDescription(Key.SHUFFLE, default_value=True),
        MLParameterDescription(Key.SEED, 0, _INT64),
        MLParameterDescription(Key.KEEP_OLD_OUTPUTS, default_value=False),
        MLParameterDescription(Key.MIN_CONFIDENCE, 0.0, _UNIT),
    )

    def __init__(
        self,
        n_features: int,
        *,
        network: Network | None = None,
        classes: Sequence[Any] = (),
        default_label: str | int | None = None,
    ) -> None:
        self._n_features = n_features
        self.network = network or default_network(n_features)
        """The layers and the loss."""
        self._classes = tuple(classes)
        self._default_label = default_label
        self._settings = resolve(self.parameter_descriptions)
        self.optimizer = descent.optimizer_named(str(self._settings[Key.OPTIMIZER]))
        """What made the last step, with what it remembers."""

    @property
    def n_features(self) -> int:
        """How many features a sample has."""
        return self._n_features

    @property
    def classes_(self) -> tuple[Any, ...]:
        """The labels in the order they were learned; those learned together are sorted."""
        return self._classes

    @property
    def default_label(self) -> Any:
        """The answer below `min_confidence`; None leaves it without a label."""
        return self._default_label

    @property
    def unknown_threshold(self) -> float | None:
        """1 - `min_confidence`, None where that is 0."""
        least = float(self._settings[Key.MIN_CONFIDENCE])
        return 1.0 - least if least else None

    @property
    def tuning(self) -> dict[Key, ParameterValue]:
        """`min_confidence`: nothing else changes an answer without training."""
        return {Key.MIN_CONFIDENCE: self._settings[Key.MIN_CONFIDENCE]}

    def tuned(self, parameters: Parameters) -> Self:
        """This head with another `min_confidence`; raises `MLModelError` PARAMETERS for a bad one."""
        other = copy.copy(self)
        other.tune(parameters)
        return other

    def tune(self, parameters: Parameters) -> None:
        """Take other parameters; raises `MLModelError` PARAMETERS for a bad one."""
        self._settings = resolve(self.parameter_descriptions, {**self._settings, **parameters})

    def grow(self, labels: set[Any]) -> None:
        """Give every label that is new an output of zeros behind the old ones.

        Raises `MLModelError` UPDATE where the output layer is not updatable, FEATURE_TYPE for a text among
        numbers or the other way.
        """
        new = in_order(labels - set(self._classes))
        if not new:
            return
        for label in new:
            check_kind(self._classes or new[:1], label, "training data")
        output = self.network.output
        if not output.is_updatable:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"the label {new[0]!r} is new, and the output layer {output.name!r} is not updatable",
            )
        self.network = self.network.grown(len(new))
        self._classes += tuple(new)

    def train(self, data: MLBatchProvider, parameters: Parameters) -> Training:
        """Learn in epochs of mini-batches, after one pass that collects the labels.

        What is sent in may change learning rate, momentum, beta1, beta2, eps and epochs (an epoch that has
        begun is finished), and replace weights and biases of updatable layers.
        """
        self.tune(parameters)
        if self.network.loss is None or not self.network.updatable_arrays:
            raise MLModelError(MLModelErrorCode.UPDATE, "the network has no loss or no updatable layer")
        rows = training_rows(data)
        if rows.n_features != self.n_features:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"sample 0: {rows.n_features} features, the model has {self.n_features}",
            )
        old = len(self._classes)
        self.grow({label for _, labels in feature_blocks(rows) for label in labels})
        self.optimizer = self._prepared()
        rng = np.random.default_rng(int(self._settings[Key.SEED]) % 2**64)
        epoch = 0
        while epoch < int(self._settings[Key.EPOCHS]):
            yield from self._epoch(rows, epoch, rng if self._settings[Key.SHUFFLE] else None, old)
            epoch += 1

    def _epoch(self, rows: TrainingRows, epoch: int, rng: np.random.Generator | None, old: int) -> Training:
        number = {label: column for column, label in enumerate(self._classes)}
        index, seen, loss_sum, right = 0, 0, 0.0, 0
        for index, (X, labels) in enumerate(
            mini_batches(rows, int(self._settings[Key.MINI_BATCH_SIZE]), rng)
        ):
            y = np.array([number[label] for label in labels], dtype=np.intp)
            loss, answers = self._learn(X, y, old if self._settings[Key.KEEP_OLD_OUTPUTS] else 0)
            if not all(np.isfinite(array).all() for array in self.network.updatable_arrays):
                raise MLModelError(
                    MLModelErrorCode.UPDATE,
                    f"epoch {epoch}, mini-batch {index}: the weights grew without bounds;"
                    " try a lower learning_rate",
                )
            hits = int((answers.argmax(axis=1) == y).sum())
            seen, loss_sum, right = seen + len(y), loss_sum + loss * len(y), right + hits
            sent = yield TrainingProgress(
                "mini_batch", epoch, index, {"loss_value": loss, "accuracy": hits / len(y)}
            )
            self._take(sent or {})
        sent = yield TrainingProgress(
            "epoch", epoch, index, {"loss_value": loss_sum / seen, "accuracy": right / seen}
        )
        self._take(sent or {})

    def _take(self, sent: Parameters) -> None:
        arrays, plain = split_layer_values(sent)
        self.tune(plain)
        for key, value in arrays.items():
            self.network.replace_array(key, value)

    def _prepared(self) -> descent.Optimizer:
        """The optimizer of the last update where it still fits, else a fresh one."""
        wanted = descent.optimizer_named(str(self._settings[Key.OPTIMIZER]))
        if type(wanted) is not type(self.optimizer):
            return wanted
        return descent.fitted(self.optimizer, self.network.updatable_arrays)

    def _learn(self, X: NDArray[np.float32], y: NDArray[np.intp], kept: int) -> tuple[float, Matrix]:
        """One step; the loss and the answers before it. The first `kept` outputs are left as they are."""
        # The caller looks whether the weights are finite.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss, answers, gradients = self.network.gradients(X, y)
            fixed = [array[:kept].copy() for array in self.network.output.arrays] if kept else []
            if kept:
                for gradient in gradients[-len(fixed) :]:
                    gradient[:kept] = 0.0
            descent.advance(self.optimizer, self.network.updatable_arrays, gradients, self._settings)
            for array, before in zip(self.network.output.arrays, fixed, strict=False):
                array[:kept] = before  # momentum from earlier updates would still move them
        return loss, answers

    def predict_proba(self, X: NDArray[np.float32]) -> Matrix:
        """Probabilities [n, C] of features [n, D]; answers that are not a softmax's are brought to sum to 1."""
        return self.network.probabilities(X)

    def distances(self, X: NDArray[np.float32]) -> Matrix | None:
        """1 - the highest probability [n]; None before training and where `min_confidence` is 0."""
        if not self._classes or self.unknown_threshold is None:
            return None
        least: Matrix = 1.0 - self.predict_proba(X).max(axis=1)
        return least

    @property
    def updatable_layers(self) -> tuple[str, ...]:
        """The names of the layers that training changes."""
        return tuple(layer.name for layer in self.network.inner_products if layer.is_updatable)

    def layer_value(self, key: Key) -> NDArray[Any]:
        """A copy of the weights [out, in] or biases [out] of the layer the key is scoped to."""
        return self.network.layer_array(key).copy()

    def with_layer_values(self, values: Parameters) -> Self:
        """This head with other numbers in updatable layers."""
        other = self.copy()
        for key, value in values.items():
            other.network.replace_array(key, value)
        return other

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights and biases of each layer and what the optimizer remembers, all float64."""
        return {**self.network.arrays(), **descent.memory(self.optimizer)}

    def describe(self) -> dict[str, Any]:
        """The labels, the layers, the loss, the optimizer and the parameters in force."""
        return {
            "classes": list(self._classes),
            "n_features": self.n_features,
            "default_label": self._default_label,
            "network": self.network.describe(),
            "optimizer": {
                "name": descent.name_of(self.optimizer),
                "steps": descent.steps_of(self.optimizer),
            },
            "parameters": {str(key): value for key, value in self._settings.items()},
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Self:
        """The head these came from; raises `MLModelError` IO when they do not fit together."""
        head = cls(
            description["n_features"],
            network=Network.restore(arrays, description["network"], description["n_features"]),
            classes=description["classes"],
            default_label=description["default_label"],
        )
        if head.network.output.weights.shape[0] != len(head.classes_):
            raise MLModelError(MLModelErrorCode.IO, "the output layer does not go with the labels")
        head.tune({Key(name): value for name, value in description["parameters"].items()})
        told = description["optimizer"]
        head.optimizer = descent.restored(
            told["name"], int(told["steps"]), arrays, head.network.updatable_arrays
        )
        return head

    def copy(self) -> Self:
        """A head that knows the same and goes its own way."""
        other = copy.copy(self)
        other.network = self.network.copy()
        other.optimizer = copy.deepcopy(self.optimizer)
        return other
