"""This is where a linear layer with a softmax learns by gradient descent, as Core ML's layers do."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MLBatchProvider, feature_blocks, mini_batches, training_rows
from edge_agent.ml.descent import advance
from edge_agent.ml.estimates import log_loss, softmax
from edge_agent.ml.heads.protocol import Parameters, Training, TrainingProgress, stored_array
from edge_agent.ml.optimizers import SGD, Adam
from edge_agent.ml.parameters import (
    MLNumericConstraint,
    MLParameterDescription,
    MLParameterKey,
    ParameterValue,
    resolve,
)
from edge_agent.ml.transforms import signed_root

Matrix = NDArray[np.float64]
Key = MLParameterKey


def loss_and_gradients(
    W: Matrix, b: Matrix, Z: Matrix, y: NDArray[np.intp], l2: float = 0.0
) -> tuple[float, Matrix, Matrix, Matrix]:
    """Mean cross-entropy of softmax(Z W + b), its gradients by W [D, C] and b [C], the probabilities [n, C].

    The gradients are those of the loss plus l2/2 |W|^2; the loss is without that term, so that it compares
    between values of `l2`. `Z` is [n, D], `y` [n] are columns. (Bishop, Pattern Recognition and Machine
    Learning, 4.3.4.)
    """
    P = softmax(Z @ W + b)
    error = P.copy()
    error[np.arange(len(y)), y] -= 1.0
    error /= len(y)
    return log_loss(P, y), Z.T @ error + l2 * W, error.sum(axis=0), P


class SoftmaxHead:
    """Softmax regression on `signed_root` features, trained by mini-batches.

    Training starts from what is known: labels that are new get new columns of zeros, the old columns are
    those that were learned. The same data, parameters and seed give the same bits. It cannot say what it does
    not know.
    """

    name: ClassVar[str] = "softmax"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = (
        MLParameterDescription(Key.OPTIMIZER, "adam", allowed_values=frozenset({"adam", "sgd"})),
        MLParameterDescription(
            Key.LEARNING_RATE, 0.05, MLNumericConstraint(0.0, 100.0), adjustable_in_progress=True
        ),
        MLParameterDescription(Key.MOMENTUM, 0.9, MLNumericConstraint(0.0, 1.0), adjustable_in_progress=True),
        MLParameterDescription(Key.BETA1, 0.9, MLNumericConstraint(0.0, 0.9999), adjustable_in_progress=True),
        MLParameterDescription(
            Key.BETA2, 0.999, MLNumericConstraint(0.0, 0.999999), adjustable_in_progress=True
        ),
        MLParameterDescription(Key.EPS, 1e-8, MLNumericConstraint(1e-12, 1.0), adjustable_in_progress=True),
        MLParameterDescription(Key.L2, 1e-4, MLNumericConstraint(0.0, 10.0), adjustable_in_progress=True),
        MLParameterDescription(Key.EPOCHS, 50, MLNumericConstraint(1, 100_000), adjustable_in_progress=True),
        MLParameterDescription(Key.MINI_BATCH_SIZE, 32, MLNumericConstraint(1, 65_536)),
        MLParameterDescription(Key.SHUFFLE, default_value=True),
        MLParameterDescription(Key.SEED, 0, MLNumericConstraint(0, 2**63 - 1)),
    )
    optimizer: ClassVar[str | None] = None
    """The one it always takes; None: the parameter says which."""

    def __init__(self, n_features: int) -> None:
        self._n_features = n_features
        self.coef = np.zeros((n_features, 0))
        self.intercept = np.zeros(0)
        self._classes: tuple[str, ...] = ()
        self._parameters: dict[str, ParameterValue] = {}

    @property
    def n_features(self) -> int:
        """How many features a sample has."""
        return self._n_features

    @property
    def unknown_threshold(self) -> float | None:
        """None: probabilities alone do not tell the unknown from the undecided."""
        return None

    @property
    def classes_(self) -> tuple[str, ...]:
        """The labels in the order they were learned; those learned together are sorted."""
        return self._classes

    def grow(self, labels: set[str]) -> None:
        """Give every label that is new a column of zeros behind the old ones."""
        new = sorted(labels - set(self._classes))
        self._classes += tuple(new)
        self.coef = np.hstack([self.coef, np.zeros((self.n_features, len(new)))])
        self.intercept = np.concatenate([self.intercept, np.zeros(len(new))])

    def train(self, data: MLBatchProvider, parameters: Parameters) -> Training:
        """Learn in epochs of mini-batches, after one pass that collects the labels.

        What is sent in may change all parameters but the optimizer, the mini-batch size, shuffle and seed; an
        epoch that has begun is finished.
        """
        settings = resolve(self.parameter_descriptions, parameters)
        rows = training_rows(data)
        if rows.n_features != self.n_features:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"sample 0: {rows.n_features} features, the model has {self.n_features}",
            )
        self.grow({label for _, labels in feature_blocks(rows) for label in labels})
        number = {label: column for column, label in enumerate(self._classes)}
        rng = np.random.default_rng(int(settings[Key.SEED])) if settings[Key.SHUFFLE] else None
        wanted = self.optimizer or settings[Key.OPTIMIZER]
        optimizer = Adam() if wanted == "adam" else SGD()
        epoch = 0
        while epoch < int(settings[Key.EPOCHS]):
            self._parameters = {str(key): value for key, value in settings.items()}
            index, seen, loss_sum, right = 0, 0, 0.0, 0
            for index, (X, labels) in enumerate(mini_batches(rows, int(settings[Key.MINI_BATCH_SIZE]), rng)):
                y = np.array([number[label] for label in labels], dtype=np.intp)
                loss, P = self._learn(signed_root(X), y, optimizer, settings)
                if not np.isfinite(self.coef).all():
                    raise MLModelError(
                        MLModelErrorCode.UPDATE,
                        f"epoch {epoch}, mini-batch {index}: the weights grew without bounds;"
                        " try a lower learning_rate or l2",
                    )
                hits = int((P.argmax(axis=1) == y).sum())
                seen, loss_sum, right = seen + len(y), loss_sum + loss * len(y), right + hits
                changed = yield TrainingProgress(
                    "mini_batch", epoch, index, {"loss_value": loss, "accuracy": hits / len(y)}
                )
                settings = self._changed(settings, changed)
            changed = yield TrainingProgress(
                "epoch", epoch, index, {"loss_value": loss_sum / seen, "accuracy": right / seen}
            )
            settings = self._changed(settings, changed)
            epoch += 1

    def _learn(
        self, Z: Matrix, y: NDArray[np.intp], optimizer: SGD | Adam, settings: Mapping[Key, ParameterValue]
    ) -> tuple[float, Matrix]:
        """One step on unit vectors [n, D] of the columns [n]; the loss and the probabilities before it."""
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks whether the weights are finite
            loss, dW, db, P = loss_and_gradients(self.coef, self.intercept, Z, y, float(settings[Key.L2]))
            advance(optimizer, [self.coef, self.intercept], [dW, db], settings)
        return loss, P

    def _changed(
        self, settings: dict[Key, ParameterValue], sent: Parameters | None
    ) -> dict[Key, ParameterValue]:
        if not sent:
            return settings
        settings = resolve(self.parameter_descriptions, {**settings, **sent})
        self._parameters = {str(key): value for key, value in settings.items()}
        return settings

    def predict_proba(self, X: NDArray[np.float32]) -> Matrix:
        """Probabilities [n, C] of features [n, D]."""
        return softmax(signed_root(X) @ self.coef + self.intercept)

    def distances(self, X: NDArray[np.float32]) -> Matrix | None:  # noqa: ARG002 - the protocol's signature
        """None, as `unknown_threshold`."""
        return None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights [D, C] and biases [C], float64."""
        return {"coef": self.coef, "intercept": self.intercept}

    def describe(self) -> dict[str, Any]:
        """The labels and the parameters in force."""
        return {
            "classes": list(self._classes),
            "n_features": self.n_features,
            "parameters": dict(self._parameters),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Self:
        """The head these came from; raises `MLModelError` IO when they do not fit together."""
        head = cls(description["n_features"])
        head._classes = tuple(description["classes"])
        head._parameters = dict(description["parameters"])
        C = len(head._classes)
        head.coef = stored_array(arrays, "coef", (head.n_features, C))
        head.intercept = stored_array(arrays, "intercept", (C,))
        return head

    def copy(self) -> Self:
        """A head that knows the same and goes its own way."""
        other = copy.copy(self)
        other.coef, other.intercept = self.coef.copy(), self.intercept.copy()
        return other
