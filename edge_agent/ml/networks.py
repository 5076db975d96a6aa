"""This is where layers in a row and a loss become one network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.arrays import stored_array
from edge_agent.ml.layers import FUNCTIONS, Function, InnerProduct, Layer, layers_to_json
from edge_agent.ml.losses import CROSS_ENTROPY, LOSSES, Loss
from edge_agent.ml.parameters import MLParameterKey

Matrix = NDArray[np.float64]


class Network:
    """Layers in a row, from features [n, D] to answers [n, C]; the last fully connected one is the output."""

    def __init__(self, layers: list[Layer], loss: Loss | None) -> None:
        self.layers = layers
        self.loss = loss
        """None for a network that cannot be trained."""

    @property
    def inner_products(self) -> list[InnerProduct]:
        """The layers that have numbers."""
        return [layer for layer in self.layers if isinstance(layer, InnerProduct)]

    @property
    def output(self) -> InnerProduct:
        """The layer with one output a class."""
        return self.inner_products[-1]

    @property
    def updatable_arrays(self) -> list[Matrix]:
        """What training changes, in place, in the order of the layers."""
        return [array for layer in self.inner_products if layer.is_updatable for array in layer.arrays]

    def _outputs(self, X: NDArray[Any]) -> list[Matrix]:
        """What goes into the first layer, then what comes out of each."""
        outputs = [X.astype(np.float64)]
        for layer in self.layers:
            outputs.append(layer.forward(outputs[-1]))
        return outputs

    def answers(self, X: NDArray[Any]) -> Matrix:
        """What comes out [n, C] for features [n, D]."""
        return self._outputs(X)[-1]

    def probabilities(self, X: NDArray[Any]) -> Matrix:
        """The answers as shares: what is below 0 counts as 0, and nothing at all as evenly divided."""
        answers = self.answers(X)
        last = self.layers[-1]
        if answers.shape[1] == 0 or (isinstance(last, Function) and last.function == "softmax"):
            return answers
        shares = np.maximum(answers, 0.0)
        total = shares.sum(axis=1, keepdims=True)
        even = np.full_like(shares, 1.0 / shares.shape[1])
        np.divide(shares, total, out=even, where=total > 0.0)
        return even

    def gradients(self, X: NDArray[Any], y: NDArray[np.intp]) -> tuple[float, Matrix, list[Matrix]]:
        """The loss, the answers [n, C] and how the loss changes with each of `updatable_arrays`.

        Back-propagation (Rumelhart, Hinton and Williams, Nature 1986), down to the lowest updatable layer.
        """
        assert self.loss is not None
        outputs = self._outputs(X)
        answers = outputs[-1]
        change = self.loss.gradient(answers, y)
        # The gradient of cross-entropy is that by what goes into the softmax, so the softmax is behind us.
        top = len(self.layers) - (self.loss.kind == CROSS_ENTROPY)
        lowest = next(
            at
            for at, layer in enumerate(self.layers)
            if isinstance(layer, InnerProduct) and layer.is_updatable
        )
        found: list[list[Matrix]] = []
        for at in range(top - 1, lowest - 1, -1):
            layer = self.layers[at]
            if isinstance(layer, Function):
                change = layer.backward(outputs[at + 1], change)
                continue
            if layer.is_updatable:
                found.append(layer.gradients(outputs[at], change))
            if at > lowest:
                change = layer.backward(change)
        return (
            self.loss.value(answers, y),
            answers,
            [gradient for gradients in reversed(found) for gradient in gradients],
        )

    def grown(self, more: int) -> Network:
        """With so many more outputs, all zeros."""
        output = self.output
        return Network([layer.grown(more) if layer is output else layer for layer in self.layers], self.loss)

    def copy(self) -> Network:
        """The same, with numbers of its own where they can change."""
        return Network(
            [layer.copy() if isinstance(layer, InnerProduct) else layer for layer in self.layers], self.loss
        )

    def layer_array(self, key: MLParameterKey) -> Matrix:
        """The weights or biases a key names; raises `MLModelError` PARAMETERS where there are none."""
        layer = self._layer(key)
        array = layer.weights if key.name == MLParameterKey.WEIGHTS.name else layer.biases
        if array is None:
            raise _refused(key, "the layer has no biases")
        return array

    def replace_array(self, key: MLParameterKey, value: object) -> None:
        """Put other numbers in the place of those a key names.

        Raises `MLModelError` PARAMETERS where there are none, for a layer that is not updatable, and for
        anything but an array of finite numbers of the same shape.
        """
        layer, array = self._layer(key), self.layer_array(key)
        if not layer.is_updatable:
            raise _refused(key, "the layer is not updatable, so its numbers cannot be replaced")
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or value.shape != array.shape:
            shown = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)
            raise _refused(key, f"expected an array of numbers of shape {array.shape}, got {shown}")
        if not np.isfinite(value).all():
            raise _refused(key, "a number is not finite")
        array[...] = value

    def _layer(self, key: MLParameterKey) -> InnerProduct:
        names = ", ".join(layer.name for layer in self.inner_products)
        if not key.scope:
            raise _refused(key, f"say of which layer, with scoped_to(name); layers are {names}")
        for layer in self.inner_products:
            if layer.name == key.scope:
                return layer
        raise _refused(key, f"no layer with numbers is named {key.scope!r}; there are {names}")

    def arrays(self) -> dict[str, Matrix]:
        """The numbers of all layers."""
        return layers_to_json(self.layers)[1]

    def describe(self) -> dict[str, Any]:
        """Everything else, as JSON."""
        loss = None if self.loss is None else {"name": self.loss.name, "kind": self.loss.kind}
        return {"layers": layers_to_json(self.layers)[0], "loss": loss}

    @classmethod
    def restore(
        cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any], n_features: int
    ) -> Self:
        """The network these came from; raises `MLModelError` IO when they do not fit together."""
        layers: list[Layer] = []
        width = n_features
        for at, told in enumerate(description["layers"]):
            if told["kind"] == Function.kind:
                if told["function"] not in FUNCTIONS:
                    raise MLModelError(
                        MLModelErrorCode.IO,
                        f"layer {told['name']!r} has the unknown function {told['function']!r}",
                    )
                layers.append(Function(told["name"], told["function"]))
                continue
            weights = stored_array(arrays, f"layer{at}_weights", (told["outputs"], width))
            width = told["outputs"]
            biases = stored_array(arrays, f"layer{at}_biases", (width,)) if told["has_bias"] else None
            layers.append(InnerProduct(told["name"], weights, biases, bool(told["is_updatable"])))
        loss = None if description["loss"] is None else Loss(**description["loss"])
        network = cls(layers, loss)
        if not network.inner_products or (loss and (loss.kind not in LOSSES or not network.updatable_arrays)):
            raise MLModelError(MLModelErrorCode.IO, "the layers and the loss do not make a network")
        return network


def _refused(key: MLParameterKey, problem: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.PARAMETERS, f"parameter {key}: {problem}")
