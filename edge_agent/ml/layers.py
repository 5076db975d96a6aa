"""This is where the layers of a network answer, and say how the loss changes with what went in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import softmax
from edge_agent.ml.transforms import signed_root

Matrix = NDArray[np.float64]


@dataclass
class InnerProduct:
    """Fully connected: y = x W' + b, with W [out, in] and b [out] as Core ML keeps them."""

    kind: ClassVar[str] = "inner_product"
    name: str
    weights: Matrix
    biases: Matrix | None = None
    is_updatable: bool = False

    @classmethod
    def random(
        cls, name: str, n_in: int, n_out: int, rng: np.random.Generator, *, has_bias: bool = True
    ) -> Self:
        """Normal weights of variance 2 / n_in (He et al., ICCV 2015) and biases of zero."""
        weights = rng.standard_normal((n_out, n_in)) * np.sqrt(2.0 / n_in)
        return cls(name, weights, np.zeros(n_out) if has_bias else None)

    @property
    def arrays(self) -> list[Matrix]:
        """What can be learned."""
        return [self.weights] if self.biases is None else [self.weights, self.biases]

    def forward(self, x: Matrix) -> Matrix:
        """[n, in] to [n, out]."""
        y: Matrix = x @ self.weights.T
        return y if self.biases is None else y + self.biases

    def gradients(self, x: Matrix, dy: Matrix) -> list[Matrix]:
        """How the loss changes with `arrays`, from what went in [n, in] and how it changes with y [n, out]."""
        dW: Matrix = dy.T @ x
        return [dW] if self.biases is None else [dW, dy.sum(axis=0)]

    def backward(self, dy: Matrix) -> Matrix:
        """How the loss changes with x [n, in]."""
        dx: Matrix = dy @ self.weights
        return dx

    def grown(self, more: int) -> Self:
        """With outputs of zeros behind the old ones."""
        weights = np.vstack([self.weights, np.zeros((more, self.weights.shape[1]))])
        biases = None if self.biases is None else np.concatenate([self.biases, np.zeros(more)])
        return replace(self, weights=weights, biases=biases)

    def copy(self) -> Self:
        """The same numbers in arrays of its own if it can change; what cannot change is shared."""
        if not self.is_updatable:
            return self
        biases = None if self.biases is None else self.biases.copy()
        return replace(self, weights=self.weights.copy(), biases=biases)


@dataclass(frozen=True)
class Function:
    """A layer without numbers of its own.

    `relu`, `sigmoid` and `tanh` work on each number, `softmax` and `signed_root` (unit vectors, as the other
    heads use) on each row. The last two let no gradient through; softmax with its loss is one step.
    """

    kind: ClassVar[str] = "function"
    name: str
    function: str

    def forward(self, x: Matrix) -> Matrix:
        """[n, D] to [n, D]."""
        match self.function:
            case "relu":
                return np.maximum(x, 0.0)
            case "sigmoid":
                return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)  # 1 / (1 + exp(-x)) without overflow
            case "tanh":
                return np.tanh(x)
            case "softmax":
                return softmax(x)
            case _:
                return signed_root(x)

    def backward(self, y: Matrix, dy: Matrix) -> Matrix:
        """How the loss changes with x, from what came out and how it changes with y; all [n, D]."""
        match self.function:
            case "relu":
                return dy * (y > 0.0)
            case "sigmoid":
                return dy * y * (1.0 - y)
            case "tanh":
                return dy * (1.0 - y * y)
            case _:
                raise AssertionError(f"no gradient goes through {self.function}")


FUNCTIONS = ("relu", "sigmoid", "tanh", "softmax", "signed_root")
Layer = InnerProduct | Function


def layers_to_json(layers: list[Layer]) -> tuple[list[dict[str, Any]], dict[str, Matrix]]:
    """Layers as plain values, and their arrays by the place of the layer."""
    told: list[dict[str, Any]] = []
    arrays: dict[str, Matrix] = {}
    for at, layer in enumerate(layers):
        if isinstance(layer, Function):
            told.append({"kind": layer.kind, "name": layer.name, "function": layer.function})
            continue
        n_out, n_in = layer.weights.shape
        arrays[f"layer{at}_weights"] = layer.weights
        if layer.biases is not None:
            arrays[f"layer{at}_biases"] = layer.biases
        told.append(
            {
                "kind": layer.kind,
                "name": layer.name,
                "inputs": n_in,
                "outputs": n_out,
                "has_bias": layer.biases is not None,
                "is_updatable": layer.is_updatable,
            }
        )
    return told, arrays
