"""This is where the signatures of a model that trains itself are told what each of their tensors is for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.vision.graph import FLEX, Graph
from edge_agent.vision.runtime import PortFacts

TRAIN, INFER = "train", "infer"
BY_VALUE = ("get_weights", "set_weights")
BY_FILE = ("save", "restore")

_LEARNING_RATE = "learning_rate"
_LOGITS = "logits"

Ports = Mapping[str, PortFacts]


@dataclass(frozen=True)
class TrainingLayout:
    """What goes in and comes out of `train` and `infer`."""

    features: str
    """Name of the input that holds the samples, in both signatures."""
    target: str
    """Name of the input of `train` that holds what the samples are."""
    learning_rate: str | None
    """Name of the input of `train` for the size of the step, where there is one."""
    loss: str
    output: str
    answers: Literal["probabilities", "logits", "values"]
    """What `infer` gives: one number for each class, or the one number a regression is after."""
    target_kind: Literal["one_hot", "index", "values"]
    target_port: PortFacts
    sample_shape: tuple[int, ...]
    """The shape of one sample."""
    n_outputs: int
    train_rows: int | None
    """How many samples a step takes; None for any number."""
    infer_rows: int | None

    @property
    def n_features(self) -> int:
        """How many numbers a sample is."""
        return prod(self.sample_shape)

    @property
    def is_classifier(self) -> bool:
        """Whether it tells classes apart."""
        return self.answers != "values"


def refused(problem: str, code: MLModelErrorCode = MLModelErrorCode.UPDATE) -> MLModelError:
    """The error for a model that cannot be trained here."""
    return MLModelError(code, f"the model cannot train itself: {problem}")


def weight_signatures(names: Collection[str]) -> tuple[str, str]:
    """The pair of signatures that carries the weights out and in: by value if it can, else through a file.

    Raises `MLModelError` UPDATE unless these, `train` and `infer` are all there.
    """
    pair = next((pair for pair in (BY_VALUE, BY_FILE) if set(pair) <= set(names)), None)
    missing = [name for name in (TRAIN, INFER) if name not in names]
    if pair is None:
        missing.append(" and ".join(BY_VALUE) + " (or " + " and ".join(BY_FILE) + ")")
    if pair is None or missing:
        has = ", ".join(sorted(names)) or "none"
        raise refused(f"it lacks the signatures {', '.join(missing)}; it has {has}")
    return pair


def refuse_foreign_operators(graph: Graph, signatures: Collection[str]) -> None:
    """Raise `MLModelError` when the signatures need operators that no installed runtime has.

    UPDATE names those of full TensorFlow, CUSTOM_LAYER those that somebody made.
    """
    custom = graph.custom_operators(signatures)
    flex = [name for name in custom if name.startswith(FLEX)]
    if flex:
        raise refused(
            f"it needs Select TF operators, which the TFLite runtimes do not have: {', '.join(flex)};"
            " convert it with built-in operators only, its gradients written by hand"
            f" and its weights carried by {' and '.join(BY_VALUE)}"
        )
    if custom:
        raise refused(
            f"it needs custom operators, which the TFLite runtimes do not have: {', '.join(custom)}",
            MLModelErrorCode.CUSTOM_LAYER,
        )


def training_layout(inputs: Mapping[str, Ports], outputs: Mapping[str, Ports]) -> TrainingLayout:
    """Tell the tensors of `train` and `infer` apart; by signature, then by name.

    The samples are what `infer` takes, under the same name in `train`; `learning_rate` is the step size; the
    one that is left is the target: a row of zeros and a one, the number of a class, or a number to come close
    to. `infer` gives `logits` or, under any other name, probabilities.

    Raises `MLModelError` UPDATE that says which tensor has no meaning.
    """
    features = _only(inputs[INFER], "infer takes")
    if features not in inputs[TRAIN]:
        raise refused(f"infer takes {features!r}, which train does not; it takes {_listed(inputs[TRAIN])}")
    rest = {name: port for name, port in inputs[TRAIN].items() if name != features}
    rate = rest.pop(_LEARNING_RATE, None)
    if rate is not None and (rate.dtype != np.float32 or prod(_fixed(rate.shape, _LEARNING_RATE)) != 1):
        raise refused(f"{_LEARNING_RATE} is {_shown(rate)}, expected one float32")
    target = _only(rest, f"besides {features!r} and {_LEARNING_RATE!r} train takes")
    loss = "loss" if "loss" in outputs[TRAIN] else _only(outputs[TRAIN], "train gives")
    output = _output(outputs[INFER])

    train_rows, sample_shape = _split(inputs[TRAIN][features], features)
    infer_rows, infer_shape = _split(inputs[INFER][features], features)
    if infer_shape != sample_shape:
        raise refused(f"a sample is of shape {sample_shape} for train and {infer_shape} for infer")
    n_outputs = prod(_split(outputs[INFER][output], output)[1])
    kind = _target_kind(rest[target], target, n_outputs)
    if _split(rest[target], target, None)[0] != train_rows:
        raise refused(f"train takes {features!r} and {target!r} of different numbers of samples")
    return TrainingLayout(
        features=features,
        target=target,
        learning_rate=None if rate is None else _LEARNING_RATE,
        loss=loss,
        output=output,
        answers="values" if kind == "values" else "logits" if output == _LOGITS else "probabilities",
        target_kind=kind,
        target_port=rest[target],
        sample_shape=sample_shape,
        n_outputs=n_outputs,
        train_rows=train_rows,
        infer_rows=infer_rows,
    )


def _output(ports: Ports) -> str:
    for name in ("probabilities", "output", _LOGITS):
        if name in ports:
            return name
    return _only(ports, "infer gives")


def _target_kind(port: PortFacts, name: str, n_outputs: int) -> Literal["one_hot", "index", "values"]:
    numbers = prod(_split(port, name, None)[1])
    if port.dtype == np.float32 and numbers == n_outputs:
        return "one_hot" if n_outputs > 1 else "values"
    if port.dtype in (np.int32, np.int64) and numbers == 1 and n_outputs > 1:
        return "index"
    raise refused(
        f"the target {name!r} is {_shown(port)} where infer gives {n_outputs} numbers a sample; expected as"
        " many float32 a sample, or one int32 or int64 for two classes or more"
    )


def _split(port: PortFacts, name: str, dtype: Any = np.float32) -> tuple[int | None, tuple[int, ...]]:
    """The number of samples and the shape of one of them."""
    if not port.shape or (dtype is not None and port.dtype != dtype):
        raise refused(f"{name!r} is {_shown(port)}, expected float32 with the samples along the first axis")
    if port.shape[0] == 0 or 0 in port.shape[1:]:
        raise refused(f"{name!r} is {_shown(port)}, which holds nothing")
    return port.shape[0], _fixed(port.shape[1:], name)


def _fixed(shape: tuple[int | None, ...], name: str) -> tuple[int, ...]:
    fixed = tuple(side for side in shape if side is not None)
    if len(fixed) != len(shape):
        raise refused(f"{name!r} is of shape {shape}; only the number of samples may be left open")
    return fixed


def _only(ports: Ports, what: str) -> str:
    if len(ports) != 1:
        raise refused(f"{what} {_listed(ports)}, expected one tensor")
    return next(iter(ports))


def _listed(ports: Ports) -> str:
    return ", ".join(sorted(ports)) or "nothing"


def _shown(port: PortFacts) -> str:
    return f"{port.dtype} of shape {port.shape}"
