"""This is where an optimizer is told its parameters, and its memory outlives an update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.arrays import stored_array
from edge_agent.ml.optimizers import SGD, Adam
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.parameters import ParameterValue

Matrix = NDArray[np.float64]
Optimizer = SGD | Adam

OPTIMIZERS = ("adam", "sgd")


def optimizer_named(name: str) -> Optimizer:
    """A fresh optimizer of the kind."""
    return Adam() if name == "adam" else SGD()


def advance(
    optimizer: Optimizer,
    arrays: Sequence[Matrix],
    gradients: Sequence[Matrix],
    settings: Mapping[Key, ParameterValue],
) -> None:
    """One step on `arrays`, in place, with the parameters in force."""
    rate = float(settings[Key.LEARNING_RATE])
    if isinstance(optimizer, SGD):
        optimizer.step(arrays, gradients, learning_rate=rate, momentum=float(settings[Key.MOMENTUM]))
        return
    optimizer.step(
        arrays,
        gradients,
        learning_rate=rate,
        beta1=float(settings[Key.BETA1]),
        beta2=float(settings[Key.BETA2]),
        eps=float(settings[Key.EPS]),
    )


def memory(optimizer: Optimizer) -> dict[str, Matrix]:
    """What the optimizer remembers, by name; empty before its first step."""
    if isinstance(optimizer, SGD):
        return {f"velocity{at}": array for at, array in enumerate(optimizer.velocities)}
    moments = {f"moment{at}": m for at, (m, _) in enumerate(optimizer.moments)}
    return {**moments, **{f"square{at}": v for at, (_, v) in enumerate(optimizer.moments)}}


def name_of(optimizer: Optimizer) -> str:
    """The name of its kind."""
    return "sgd" if isinstance(optimizer, SGD) else "adam"


def steps_of(optimizer: Optimizer) -> int:
    """How many steps Adam made; 0 for the other, which does not count."""
    return optimizer.steps if isinstance(optimizer, Adam) else 0


def remembering(name: str, steps: int, kept: Mapping[str, Matrix]) -> Optimizer:
    """The optimizer with that memory; the other way round from `memory` and `steps_of`."""
    optimizer = optimizer_named(name)
    if isinstance(optimizer, SGD):
        optimizer.velocities = [kept[f"velocity{at}"] for at in range(len(kept))]
    else:
        optimizer.steps = steps
        optimizer.moments = [(kept[f"moment{at}"], kept[f"square{at}"]) for at in range(len(kept) // 2)]
    return optimizer


def restored(
    name: str, steps: int, stored: Mapping[str, NDArray[Any]], arrays: Sequence[Matrix]
) -> Optimizer:
    """The optimizer whose memory of `arrays` lies among the stored ones; a fresh one where none does.

    Raises `MLModelError` IO when its shapes are not those of `arrays`.
    """
    kinds = ("velocity",) if name == "sgd" else ("moment", "square")
    names = {f"{kind}{at}": array for kind in kinds for at, array in enumerate(arrays)}
    if not any(one in stored for one in names):
        return optimizer_named(name)
    return remembering(
        name, steps, {one: stored_array(stored, one, array.shape) for one, array in names.items()}
    )


def fitted(optimizer: Optimizer, arrays: Sequence[Matrix]) -> Optimizer:
    """A copy of the optimizer for arrays that may have got more rows: of those it remembers zeros."""
    if isinstance(optimizer, SGD):
        return remembering("sgd", 0, _grown("velocity", optimizer.velocities, arrays))
    moments = _grown("moment", [m for m, _ in optimizer.moments], arrays)
    squares = _grown("square", [v for _, v in optimizer.moments], arrays)
    return remembering("adam", optimizer.steps, {**moments, **squares})


def _grown(kind: str, kept: Sequence[Matrix], arrays: Sequence[Matrix]) -> dict[str, Matrix]:
    grown = {f"{kind}{at}": np.zeros_like(array) for at, array in enumerate(arrays[: len(kept)])}
    for array, before in zip(grown.values(), kept, strict=True):
        array[: len(before)] = before
    return grown
