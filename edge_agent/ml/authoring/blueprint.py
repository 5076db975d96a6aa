"""This is where layers are laid in a row, each on the one before, and what does not fit is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.layers import Function, InnerProduct, Layer

Matrix = NDArray[np.float64]

NON_LINEARITIES = {"RELU": "relu", "SIGMOID": "sigmoid", "TANH": "tanh"}


def bad_model(problem: str) -> MLModelError:
    """The error for a network that cannot be built."""
    return MLModelError(MLModelErrorCode.GENERIC, problem)


MOST_WEIGHTS = 100_000_000
"""Of a layer; more is a mistake on a device that has to train it."""


@dataclass(frozen=True)
class Placed:
    """A layer with the names of what it takes and gives, and the type its weights were given in."""

    layer: Layer
    input_name: str
    output_name: str
    width: int
    given_as: str = "float64"


class Blueprint:
    """Layers in the order they were added. All methods raise `MLModelError` GENERIC for what does not fit."""

    def __init__(self, input_name: str, n_features: int) -> None:
        self.input_name = input_name
        self.n_features = n_features
        self.placed: list[Placed] = []

    @property
    def last_output(self) -> str:
        """The name of what the last layer gives."""
        return self.placed[-1].output_name if self.placed else self.input_name

    @property
    def width(self) -> int:
        """How many numbers the last layer gives."""
        return self.placed[-1].width if self.placed else self.n_features

    def named(self, name: str) -> Placed | None:
        """The layer of that name."""
        return next((one for one in self.placed if one.layer.name == name), None)

    def check_place(self, name: str, input_name: str, output_name: str) -> None:
        """The names of a new layer: its own is new, it takes what the last one gives, and gives a new name."""
        for what, text in (("name", name), ("input_name", input_name), ("output_name", output_name)):
            if not isinstance(text, str) or not text:
                raise bad_model(f"the {what} of a layer is a text, not {text!r}")
        if "." in name:
            raise bad_model(f"layer {name!r}: a name has no dot, which would end a scope")
        if self.named(name):
            raise bad_model(f"two layers are named {name!r}")
        blobs = [self.input_name, *(one.output_name for one in self.placed)]
        if input_name not in blobs:
            raise bad_model(f"layer {name!r} takes {input_name!r}, which nothing before it gives")
        if input_name != self.last_output:
            raise bad_model(
                f"layer {name!r} takes {input_name!r}; layers lie in a row, so it has to take"
                f" {self.last_output!r}, which the last one gives"
            )
        if output_name in blobs:
            raise bad_model(f"layer {name!r} gives {output_name!r}, a name that is taken")

    def place(self, layer: Layer, input_name: str, output_name: str, width: int, given_as: str = "") -> None:
        """Put a layer behind the others; its place has been checked."""
        self.placed.append(Placed(layer, input_name, output_name, width, given_as or "float64"))

    def inner_product(
        self,
        name: str,
        W: Any,
        b: Any,
        channels: tuple[int, int],
        *,
        has_bias: bool,
        rng: np.random.Generator,
    ) -> tuple[InnerProduct, str]:
        """The layer, with random weights where none are given, and the type of the given ones."""
        for what, count, least in (("input", channels[0], 1), ("output", channels[1], 0)):
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise bad_model(
                    f"layer {name!r}: {what}_channels is a whole number from {least}, not {count!r}"
                )
        n_in, n_out = channels
        if n_in != self.width:
            raise bad_model(
                f"layer {name!r} takes {n_in} input_channels, but {self.last_output!r} has {self.width}"
            )
        if n_in * n_out > MOST_WEIGHTS:
            raise bad_model(f"layer {name!r} has more than {MOST_WEIGHTS:,} weights")
        if b is not None and not has_bias:
            raise bad_model(f"layer {name!r} is given biases and has_bias=False")
        layer = InnerProduct.random(name, n_in, n_out, rng, has_bias=has_bias)
        if W is not None:
            layer.weights = _numbers(name, "weights", W, (n_out, n_in))
        if b is not None:
            layer.biases = _numbers(name, "biases", b, (n_out,))
        types = {str(np.asarray(one).dtype) for one in (W, b) if one is not None}
        small = sorted(types - {"float32", "float64"})
        return layer, small[0] if small else "float64"

    def blocked_between(self, lowest: int, top: int) -> str | None:
        """The first layer from place `lowest` up to `top` that lets no gradient through."""
        for one in self.placed[lowest:top]:
            if isinstance(one.layer, Function) and one.layer.function not in NON_LINEARITIES.values():
                return one.layer.name
        return None


def _numbers(name: str, what: str, given: Any, shape: tuple[int, ...]) -> Matrix:
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, OverflowError) as error:
        raise bad_model(f"layer {name!r}: {what} are no array: {error}") from None
    if array.dtype.kind not in "iuf" or array.shape != shape:
        raise bad_model(
            f"layer {name!r}: {what} are {array.dtype} of shape {array.shape}, expected numbers of shape {shape}"
        )
    if not np.isfinite(array).all():
        raise bad_model(f"layer {name!r}: {what} have a number that is not finite")
    return array.astype(np.float64)
