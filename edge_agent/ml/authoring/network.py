"""This is where a neural network is made, and told which layers learn, from which loss and by which optimiser."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_agent.ml.authoring.blueprint import NON_LINEARITIES, Blueprint, bad_model
from edge_agent.ml.authoring.hyperparameters import (
    AdamParams,
    SgdParams,
    bad_parameter,
    chosen_from,
    whole_number,
)
from edge_agent.ml.authoring.labels import checked_label, same_kind
from edge_agent.ml.authoring.training import Training
from edge_agent.ml.features import MLFeatureType
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.layers import Function, InnerProduct
from edge_agent.ml.losses import CROSS_ENTROPY, SQUARED_ERROR, Loss
from edge_agent.ml.members import is_listed
from edge_agent.ml.model import MLModel, MLModelMetadata
from edge_agent.ml.networks import Network
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey

Key = MLParameterKey


@dataclass(frozen=True)
class Array:
    """The type of a feature that is an array of so many numbers."""

    size: int


class NeuralNetworkBuilder:
    """Makes a classifier of fully connected layers in a row: `NeuralNetworkHead`.

    `input_features` is one pair of a name and an `Array`. Weights that are not given are random, from
    `random_state`. Calls have the names, the order and the defaults of coremltools; where those let the author
    forget or mistype something, these raise `MLModelError`: PARAMETERS for hyperparameters, GENERIC for the
    rest. By default batch and epochs cannot be changed on the device, rates can between 0 and 1.
    """

    def __init__(self, input_features: Sequence[tuple[str, Array]], *, random_state: int = 0) -> None:
        given = list(input_features) if is_listed(input_features) else []
        if len(given) != 1:
            raise bad_model(f"a network takes one input feature in a list, not {input_features!r}")
        if not isinstance(given[0], tuple | list) or len(given[0]) != 2:
            raise bad_model(f"an input feature is a pair of a name and an Array, not {given[0]!r}")
        name, kind = given[0]
        if not isinstance(name, str) or not name:
            raise bad_model(f"the name of the input is a text, not {name!r}")
        if not isinstance(kind, Array):
            raise bad_model(f"input {name!r} is an Array, not {kind!r}")
        if isinstance(kind.size, bool) or not isinstance(kind.size, int) or kind.size < 1:
            raise bad_model(f"input {name!r} has at least one number, not {kind.size!r}")
        self._blueprint = Blueprint(name, kind.size)
        self._rng = np.random.default_rng(whole_number(random_state, "random_state", least=0))
        self._labels: list[str | int] | None = None
        self._predicted = "classLabel"
        self._default: tuple[str | int | None, float] = (None, 0.0)
        self._training = Training()
        self.author = self.license = self.description = ""
        """Who made the model, under which license, and what for."""

    # ------------------------------------------------------------------ layers

    def add_inner_product(
        self,
        name: str,
        W: Any = None,
        b: Any = None,
        *,
        input_channels: int,
        output_channels: int,
        has_bias: bool = True,
        input_name: str,
        output_name: str,
    ) -> None:
        """A fully connected layer with weights [output_channels, input_channels] and biases."""
        self._blueprint.check_place(name, input_name, output_name)
        channels = (input_channels, output_channels)
        layer, given_as = self._blueprint.inner_product(
            name, W, b, channels, has_bias=has_bias, rng=self._rng
        )
        self._blueprint.place(layer, input_name, output_name, output_channels, given_as)

    def add_activation(self, name: str, non_linearity: str, input_name: str, output_name: str) -> None:
        """`RELU`, `SIGMOID` or `TANH` of every number."""
        if not isinstance(non_linearity, str) or non_linearity not in NON_LINEARITIES:
            known = ", ".join(NON_LINEARITIES)
            raise bad_model(f"layer {name!r}: {non_linearity!r} is not known; activations are {known}")
        self._add_function(name, NON_LINEARITIES[non_linearity], input_name, output_name)

    def add_softmax(self, name: str, input_name: str, output_name: str) -> None:
        """Shares that sum to 1."""
        self._add_function(name, "softmax", input_name, output_name)

    def _add_function(self, name: str, function: str, input_name: str, output_name: str) -> None:
        self._blueprint.check_place(name, input_name, output_name)
        self._blueprint.place(Function(name, function), input_name, output_name, self._blueprint.width)

    def set_class_labels(
        self, class_labels: Sequence[str | int], predicted_feature_name: str = "classLabel"
    ) -> None:
        """The labels of the outputs in their order, and the name they are answered and trained under."""
        if not is_listed(class_labels):
            raise bad_model(f"class labels are a list, not {class_labels!r}")
        labels = [checked_label(one, f"class label {at}") for at, one in enumerate(class_labels)]
        for at, label in enumerate(labels):
            same_kind(labels[0], label, f"class label {at}")
        if len(set(labels)) < len(labels):
            raise bad_model("class labels are there more than once")
        if not isinstance(predicted_feature_name, str) or not predicted_feature_name:
            raise bad_model(f"predicted_feature_name is a text, not {predicted_feature_name!r}")
        self._labels, self._predicted = labels, predicted_feature_name

    def set_default_class_label(self, label: str | int, min_confidence: float) -> None:
        """The answer where the highest probability is below `min_confidence`, from 0 to 1."""
        if isinstance(min_confidence, bool) or not 0.0 <= min_confidence <= 1.0:
            raise bad_parameter(f"min_confidence is between 0 and 1, not {min_confidence!r}")
        self._default = (checked_label(label, "the default class label"), float(min_confidence))

    # ------------------------------------------------------------------ learning

    def make_updatable(self, trainables: Sequence[str]) -> None:
        """Let these layers learn; shuffling is on from then."""
        names = list(trainables) if is_listed(trainables) else []
        if not names:
            raise bad_model("make_updatable takes the names of at least one layer, in a list")
        for name in names:
            placed = self._blueprint.named(name)
            if placed is None:
                raise bad_model(f"make_updatable: there is no layer {name!r}")
            if not isinstance(placed.layer, InnerProduct):
                raise bad_model(f"make_updatable: layer {name!r} is no inner product, and only those learn")
            if placed.given_as not in {"float32", "float64"}:
                raise bad_model(
                    f"make_updatable: layer {name!r} has numbers of type {placed.given_as};"
                    " only full floats, not half or quantised ones, can learn"
                )
        for name in names:
            placed = self._blueprint.named(name)
            assert placed is not None
            assert isinstance(placed.layer, InnerProduct)
            placed.layer.is_updatable = True

    def set_categorical_cross_entropy_loss(self, name: str, input: str) -> None:  # noqa: A002 - coremltools' word
        """-log p of the true class; `input` is what the softmax at the end of the network gives."""
        self._training.set_loss(self._blueprint, Loss(name, CROSS_ENTROPY), input)

    def set_mean_squared_error_loss(self, name: str, input_feature: tuple[str, Array]) -> None:
        """The squared difference to 1 at the true class and 0 elsewhere; `input_feature` is the last output."""
        if not isinstance(input_feature, tuple) or len(input_feature) != 2:
            raise bad_model("input_feature is a pair of a name and an Array")
        source, kind = input_feature
        if not isinstance(kind, Array) or kind.size != self._blueprint.width:
            raise bad_model(
                f"loss {name!r}: {source!r} is given as {kind!r}, it is Array({self._blueprint.width})"
            )
        self._training.set_loss(self._blueprint, Loss(name, SQUARED_ERROR), source)

    def set_sgd_optimizer(self, sgd_params: SgdParams) -> None:
        """Learn by stochastic gradient descent; takes the place of an optimiser that was set before."""
        if not isinstance(sgd_params, SgdParams) or isinstance(sgd_params, AdamParams):
            raise bad_parameter(f"set_sgd_optimizer takes SgdParams, not {type(sgd_params).__name__}")
        self._training.optimizer = sgd_params

    def set_adam_optimizer(self, adam_params: AdamParams) -> None:
        """Learn by Adam; takes the place of an optimiser that was set before."""
        if not isinstance(adam_params, AdamParams):
            raise bad_parameter(f"set_adam_optimizer takes AdamParams, not {type(adam_params).__name__}")
        self._training.optimizer = adam_params

    def set_epochs(self, epochs: int = 1, allowed_set: Collection[int] | None = None) -> None:
        """How often an update goes through the samples, and what may be chosen instead; by default nothing."""
        self._training.epochs = chosen_from(Key.EPOCHS, epochs, allowed_set, adjustable_in_progress=True)

    def set_shuffle(self, seed: int | None = None) -> None:
        """Shuffle between epochs, from this seed (0 when None)."""
        self._training.seed = 0 if seed is None else whole_number(seed, "seed", least=-(2**63))

    def set_training_input(self, training_input: Sequence[tuple[str, Array | MLFeatureType]]) -> None:
        """Say once more, to be checked, what a training sample has: the input and the target with their types."""
        given: list[Any] = list(training_input) if is_listed(training_input) else [training_input]
        for one in given:
            if not isinstance(one, tuple) or len(one) != 2:
                raise bad_model(f"training_input lists pairs of a name and a type, not {one!r}")
        self._training.inputs = given

    # ------------------------------------------------------------------ looking

    def inspect_layers(self) -> list[dict[str, Any]]:
        """Print and return name, type, input, output, channels and whether it learns, for every layer."""
        return _printed([self._seen(one.layer.name) for one in self._blueprint.placed])

    def inspect_updatable_layers(self) -> list[dict[str, Any]]:
        """The same for the layers that learn."""
        return _printed([one for one in map(self._seen, self._names()) if one["updatable"]])

    def inspect_loss_layers(self) -> list[dict[str, Any]]:
        """Print and return name, type, input and target of the loss, if there is one."""
        loss = self._training.loss
        if loss is None:
            return _printed([])
        source = self._blueprint.last_output
        return _printed([{"name": loss.name, "type": loss.kind, "input": source, "target": self._predicted}])

    def inspect_optimizer(self) -> dict[str, Any]:
        """Print and return the name of the optimiser and its defaults, empty when none is set."""
        optimizer = self._training.optimizer
        if optimizer is None:
            return {}
        defaults = {one.key.name: one.default_value for one in optimizer.descriptions}
        return _printed([{"name": optimizer.name, **defaults}])[0]

    def inspect_input_features(self) -> list[dict[str, Any]]:
        """Print and return name and size of the input."""
        return _printed([{"name": self._blueprint.input_name, "size": self._blueprint.n_features}])

    def _names(self) -> list[str]:
        return [one.layer.name for one in self._blueprint.placed]

    def _seen(self, name: str) -> dict[str, Any]:
        placed = self._blueprint.named(name)
        assert placed is not None
        layer = placed.layer
        learns = isinstance(layer, InnerProduct) and layer.is_updatable
        return {
            "name": name,
            "type": layer.function if isinstance(layer, Function) else layer.kind,
            "input": placed.input_name,
            "output": placed.output_name,
            "channels": placed.width,
            "updatable": learns,
        }

    # ------------------------------------------------------------------ the model

    def model(self) -> MLModel:
        """The model, writable, and updatable when a layer was marked so; the builder may be used on."""
        products = [one.layer for one in self._blueprint.placed if isinstance(one.layer, InnerProduct)]
        if not products:
            raise bad_model("the network has no inner product, so there is nothing in it")
        if self._labels is None:
            raise bad_model("set_class_labels has not been called")
        if len(self._labels) != self._blueprint.width:
            raise bad_model(f"{len(self._labels)} class labels for {self._blueprint.width} outputs")
        if self._predicted == self._blueprint.input_name:
            raise bad_model(f"input and prediction have the same name, {self._predicted!r}")
        described = self._training.checked(self._blueprint, self._predicted, self._target_type())
        layers = [
            replace(one.layer) if isinstance(one.layer, InnerProduct) else one.layer
            for one in self._blueprint.placed
        ]
        default, confidence = self._default
        head = NeuralNetworkHead(
            self._blueprint.n_features,
            network=Network(layers, self._training.loss).copy(),
            classes=self._labels,
            default_label=default,
        )
        return MLModel(
            head,
            metadata=MLModelMetadata(description=self.description, author=self.author, license=self.license),
            is_writable=True,
            parameter_descriptions=[*described, *self._beyond(head, confidence)],
            input_name=self._blueprint.input_name,
            output_name=self._predicted,
            not_updatable_because="" if described else "no layer was made updatable",
        )

    def _target_type(self) -> MLFeatureType:
        numbers = bool(self._labels) and isinstance((self._labels or [""])[0], int)
        return MLFeatureType.INT64 if numbers else MLFeatureType.STRING

    @staticmethod
    def _beyond(head: NeuralNetworkHead, confidence: float) -> list[MLParameterDescription]:
        """The parameters that coremltools does not have."""
        own = {one.key: one for one in head.parameter_descriptions}
        return [
            own[Key.KEEP_OLD_OUTPUTS],
            replace(own[Key.MIN_CONFIDENCE], default_value=confidence),
        ]


def _printed(facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for one in facts:
        print(", ".join(f"{name}: {value}" for name, value in one.items()))
    return facts
