"""This is where the frozen stages of a pipeline turn what it is given into features for its last stage."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.description import MLFeatureDescription
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey
from edge_agent.ml.stages import parameters_by_stage, scoped, scoped_descriptions, stage_names
from edge_agent.ml.values import MLFeatureValue


@runtime_checkable
class FrozenStage(Protocol):
    """A stage that learns nothing: one value in, features float32 [n_features] out."""

    kind: ClassVar[str]
    """What a model on disk calls such stages."""

    @property
    def input(self) -> MLFeatureDescription:
        """What it takes."""

    @property
    def n_features(self) -> int:
        """How many features it gives."""

    @property
    def fingerprint(self) -> str:
        """Equal for two stages exactly when their features may be compared."""

    @property
    def parameter_descriptions(self) -> tuple[MLParameterDescription, ...]:
        """What may be set on it when it is loaded, with the values in force."""

    def features(self, value: MLFeatureValue) -> NDArray[np.float32]:
        """Features [n_features] of a value that `input` allows; raises `MLModelError` CUSTOM_MODEL."""

    def describe(self) -> dict[str, Any]:
        """What it takes to open it again, as JSON."""

    def files(self) -> Mapping[str, bytes]:
        """The files that have to be kept beside the model, by name; raises `MLModelError` IO."""


class Front:
    """The frozen stages of a pipeline, in their order, and the names of all its stages.

    Raises `MLModelError` GENERIC for no stage, for stages that do not fit each other and for bad names.
    """

    def __init__(self, stages: Sequence[FrozenStage], names: Sequence[str] | None = None) -> None:
        if not stages:
            raise _bad("a pipeline needs a frozen stage before its last one")
        self.stages = tuple(stages)
        self.names = stage_names(len(stages) + 1, names)
        for at, (before, stage) in enumerate(itertools.pairwise(stages), 1):
            given = MLFeatureValue(multi_array=np.zeros(before.n_features, np.float32))
            problem = stage.input.problem(given)
            if problem:
                raise _bad(
                    f"stage {self.names[at]!r} cannot take what {self.names[at - 1]!r} gives: it is {problem}"
                )

    @property
    def input(self) -> MLFeatureDescription:
        """What the pipeline takes."""
        return self.stages[0].input

    @property
    def n_features(self) -> int:
        """How many features the last stage is given."""
        return self.stages[-1].n_features

    @property
    def last(self) -> str:
        """The name of the last stage, the only one that may learn."""
        return self.names[-1]

    @property
    def fingerprint(self) -> str:
        """Equal for two fronts exactly when their features may be compared."""
        return "+".join(stage.fingerprint for stage in self.stages)

    def row(self, value: MLFeatureValue) -> NDArray[np.float32]:
        """Features [n_features] of a value that `input` allows; raises `MLModelError` CUSTOM_MODEL."""
        row = self.stages[0].features(value)
        for stage in self.stages[1:]:
            row = stage.features(MLFeatureValue(multi_array=row))
        return row

    def own(self, given: Mapping[MLParameterKey, object]) -> dict[MLParameterKey, object]:
        """The parameters of the last stage, as it knows them. A key without the name of a stage means that one.

        Raises `MLModelError` PARAMETERS for a parameter of a frozen stage that is not in force already.
        """
        by_name = {self._meant(key): value for key, value in given.items()}
        by_stage = parameters_by_stage(by_name, self.names)
        for name, stage in zip(self.names, self.stages, strict=False):
            in_force = {one.key: one.default_value for one in stage.parameter_descriptions}
            for key, value in by_stage[name].items():
                if key not in in_force:
                    raise _refused(f"parameter {name}.{key} is unknown: the stage {name!r} is frozen")
                if value != in_force[key]:
                    raise _refused(f"parameter {name}.{key} can be set only when the model is loaded")
        return by_stage[self.last]

    def _meant(self, key: MLParameterKey) -> MLParameterKey:
        """A key without the name of a stage can mean the last one only."""
        first = (key.scope or "").partition(".")[0]
        return key if first in self.names else scoped(key, self.last)

    def descriptions(self, last: Sequence[MLParameterDescription]) -> tuple[MLParameterDescription, ...]:
        """The parameters of all stages as the pipeline describes them; `last` are those of the last stage."""
        parts = [
            scoped_descriptions(stage.parameter_descriptions, name)
            for name, stage in zip(self.names, self.stages, strict=False)
        ]
        return tuple(one for part in [*parts, scoped_descriptions(last, self.last)] for one in part)


def _bad(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.GENERIC, message)


def _refused(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.PARAMETERS, message)
