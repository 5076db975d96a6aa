"""This is where a model is given steps behind that do what its head does, with the operators of every runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import UserError
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.heads.softmax import SoftmaxHead
from edge_agent.ml.layers import Function, InnerProduct, Layer
from edge_agent.vision.flatbuffer_writer import Scalar
from edge_agent.vision.graft import Graft, GraphTensor, Step
from edge_agent.vision.tflite_schema import Operator, OptionsType

SMALLEST = 1e-30
"""In place of a sum that is 0, so that nothing is divided by it; far below any feature, and a float32."""

_OPTIONS = {
    Operator.ABS: OptionsType.ABS,
    Operator.ADD: OptionsType.ADD,
    Operator.DIV: OptionsType.DIV,
    Operator.MAXIMUM: OptionsType.MAXIMUM_MINIMUM,
    Operator.MINIMUM: OptionsType.MAXIMUM_MINIMUM,
    Operator.MUL: OptionsType.MUL,
    Operator.SUB: OptionsType.SUB,
}

_FUNCTIONS = {"relu": Operator.RELU, "sigmoid": Operator.LOGISTIC, "tanh": Operator.TANH}


def fusable_layers(head: Head) -> list[Layer]:
    """The layers that lead from features to probabilities, as those of a network.

    Raises `UserError` with the reason for a head that is no row of layers, and for one that learned nothing.
    """
    if isinstance(head, NeuralNetworkHead):
        layers = list(head.network.layers)
    elif isinstance(head, LDAHead):  # and what is mixed from the same state
        layers = _linear(head.linear.coef, head.linear.intercept)
    elif isinstance(head, SoftmaxHead):  # logistic regression is one, too
        layers = _linear(head.coef, head.intercept)
    else:
        reason = (
            "it compares with every sample it remembers" if head.name == "knn" else "it is no row of layers"
        )
        raise UserError(
            f"a model of the kind {head.name!r} cannot become one TFLite file: {reason};"
            " those of the kinds adam, auto, lda, lda+ridge, logistic, mlp, ncm, network, ridge, sgd and softmax can"
        )
    if not head.classes_:
        raise UserError("the model has learned nothing yet, so there is nothing to export")
    return layers


def add_answer(graft: Graft, layers: Sequence[Layer]) -> GraphTensor:
    """Make the model give probabilities, float32 [1, C], in place of its features."""
    steps = _Steps(graft, graft.output)
    steps.dequantise()
    steps.flatten()
    for layer in layers:
        if isinstance(layer, InnerProduct):
            steps.fully_connected(layer)
        elif layer.function == "softmax":
            steps.softmax()
        elif layer.function == "signed_root":
            steps.signed_root()
        else:
            steps.apply(_FUNCTIONS[layer.function], layer.name)
    last = layers[-1]
    if not (isinstance(last, Function) and last.function == "softmax"):
        steps.shares()
    return steps.at


def _linear(coef: NDArray[np.float64], intercept: NDArray[np.float64]) -> list[Layer]:
    # What all classes have in common changes no probability, but costs float32 its digits.
    weights = coef.T - coef.mean(axis=1) if coef.size else coef.T
    biases = intercept - intercept.mean() if intercept.size else intercept
    return [
        Function("unit", "signed_root"),
        InnerProduct("scores", weights, biases),
        Function("softmax", "softmax"),
    ]


class _Steps:
    """One step behind the other, from the tensor that is there."""

    def __init__(self, graft: Graft, at: GraphTensor) -> None:
        self._graft = graft
        self.at = at

    def _tensor(self, name: str, width: int | None = None) -> GraphTensor:
        shape = self.at.shape if width is None else (1, width)
        return self._graft.tensor(name, shape, np.float32)

    def _number(self, name: str, value: float) -> GraphTensor:
        return self._graft.constant(name, np.array([value], dtype=np.float32))

    def _step(self, operator: Operator, inputs: Sequence[GraphTensor], name: str) -> GraphTensor:
        """A step on each number, broadcast to the widest input."""
        width = max(tensor.shape[-1] for tensor in inputs)
        output = self._tensor(name, width)
        self._graft.add_behind(Step(operator, inputs, output, _OPTIONS.get(operator, OptionsType.NONE)))
        return output

    def _sum(self, source: GraphTensor, name: str) -> GraphTensor:
        axis = self._graft.constant(f"{name}_axis", np.array([1], dtype=np.int32))
        output = self._tensor(name, 1)
        options = {0: Scalar("?", value=True)}  # the axis stays, with length 1
        self._graft.add_behind(Step(Operator.SUM, [source, axis], output, OptionsType.REDUCER, options))
        return output

    def dequantise(self) -> None:
        if self.at.dtype == np.float32:
            return
        output = self._tensor("features")
        version = 1 if self.at.dtype == np.uint8 else 2
        self._graft.add_behind(
            Step(Operator.DEQUANTIZE, [self.at], output, OptionsType.DEQUANTIZE, version=version)
        )
        self.at = output

    def flatten(self) -> None:
        width = int(np.prod(self.at.shape))
        if self.at.shape == (1, width):
            return
        shape = self._graft.constant("row_shape", np.array([1, width], dtype=np.int32))
        output = self._tensor("row", width)
        self._graft.add_behind(Step(Operator.RESHAPE, [self.at, shape], output, OptionsType.RESHAPE))
        self.at = output

    def signed_root(self) -> None:
        """z = sign(x) sqrt(|x| / sum |x|), a row of zeros staying zero; SIGN is too new for old runtimes."""
        smallest = self._number("smallest", SMALLEST)
        size = self._step(Operator.ABS, [self.at], "size")
        total = self._step(Operator.MAXIMUM, [self._sum(size, "total"), smallest], "total_above_0")
        length = self._step(Operator.SQRT, [self._step(Operator.DIV, [size, total], "share")], "length")
        divisor = self._step(Operator.MAXIMUM, [size, smallest], "size_above_0")
        sign = self._step(Operator.DIV, [self.at, divisor], "sign")
        self.at = self._step(Operator.MUL, [length, sign], "unit")

    def fully_connected(self, layer: InnerProduct) -> None:
        n_out = layer.weights.shape[0]
        weights = self._graft.constant(f"{layer.name}_weights", layer.weights.astype(np.float32))
        biases = np.zeros(n_out) if layer.biases is None else layer.biases
        inputs = [self.at, weights, self._graft.constant(f"{layer.name}_biases", biases.astype(np.float32))]
        output = self._tensor(layer.name, n_out)
        self._graft.add_behind(Step(Operator.FULLY_CONNECTED, inputs, output, OptionsType.FULLY_CONNECTED))
        self.at = output

    def apply(self, operator: Operator, name: str) -> None:
        self.at = self._step(operator, [self.at], name)

    def softmax(self) -> None:
        output = self._tensor("probabilities")
        options: dict[int, Any] = {0: Scalar("f", 1.0)}
        self._graft.add_behind(Step(Operator.SOFTMAX, [self.at], output, OptionsType.SOFTMAX, options))
        self.at = output

    def shares(self) -> None:
        """Answers that are not a softmax's: what is above 0 as shares, nothing at all evenly divided."""
        classes = self.at.shape[-1]
        positive = self._step(Operator.RELU, [self.at], "positive")
        total = self._sum(positive, "answers")
        smallest = self._number("least_answers", SMALLEST)
        divisor = self._step(Operator.MAXIMUM, [total, smallest], "answers_above_0")
        share = self._step(Operator.DIV, [positive, divisor], "answer_shares")
        # 1 where anything was answered, 0 where nothing was.
        known = self._step(Operator.DIV, [total, divisor], "known")
        minus = self._step(Operator.MUL, [known, self._number("minus_even", -1.0 / classes)], "known_even")
        even = self._step(Operator.ADD, [minus, self._number("even", 1.0 / classes)], "even_share")
        self.at = self._step(Operator.ADD, [share, even], "probabilities")
