"""This is where a linear layer with a softmax learns to the end, by all samples at once."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MLBatchProvider, feature_blocks, training_rows
from edge_agent.ml.heads.protocol import Parameters, Training, TrainingProgress
from edge_agent.ml.heads.softmax import SoftmaxHead
from edge_agent.ml.lbfgs import LBFGS
from edge_agent.ml.parameters import MLNumericConstraint, MLParameterDescription, resolve
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.regression import SoftmaxRegression, UnitRows

TOLERANCE = 2e-6
"""No part of the gradient is greater than this at the end."""
L2 = 1e-4
"""The penalty: within 0.2 points of the one that cross-validation finds, on five picture sets."""


class LogisticHead(SoftmaxHead):
    """Multinomial logistic regression on `signed_root` features by L-BFGS, to convergence.

    It answers as `SoftmaxHead` does and learns otherwise: training ends at the optimum of the samples given,
    so give those it should still know along with the new ones. From what is known it is not far: after ten
    new samples among a thousand some ten iterations. A label that no sample has keeps its column as it is.
    An iteration is one epoch of one mini-batch, which is all samples. Nothing is random.
    """

    name: ClassVar[str] = "logistic"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = (
        MLParameterDescription(Key.L2, L2, MLNumericConstraint(0.0, 10.0), adjustable_in_progress=True),
        MLParameterDescription(
            Key.EPOCHS, 1000, MLNumericConstraint(1, 100_000), adjustable_in_progress=True
        ),
    )

    @classmethod
    def fitted(
        cls, classes: tuple[str, ...], W: NDArray[np.float64], b: NDArray[np.float64], l2: float
    ) -> Self:
        """A head with weights [D, C] and biases [C] found elsewhere, which are copied."""
        head = cls(len(W))
        head._classes = classes
        head.coef, head.intercept = W.copy(), b.copy()
        settings = resolve(cls.parameter_descriptions, {Key.L2: l2})
        head._parameters = {str(key): value for key, value in settings.items()}
        return head

    def train(self, data: MLBatchProvider, parameters: Parameters) -> Training:
        """Learn until the gradient vanishes or so many epochs are over, after one pass that collects the labels.

        What is sent in counts from the next epoch on.
        """
        settings = resolve(self.parameter_descriptions, parameters)
        rows = training_rows(data)
        if rows.n_features != self.n_features:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"sample 0: {rows.n_features} features, the model has {self.n_features}",
            )
        labels: list[Any] = [label for _, block in feature_blocks(rows) for label in block]
        self.grow(set(labels))
        number = {label: column for column, label in enumerate(self._classes)}
        y = np.array([number[label] for label in labels], dtype=np.intp)
        del labels
        moving = np.bincount(y, minlength=len(self._classes)) > 0
        kept = self.intercept
        unit = UnitRows(lambda: (X for X, _ in feature_blocks(rows)), len(y), self.n_features)
        objective = SoftmaxRegression(unit, y, len(self._classes), float(settings[Key.L2]), moving=moving)
        search = LBFGS.begin(objective, objective.position(self.coef, self.intercept))
        epoch, over = 0, False
        while not over:
            if search.steepness > TOLERANCE:
                search.step(objective)
            self._parameters = {str(key): value for key, value in settings.items()}
            self.coef, b = objective.weights(search.position)
            self.intercept = np.where(moving, b, kept)  # the way there and back is not exact to the bit
            metrics = {"loss_value": search.at.noticed["loss"], "accuracy": search.at.noticed["accuracy"]}
            sent = yield TrainingProgress("mini_batch", epoch, 0, metrics)
            settings = self._changed(settings, sent)
            sent = yield TrainingProgress("epoch", epoch, 0, metrics)
            settings = self._changed(settings, sent)
            if settings[Key.L2] != objective.l2:
                objective.l2 = float(settings[Key.L2])
                search = LBFGS.begin(objective, search.position)
            epoch += 1
            converged = search.stalled or search.steepness <= TOLERANCE
            over = converged or epoch >= int(settings[Key.EPOCHS])
