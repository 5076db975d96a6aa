"""This is where a network with hidden layers is trained in iterations, each an epoch of mini-batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.fits.protocol import FitData, FitMetrics, check_data, data_described, settings_of
from edge_agent.ml.heads.network import HIDDEN_UNITS, NeuralNetworkHead, default_network
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.parameters import ParameterValue, resolve

HIDDEN_LAYER_SIZES = "hidden_layer_sizes"
TOLERANCE, PATIENCE = 1e-4, 10
"""The loss has to fall by so much at least once in so many iterations, or it counts as converged."""

_NAMES = (Key.OPTIMIZER, Key.LEARNING_RATE, Key.MOMENTUM, Key.BETA1, Key.BETA2, Key.EPS, Key.MINI_BATCH_SIZE)
_KNOWN = tuple(one for one in NeuralNetworkHead.parameter_descriptions if one.key in _NAMES)


class PerceptronFit:
    """A multilayer perceptron with ReLU and a softmax output, by Adam; comes out as a `NeuralNetworkHead`.

    An iteration is one epoch of mini-batches. Their order depends on the seed and the number of the iteration
    alone, so a fit that is taken up again goes on to the same bits. The metrics are the means over the
    mini-batches of an iteration, each before its step.
    """

    name: ClassVar[str] = "perceptron"
    parameter_names: ClassVar[tuple[str, ...]] = (HIDDEN_LAYER_SIZES, *(one.key.name for one in _KNOWN))

    def __init__(
        self, data: FitData, settings: Mapping[Key, ParameterValue], seed: int, head: NeuralNetworkHead
    ) -> None:
        self._data = data
        self._settings = settings
        self._seed = seed
        self._head = head
        self._metrics: FitMetrics | None = None
        self._best: float | None = None
        self._idle = 0
        self.iteration = 0

    @property
    def converged(self) -> bool:
        """Whether the loss has not fallen for `PATIENCE` iterations."""
        return self._idle >= PATIENCE

    def step(self) -> FitMetrics:
        """One epoch."""
        if self.converged and self._metrics is not None:
            return self._metrics
        head = self._head.copy()
        order = np.random.SeedSequence([self._seed, self.iteration]).generate_state(1)
        given = {**self._settings, Key.EPOCHS: 1, Key.SEED: int(order[0])}
        *_, last = head.train(self._data.batch(), given)
        self._metrics = FitMetrics(last.metrics["loss_value"], last.metrics["accuracy"])
        improved = self._best is None or self._metrics.loss < self._best - TOLERANCE
        self._idle = 0 if improved else self._idle + 1
        if self._best is None or self._metrics.loss < self._best:
            self._best = self._metrics.loss
        self._head = head
        self.iteration += 1
        return self._metrics

    def head(self) -> NeuralNetworkHead:
        """The network as it is now, with the memory of its optimizer; an update takes as many epochs as ever."""
        head = self._head.copy()
        default = resolve(head.parameter_descriptions)
        head.tune({Key.EPOCHS: default[Key.EPOCHS], Key.SEED: default[Key.SEED]})
        return head

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those of the head: weights, biases and what the optimizer remembers, all float64."""
        return {name: array.copy() for name, array in self._head.arrays().items()}

    def describe(self) -> dict[str, Any]:
        """The classes, the parameters, the seed, how far it is and what the head says of itself."""
        return {
            **data_described(self._data),
            "parameters": {key.name: value for key, value in self._settings.items()},
            "seed": self._seed,
            "iteration": self.iteration,
            "best": self._best,
            "idle": self._idle,
            "metrics": None if self._metrics is None else [self._metrics.loss, self._metrics.accuracy],
            "head": self._head.describe(),
        }

    @classmethod
    def begin(cls, data: FitData, parameters: Mapping[str, object], seed: int) -> Self:
        """Random hidden layers. Parameters: `hidden_layer_sizes`, a list of whole numbers from 1, (64,) if not
        given; and those of `NeuralNetworkHead` that concern a step."""
        rest = dict(parameters)
        sizes = _sizes(rest.pop(HIDDEN_LAYER_SIZES, (HIDDEN_UNITS,)))
        settings = settings_of(_KNOWN, rest)
        seed = seed % 2**64  # a seed sequence takes no numbers below 0
        network = default_network(data.n_features, sizes, seed)
        head = NeuralNetworkHead(
            data.n_features, network=network.grown(len(data.classes)), classes=data.classes
        )
        return cls(data, settings, seed, head)

    @classmethod
    def restore(
        cls, data: FitData, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]
    ) -> Self:
        """The fit these came from."""
        check_data(data, description)
        head = NeuralNetworkHead.restore(arrays, description["head"])
        # Training changes arrays in place, and those given are not its own.
        fit = cls(data, settings_of(_KNOWN, description["parameters"]), int(description["seed"]), head.copy())
        fit.iteration, fit._idle = int(description["iteration"]), int(description["idle"])
        fit._best = description["best"]
        if description["metrics"] is not None:
            fit._metrics = FitMetrics(*description["metrics"])
        return fit


def _sizes(given: object) -> tuple[int, ...]:
    sizes: list[Any] = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    whole = all(isinstance(one, Integral) and not isinstance(one, bool) and int(one) >= 1 for one in sizes)
    if not sizes or not whole:
        raise MLModelError(
            MLModelErrorCode.PARAMETERS,
            f"parameter {HIDDEN_LAYER_SIZES}: expected a list of whole numbers from 1, got {given!r}",
        )
    return tuple(int(one) for one in sizes)
