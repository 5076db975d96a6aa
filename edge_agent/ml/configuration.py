"""This is where it is said what to set on a model and where it may be computed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any

import numpy as np

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.members import member_of
from edge_agent.ml.parameters import MLParameterKey

log = logging.getLogger(__name__)


class MLComputeUnits(IntEnum):
    """What a model may be computed on, with Apple's raw values."""

    CPU_ONLY = 0
    CPU_AND_GPU = 1
    ALL = 2
    CPU_AND_NEURAL_ENGINE = 3


class MLComputeUnit(IntEnum):
    """One kind of hardware."""

    CPU = 0
    GPU = 1
    NEURAL_ENGINE = 2


_UNITS = {
    MLComputeUnits.CPU_ONLY: (MLComputeUnit.CPU,),
    MLComputeUnits.CPU_AND_GPU: (MLComputeUnit.CPU, MLComputeUnit.GPU),
    MLComputeUnits.ALL: (MLComputeUnit.CPU, MLComputeUnit.GPU, MLComputeUnit.NEURAL_ENGINE),
    MLComputeUnits.CPU_AND_NEURAL_ENGINE: (MLComputeUnit.CPU, MLComputeUnit.NEURAL_ENGINE),
}


class MLReshapeFrequencyHint(IntEnum):
    """How often the shapes of inputs change, with Apple's raw values."""

    FREQUENT = 0
    INFREQUENT = 1


class MLSpecializationStrategy(IntEnum):
    """Whether loading may take longer for quicker predictions, with Apple's raw values."""

    DEFAULT = 0
    FAST_PREDICTION = 1


def _refused(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.GENERIC, message)


def _member(kind: Any, name: str, value: object) -> Any:
    found = member_of(kind, value)
    if found is None:
        known = ", ".join(one.name for one in kind)
        raise _refused(f"{name} is one of {known}, not {value!r}")
    return found


_HINTS = {"reshape_frequency": MLReshapeFrequencyHint, "specialization_strategy": MLSpecializationStrategy}


@dataclass(frozen=True)
class MLOptimizationHints:
    """What may be expected of the use of a model; hints change speed, never results."""

    reshape_frequency: MLReshapeFrequencyHint = MLReshapeFrequencyHint.FREQUENT
    specialization_strategy: MLSpecializationStrategy = MLSpecializationStrategy.DEFAULT

    def __post_init__(self) -> None:
        for name, kind in _HINTS.items():
            object.__setattr__(self, name, _member(kind, name, getattr(self, name)))


@dataclass
class MLModelConfiguration:
    """What to set on a model when it is loaded or updated.

    Who uses a configuration takes a copy (`copy()`) first, so later changes have no effect; a loaded model's
    `configuration` is a copy too. Values are checked when they are set: `MLModelError` GENERIC, PARAMETERS
    for `parameters`; whether the model knows a parameter is checked where the configuration is used.
    """

    parameters: Mapping[MLParameterKey, object] = field(default_factory=dict)
    compute_units: MLComputeUnits = MLComputeUnits.ALL
    """What is not there is left out, with the reason in the log."""
    model_display_name: str | None = None
    """A name for logs and the thread that trains."""
    function_name: str | None = None
    """Which function of a model that has several."""
    allow_low_precision_accumulation_on_gpu: bool = False
    preferred_device: str | None = None
    """The name of a delegate to try first."""
    optimization_hints: MLOptimizationHints = MLOptimizationHints()

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _CHECKS:
            known = ", ".join(_CHECKS)
            raise MLModelError(MLModelErrorCode.GENERIC, f"a configuration has no {name!r}; it has {known}")
        object.__setattr__(self, name, _CHECKS[name](name, value))

    def copy(self) -> MLModelConfiguration:
        """A configuration of its own with the same values; arrays among the parameters are copied too."""
        return MLModelConfiguration(**{one.name: getattr(self, one.name) for one in fields(self)})


@dataclass(frozen=True)
class ComputeChoice:
    """What a model is computed on, of what was asked for."""

    requested: MLComputeUnits
    used: tuple[MLComputeUnit, ...]
    fallback_reason: str = ""
    """Why something asked for is not used; empty when all of it is."""


def choose_compute_units(
    configuration: MLModelConfiguration,
    available: frozenset[MLComputeUnit] = frozenset({MLComputeUnit.CPU}),
) -> ComputeChoice:
    """What of the units asked for is there; the CPU always is. What is left out is logged with the reason.

    As a warning when the units were chosen by name, as information for ALL, which asks for whatever is there.
    """
    asked = _UNITS[configuration.compute_units]
    used = tuple(unit for unit in asked if unit in available or unit is MLComputeUnit.CPU)
    reasons = [f"no {unit.name} can be used for this model here" for unit in asked if unit not in used]
    device = configuration.preferred_device
    if device is not None:
        reasons.append(f"the preferred device {device!r} is not there")
    reason = "; ".join(reasons)
    if reason:
        by_name = configuration.compute_units is not MLComputeUnits.ALL or device is not None
        log.log(
            logging.WARNING if by_name else logging.INFO,
            "%s: asked for %s, using %s: %s",
            configuration.model_display_name or "model",
            configuration.compute_units.name,
            ", ".join(unit.name for unit in used),
            reason,
        )
    return ComputeChoice(configuration.compute_units, used, reason)


def usable_configuration(configuration: object) -> MLModelConfiguration:
    """A copy of what a model is loaded with; the log says what of it is not to be had here.

    Raises `MLModelError` GENERIC for what is no configuration and for the name of a function.
    """
    if configuration is None:
        return MLModelConfiguration()
    if not isinstance(configuration, MLModelConfiguration):
        raise MLModelError(
            MLModelErrorCode.GENERIC, f"{type(configuration).__name__} is not an MLModelConfiguration"
        )
    if configuration.function_name is not None:
        raise MLModelError(
            MLModelErrorCode.GENERIC,
            f"there is no function {configuration.function_name!r}: the model has one, without a name",
        )
    choose_compute_units(configuration)
    return configuration.copy()


def _units(name: str, value: object) -> MLComputeUnits:
    return _member(MLComputeUnits, name, value)  # type: ignore[no-any-return]


def _text(name: str, value: object) -> str | None:
    # An empty name is no name.
    if value is None:
        return None
    if not isinstance(value, str):
        raise _refused(f"{name} is a text or None, not {type(value).__name__}")
    return value or None


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refused(f"{name} is true or false, not {value!r}")
    return value


def _optimization(name: str, value: object) -> MLOptimizationHints:
    if not isinstance(value, MLOptimizationHints):
        raise _refused(f"{name} is an MLOptimizationHints, not {type(value).__name__}")
    return value


def _parameters(name: str, value: object) -> dict[MLParameterKey, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MLModelError(
            MLModelErrorCode.PARAMETERS, f"{name} are a mapping by key, not {type(value).__name__}"
        )
    for key in value:
        if not isinstance(key, MLParameterKey):
            raise MLModelError(MLModelErrorCode.PARAMETERS, f"{key!r} is not an MLParameterKey")
    return {key: np.array(one) if isinstance(one, np.ndarray) else one for key, one in value.items()}


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "parameters": _parameters,
    "compute_units": _units,
    "model_display_name": _text,
    "function_name": _text,
    "allow_low_precision_accumulation_on_gpu": _truth,
    "preferred_device": _text,
    "optimization_hints": _optimization,
}
