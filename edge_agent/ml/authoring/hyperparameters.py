"""This is where an author says how a model may be trained: defaults, and what may be chosen instead."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real

import numpy as np

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.members import is_listed
from edge_agent.ml.parameters import MLNumericConstraint, MLParameterDescription, MLParameterKey, only

Key = MLParameterKey


def bad_parameter(problem: str) -> MLModelError:
    """The error for a hyperparameter that cannot be what the author says."""
    return MLModelError(MLModelErrorCode.PARAMETERS, problem)


def whole_number(value: object, who: str, *, least: int = 1) -> int:
    """A whole number of at least `least`; raises `MLModelError` PARAMETERS, saying whose it is."""
    if not isinstance(value, Integral) or isinstance(value, bool | np.bool_):
        raise bad_parameter(f"{who} is a whole number, not {value!r}")
    if value < least:
        raise bad_parameter(f"{who} is at least {least}, not {value}")
    return int(value)


def chosen_from(
    key: Key, value: object, allowed_set: Collection[int] | None, *, adjustable_in_progress: bool = False
) -> MLParameterDescription:
    """A whole number above 0 with the set it may be chosen from; without a set it cannot be changed.

    Raises `MLModelError` PARAMETERS for anything else, an empty set, and a default that is not in the set.
    """
    default = whole_number(value, key.name)
    allowed = {default} if allowed_set is None else allowed_set
    if not is_listed(allowed):
        raise bad_parameter(f"the allowed set of {key.name} lists numbers, not {allowed_set!r}")
    numbers = frozenset(whole_number(one, f"every allowed value of {key.name}") for one in allowed)
    if not numbers:
        raise bad_parameter(f"the allowed set of {key.name} is empty")
    if default not in numbers:
        raise bad_parameter(
            f"the default {default} of {key.name} is not in its allowed set {sorted(numbers)}"
        )
    return MLParameterDescription(key, default, only(*numbers), adjustable_in_progress=adjustable_in_progress)


def chosen_between(key: Key, value: object, least: object, most: object) -> MLParameterDescription:
    """A number with its range; raises `MLModelError` PARAMETERS unless `least` <= value <= `most`."""
    numbers = []
    for what, number in (("default", value), ("minimum", least), ("maximum", most)):
        try:
            plain = float(number) if isinstance(number, Real) and not isinstance(number, bool) else math.nan
        except OverflowError:  # a whole number with hundreds of digits
            plain = math.inf
        if not math.isfinite(plain):
            raise bad_parameter(f"the {what} of {key.name} is a finite number, not {number!r}")
        numbers.append(plain)
    default, low, high = numbers
    if low > high:
        raise bad_parameter(f"the range of {key.name} is empty: {low:g} is above {high:g}")
    if low < 0.0:
        raise bad_parameter(f"the minimum of {key.name} is at least 0, not {low:g}")
    if not low <= default <= high:
        raise bad_parameter(f"the default {default:g} of {key.name} is not in its range {low:g} to {high:g}")
    return MLParameterDescription(key, default, MLNumericConstraint(low, high), adjustable_in_progress=True)


class SgdParams:
    """Stochastic gradient descent. Rate and momentum may be changed between 0 and 1, the batch may not.

    All methods raise `MLModelError` PARAMETERS for a default outside of what is allowed.
    """

    name = "sgd"

    def __init__(self, lr: float = 0.01, batch: int = 10, momentum: float = 0.0) -> None:
        self._described: dict[Key, MLParameterDescription] = {}
        self.set_lr(lr)
        self.set_batch(batch)
        self.set_momentum(momentum)

    def set_lr(self, value: float, min: float = 0.0, max: float = 1.0) -> None:  # noqa: A002 - coremltools' words
        """The learning rate and its range."""
        self._set(chosen_between(Key.LEARNING_RATE, value, min, max))

    def set_batch(self, value: int, allowed_set: Collection[int] | None = None) -> None:
        """The size of a mini-batch and the sizes allowed instead; by default none."""
        self._set(chosen_from(Key.MINI_BATCH_SIZE, value, allowed_set))

    def set_momentum(self, value: float, min: float = 0.0, max: float = 1.0) -> None:  # noqa: A002
        """The momentum and its range."""
        self._set(chosen_between(Key.MOMENTUM, value, min, max))

    def _set(self, description: MLParameterDescription) -> None:
        self._described[description.key] = description

    @property
    def descriptions(self) -> tuple[MLParameterDescription, ...]:
        """What the model is going to say of its parameters."""
        return tuple(self._described.values())


class AdamParams(SgdParams):
    """Adam. All but the batch may be changed between 0 and 1; raises as `SgdParams`."""

    name = "adam"

    def __init__(
        self,
        lr: float = 0.01,
        batch: int = 10,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        self._described = {}
        self.set_lr(lr)
        self.set_batch(batch)
        self.set_beta1(beta1)
        self.set_beta2(beta2)
        self.set_eps(eps)

    def set_momentum(self, value: float, min: float = 0.0, max: float = 1.0) -> None:  # noqa: A002, ARG002
        """Refused: Adam has beta1 and beta2 instead."""
        raise bad_parameter("Adam has no momentum; it has beta1 and beta2")

    def set_beta1(self, value: float, min: float = 0.0, max: float = 1.0) -> None:  # noqa: A002
        """The decay of the mean gradient and its range."""
        self._set(chosen_between(Key.BETA1, value, min, max))

    def set_beta2(self, value: float, min: float = 0.0, max: float = 1.0) -> None:  # noqa: A002
        """The decay of the mean squared gradient and its range."""
        self._set(chosen_between(Key.BETA2, value, min, max))

    def set_eps(self, value: float, min: float = 0.0, max: float = 1.0) -> None:  # noqa: A002
        """What keeps Adam from dividing by zero, and its range."""
        self._set(chosen_between(Key.EPS, value, min, max))
