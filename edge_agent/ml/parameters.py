"""This is where the numbers a learner may be told have names, defaults and limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.members import is_listed


@dataclass(frozen=True, repr=False)
class MLKey:
    """A name that may carry the scope (layer, sub-model) it is meant for; printed `scope.name`.

    Equal to a key of the same class with the same name and scope, so it can be looked up in mappings. Raises
    `MLModelError` PARAMETERS for a name or scope that is no text or is empty.
    """

    name: str
    scope: str | None = None

    def __post_init__(self) -> None:
        for what, text in (("name", self.name), ("scope", self.scope)):
            if not (isinstance(text, str) and text) and not (what == "scope" and text is None):
                raise MLModelError(
                    MLModelErrorCode.PARAMETERS, f"the {what} of a key is a text, not {text!r}"
                )

    def __str__(self) -> str:
        return f"{self.scope}.{self.name}" if self.scope else self.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


@dataclass(frozen=True, repr=False)
class MLParameterKey(MLKey):
    """The name of a parameter. Keys with the same name and scope are equal."""

    LEARNING_RATE: ClassVar[MLParameterKey]
    MOMENTUM: ClassVar[MLParameterKey]
    MINI_BATCH_SIZE: ClassVar[MLParameterKey]
    BETA1: ClassVar[MLParameterKey]
    BETA2: ClassVar[MLParameterKey]
    EPS: ClassVar[MLParameterKey]
    EPOCHS: ClassVar[MLParameterKey]
    SHUFFLE: ClassVar[MLParameterKey]
    SEED: ClassVar[MLParameterKey]
    NUMBER_OF_NEIGHBORS: ClassVar[MLParameterKey]
    WEIGHTS: ClassVar[MLParameterKey]
    BIASES: ClassVar[MLParameterKey]
    LINKED_MODEL_FILE_NAME: ClassVar[MLParameterKey]
    LINKED_MODEL_SEARCH_PATH: ClassVar[MLParameterKey]
    # Beyond Apple's:
    SHRINKAGE: ClassVar[MLParameterKey]
    PRIOR: ClassVar[MLParameterKey]
    UNKNOWN_RATE: ClassVar[MLParameterKey]
    OPTIMIZER: ClassVar[MLParameterKey]
    L2: ClassVar[MLParameterKey]
    WEIGHTING_SCHEME: ClassVar[MLParameterKey]
    INDEX_TYPE: ClassVar[MLParameterKey]
    LEAF_SIZE: ClassVar[MLParameterKey]
    DISTANCE: ClassVar[MLParameterKey]
    UNKNOWN_DISTANCE: ClassVar[MLParameterKey]
    SAMPLES_PER_CLASS: ClassVar[MLParameterKey]
    KEEP_DUPLICATES: ClassVar[MLParameterKey]
    KEEP_OLD_OUTPUTS: ClassVar[MLParameterKey]
    MIN_CONFIDENCE: ClassVar[MLParameterKey]

    def scoped_to(self, scope: str) -> Self:
        """A copy aimed at an inner component; a second scope goes inside the first.

        `BIASES.scoped_to("model1").scoped_to("FullyConnected")` prints `model1.FullyConnected.biases`.
        """
        if not isinstance(scope, str):
            raise MLModelError(MLModelErrorCode.PARAMETERS, f"the scope of a key is a text, not {scope!r}")
        return type(self)(self.name, f"{self.scope}.{scope}" if self.scope and scope else scope)


for _name in list(MLParameterKey.__annotations__):
    setattr(MLParameterKey, _name, MLParameterKey(_name.lower()))


@dataclass(frozen=True)
class MLNumericConstraint:
    """Limits of a number, both ends allowed; `enumerated_numbers` lists the only values when it is given.

    Raises `MLModelError` PARAMETERS for limits that no number meets and for what is no number.
    """

    min_number: float | None = None
    max_number: float | None = None
    enumerated_numbers: frozenset[float] | None = None

    def __post_init__(self) -> None:
        low, high = _limit(self.min_number), _limit(self.max_number)
        object.__setattr__(self, "min_number", low)
        object.__setattr__(self, "max_number", high)
        if low is not None and high is not None and low > high:
            raise _bad_limit(f"the least number {_shown(low)} is above the greatest, {_shown(high)}")
        only = self.enumerated_numbers
        if only is None:
            return
        if not is_listed(only) or not (listed := list(only)):
            raise _bad_limit(f"enumerated_numbers lists at least one number, not {only!r}")
        limits = [_limit(number) for number in listed]
        if None in limits:
            raise _bad_limit("enumerated_numbers lists numbers only")
        object.__setattr__(self, "enumerated_numbers", frozenset(limits))

    def problem(self, value: float) -> str | None:
        """What is wrong with a value, or None."""
        if self.enumerated_numbers is not None and value not in self.enumerated_numbers:
            numbers = sorted(self.enumerated_numbers)
            return (
                f"is not one of {_listed(numbers)}"
                if len(numbers) > 1
                else f"is not {_shown(numbers[0])}, and nothing else is allowed"
            )
        if self.min_number is not None and value < self.min_number:
            return f"is below {_shown(self.min_number)}"
        if self.max_number is not None and value > self.max_number:
            return f"is above {_shown(self.max_number)}"
        return None


def _limit(number: object) -> float | None:
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, Real):
        raise _bad_limit(f"{number!r} is no number")
    # Plain numbers compare exactly, whatever their size; numpy's overflow or warn beside a huge one.
    if isinstance(number, Integral):
        return int(number)
    try:
        plain = float(number)
    except OverflowError:
        raise _bad_limit("a number is beyond all doubles") from None
    if math.isnan(plain):
        raise _bad_limit(f"{number!r} is no number")
    return plain


def _listed(numbers: Sequence[float]) -> str:
    whole = len(numbers) > 2 and all(isinstance(number, int) for number in numbers)
    if whole and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{_shown(numbers[0])} to {_shown(numbers[-1])}"
    return ", ".join(map(_shown, numbers))


def _shown(number: float) -> str:
    try:
        return f"{number:g}"
    except OverflowError:  # a whole number with hundreds of digits
        return "a number beyond all doubles"


def _bad_limit(problem: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.PARAMETERS, f"a limit of a parameter: {problem}")


ParameterValue = bool | int | float | str


@dataclass(frozen=True)
class MLParameterDescription:
    """What a parameter may be. Its kind (truth value, whole number, number, text) is that of `default_value`.

    Raises `MLModelError` PARAMETERS when the default itself is not allowed.
    """

    key: MLParameterKey
    default_value: ParameterValue
    numeric_constraint: MLNumericConstraint | None = None
    allowed_values: frozenset[str] | None = None
    """The only texts allowed, for a parameter that is a text."""
    adjustable_in_progress: bool = False
    """Whether a progress handler may change it while training runs."""

    def __post_init__(self) -> None:
        if not isinstance(self.key, MLParameterKey):
            raise MLModelError(MLModelErrorCode.PARAMETERS, f"{self.key!r} is not an MLParameterKey")
        if not isinstance(self.default_value, bool | int | float | str):
            raise self._refused(f"{self.default_value!r} cannot be a default")
        if not isinstance(self.numeric_constraint, MLNumericConstraint | None):
            raise self._refused(f"{self.numeric_constraint!r} is not an MLNumericConstraint")
        object.__setattr__(self, "default_value", self.checked(self.default_value))

    def checked(self, value: object) -> ParameterValue:
        """The value as a plain Python value of this parameter's kind.

        Raises `MLModelError` PARAMETERS, naming the key, for a wrong kind or a value out of bounds.
        """
        plain = self._of_kind(value)
        if isinstance(plain, str):
            if self.allowed_values is not None and plain not in self.allowed_values:
                raise self._refused(f"{plain!r} is not one of {', '.join(sorted(self.allowed_values))}")
        elif self.numeric_constraint is not None:
            problem = self.numeric_constraint.problem(plain)
            if problem:
                raise self._refused(f"{plain!r} {problem}")
        return plain

    def _of_kind(self, value: object) -> ParameterValue:
        truth = isinstance(value, bool | np.bool_)
        if isinstance(self.default_value, bool):
            if truth:
                return bool(value)
            raise self._refused(f"expected true or false, got {value!r}")
        if isinstance(self.default_value, str):
            if isinstance(value, str):
                return str(value)
            raise self._refused(f"expected a text, got {value!r}")
        if isinstance(self.default_value, int):
            if isinstance(value, Integral) and not truth:
                return int(value)
            raise self._refused(f"expected a whole number, got {value!r}")
        if isinstance(value, Real) and not truth and _is_finite(value):
            return float(value)
        raise self._refused(f"expected a finite number, got {value!r}")

    def _refused(self, problem: str) -> MLModelError:
        return MLModelError(MLModelErrorCode.PARAMETERS, f"parameter {self.key}: {problem}")


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:  # a whole number with hundreds of digits
        return False


def resolve(
    descriptions: Iterable[MLParameterDescription], given: Mapping[MLParameterKey, object] | None = None
) -> dict[MLParameterKey, ParameterValue]:
    """Every described parameter with the given value or its default, in the order described.

    Raises `MLModelError` PARAMETERS for an unknown key, a wrong kind or a value out of bounds.
    """
    known = {description.key: description for description in descriptions}
    if not isinstance(given, Mapping | None):
        raise MLModelError(
            MLModelErrorCode.PARAMETERS, f"parameters are a mapping by key, not {type(given).__name__}"
        )
    for key in given or {}:
        if key not in known:
            names = ", ".join(str(name) for name in known) or "none"
            raise MLModelError(MLModelErrorCode.PARAMETERS, f"parameter {key} is unknown; known are {names}")
    values = {key: description.default_value for key, description in known.items()}
    values.update({key: known[key].checked(value) for key, value in (given or {}).items()})
    return values


def locked(description: MLParameterDescription, value: ParameterValue) -> MLParameterDescription:
    """The same parameter with this value as the only one allowed."""
    if isinstance(value, bool):
        return replace(description, default_value=value, numeric_constraint=only(value))
    if isinstance(value, str):
        return replace(description, default_value=value, allowed_values=frozenset({value}))
    return replace(description, default_value=value, numeric_constraint=only(value))


def only(*values: float) -> MLNumericConstraint:
    """A constraint that lists the allowed numbers."""
    return MLNumericConstraint(enumerated_numbers=frozenset(values))


def description_to_json(description: MLParameterDescription) -> dict[str, Any]:
    """A description as plain values, in a fixed order; `description_from_json` reads it."""
    limits = description.numeric_constraint
    numbers = limits.enumerated_numbers if limits else None
    return {
        "name": description.key.name,
        "scope": description.key.scope,
        "default": description.default_value,
        "min": limits.min_number if limits else None,
        "max": limits.max_number if limits else None,
        "numbers": None if numbers is None else sorted(numbers),
        "texts": None if description.allowed_values is None else sorted(description.allowed_values),
        "adjustable_in_progress": description.adjustable_in_progress,
    }


def description_from_json(values: Mapping[str, Any]) -> MLParameterDescription:
    """The description these came from.

    Raises `MLModelError` PARAMETERS when default and limits do not fit, KeyError for a missing value.
    """
    numbers, texts = values["numbers"], values["texts"]
    limits = MLNumericConstraint(
        values["min"], values["max"], None if numbers is None else frozenset(numbers)
    )
    return MLParameterDescription(
        MLParameterKey(values["name"], values["scope"]),
        values["default"],
        None if limits == MLNumericConstraint() else limits,
        None if texts is None else frozenset(texts),
        adjustable_in_progress=values["adjustable_in_progress"],
    )
