"""This is where it is checked that a network can be trained the way its author says."""

from __future__ import annotations

from typing import Any

from edge_agent.ml.authoring.blueprint import Blueprint, bad_model
from edge_agent.ml.authoring.hyperparameters import SgdParams
from edge_agent.ml.features import MLFeatureType
from edge_agent.ml.layers import Function, InnerProduct
from edge_agent.ml.losses import CROSS_ENTROPY, Loss
from edge_agent.ml.parameters import MLNumericConstraint, MLParameterDescription, MLParameterKey

Key = MLParameterKey


class Training:
    """Loss, optimiser, epochs and seed, as far as they were said."""

    def __init__(self) -> None:
        self.loss: Loss | None = None
        self.optimizer: SgdParams | None = None
        self.epochs: MLParameterDescription | None = None
        self.seed = 0
        self.inputs: list[tuple[str, Any]] | None = None

    def set_loss(self, blueprint: Blueprint, loss: Loss, source: str) -> None:
        """Take the one loss; raises `MLModelError` GENERIC for a second, and for what cannot be compared."""
        if self.loss is not None:
            raise bad_model(f"there is exactly one loss, and {self.loss.name!r} is there")
        if not isinstance(loss.name, str) or not loss.name:
            raise bad_model(f"the name of a loss is a text, not {loss.name!r}")
        if blueprint.named(loss.name):
            raise bad_model(f"loss {loss.name!r} has the name of a layer")
        outputs = {one.output_name: one.layer for one in blueprint.placed}
        if source not in outputs:
            raise bad_model(f"loss {loss.name!r} takes {source!r}, which no layer gives")
        layer = outputs[source]
        softmax = isinstance(layer, Function) and layer.function == "softmax"
        if loss.kind == CROSS_ENTROPY and not softmax:
            raise bad_model(
                f"loss {loss.name!r}: categorical cross-entropy takes what a softmax gives, and"
                f" {source!r} comes from layer {layer.name!r}"
            )
        if loss.kind != CROSS_ENTROPY and softmax:
            raise bad_model(
                f"loss {loss.name!r}: a softmax may feed categorical cross-entropy only;"
                " it does not support backpropagation by itself"
            )
        if source != blueprint.last_output:
            raise bad_model(f"loss {loss.name!r} takes {source!r}, which is not what the last layer gives")
        self.loss = loss

    def checked(
        self, blueprint: Blueprint, target: str, target_type: MLFeatureType
    ) -> list[MLParameterDescription]:
        """What the model says of its training; nothing for one without updatable layers.

        Raises `MLModelError` GENERIC where something is missing or does not fit.
        """
        trained = [
            at
            for at, one in enumerate(blueprint.placed)
            if isinstance(one.layer, InnerProduct) and one.layer.is_updatable
        ]
        if not trained:
            if self.loss or self.optimizer or self.epochs or self.inputs:
                raise bad_model("there is a training and no layer that learns; call make_updatable")
            return []
        if self.loss is None:
            raise bad_model("an updatable network needs exactly one loss")
        # A layer added behind the loss would train what nobody answers with.
        last = blueprint.placed[-1]
        top = len(blueprint.placed) - (self.loss.kind == CROSS_ENTROPY)
        feeds = isinstance(last.layer, Function) and last.layer.function == "softmax"
        if feeds != (self.loss.kind == CROSS_ENTROPY):
            raise bad_model(
                f"loss {self.loss.name!r} does not take what the last layer, {last.layer.name!r}, gives"
            )
        blocking = blueprint.blocked_between(trained[0], top)
        if blocking is not None:
            raise bad_model(
                f"There is a layer ({blocking}), which does not support backpropagation, between an updatable"
                " marked layer and the loss function."
            )
        if self.optimizer is None:
            raise bad_model(
                "an updatable network needs an optimizer: set_sgd_optimizer or set_adam_optimizer"
            )
        if self.epochs is None:
            raise bad_model("an updatable network needs epochs: call set_epochs")
        if target in {one.output_name for one in blueprint.placed}:
            raise bad_model(f"the target {target!r} is made inside of the network")
        self._check_inputs(blueprint, target, target_type)
        return [
            MLParameterDescription(
                Key.OPTIMIZER, self.optimizer.name, allowed_values=frozenset({self.optimizer.name})
            ),
            *self.optimizer.descriptions,
            self.epochs,
            MLParameterDescription(Key.SHUFFLE, default_value=True),
            MLParameterDescription(Key.SEED, self.seed, MLNumericConstraint(-(2**63), 2**63 - 1)),
        ]

    def _check_inputs(self, blueprint: Blueprint, target: str, target_type: MLFeatureType) -> None:
        if self.inputs is None:
            return
        if len(self.inputs) < 2:
            raise bad_model(f"there are at least two training inputs, not {len(self.inputs)}")
        given = dict(self.inputs)
        if len(given) < len(self.inputs):
            raise bad_model("two training inputs have the same name")
        if blueprint.input_name not in given:
            raise bad_model(
                f"the training inputs lack {blueprint.input_name!r}, what the network predicts from"
            )
        if target not in given:
            raise bad_model(f"the training inputs lack {target!r}, the target of the loss")
        if given[target] != target_type:
            raise bad_model(
                f"the training input {target!r} is {given[target]!r}, the labels are {target_type!r}"
            )
        if getattr(given[blueprint.input_name], "size", None) != blueprint.n_features:
            raise bad_model(
                f"the training input {blueprint.input_name!r} is {given[blueprint.input_name]!r},"
                f" it is Array({blueprint.n_features})"
            )
        for name in given:
            if name not in {blueprint.input_name, target}:
                raise bad_model(f"the training input {name!r} is neither the network's input nor the target")
