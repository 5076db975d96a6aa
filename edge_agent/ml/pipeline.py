"""This is where frozen stages and a last one that learns are joined into one model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.front import Front, FrozenStage
from edge_agent.ml.heads.features import FeaturesHead
from edge_agent.ml.links import LinkedStage
from edge_agent.ml.model import MLModel, MLModelMetadata
from edge_agent.ml.package import package_path
from edge_agent.ml.raw import extractor_in
from edge_agent.ml.stages import stage_names

__all__ = ["extractor_model", "linked_model", "make_pipeline"]

FROZEN_PIPELINE = "it is a pipeline that was made not to be updated"


def extractor_model(card: Path | str) -> MLModel:
    """A model that is the extractor a card (JSON) describes: a picture in, an array of features out.

    Raises `MLModelError` IO where card or file are not as they should be.
    """
    raw = extractor_in(package_path(card))
    return MLModel(
        raw.head,
        front=raw.front,
        output_name=raw.output_name,
        not_updatable_because=raw.not_updatable_because,
        is_writable=True,
    )


def linked_model(file_name: str, search_path: str = "", *, relative_to: Path | str = ".") -> FrozenStage:
    """A stage that is an extractor elsewhere on disk; a pipeline with it weighs kilobytes.

    `file_name` is the directory of an extractor's package, or its card. `search_path` are the folders to look
    in, separated by colons. A relative one is meant from the folder of the written pipeline; until there is
    one, from `relative_to`. `$BUNDLE_MAIN` is the folder of the running program, `$BUNDLE_IDENTIFIER(name)`
    that of an installed Python package: what is saved in several places is best linked by one of these, or by
    an absolute folder.

    Raises `MLModelError`: IO, with the folders, when it is in none of them, PARAMETERS for a bad name or
    root.
    """
    return LinkedStage(file_name, search_path, folder=Path(relative_to))


def make_pipeline(
    stages: Sequence[MLModel | FrozenStage],
    *,
    names: Sequence[str] | None = None,
    is_updatable: bool = True,
    metadata: MLModelMetadata | None = None,
) -> MLModel:
    """A model of frozen stages and a last one, through which every sample goes in turn.

    The stages before the last are extractors (`extractor_model`, `linked_model`); the last one is a model
    that takes their features, and in an updatable pipeline it has to be updatable. Stages are called
    `model0`, `model1` ... unless `names` are given, and parameters are scoped to those.

    Raises `MLModelError`: GENERIC for stages that do not fit each other and bad names, UPDATE when a stage
    other than the last could learn, when the last one cannot in an updatable pipeline, and when it could in
    one that is not.
    """
    if isinstance(stages, str) or not isinstance(stages, Sequence) or len(stages) < 2:
        raise MLModelError(
            MLModelErrorCode.GENERIC,
            "a pipeline has at least two stages: an extractor, and a model that learns from its features",
        )
    called = stage_names(len(stages), names)
    frozen = [
        part for at, stage in enumerate(stages[:-1]) for part in _frozen(stage, f"stage {at}, {called[at]!r}")
    ]
    last = stages[-1]
    who = f"the last stage, {called[-1]!r}"
    if isinstance(last, LinkedStage):
        raise _not_updatable(f"{who}, is a link; a linked model can never be updated")
    if not isinstance(last, MLModel):
        raise MLModelError(MLModelErrorCode.GENERIC, f"{who}, is no model but {type(last).__name__}")
    if last.front is not None:
        what = "only extracts features" if isinstance(last.head, FeaturesHead) else "is a pipeline itself"
        raise MLModelError(
            MLModelErrorCode.GENERIC, f"{who}, {what}; the last stage is what learns from them"
        )
    if is_updatable and not last.is_updatable:
        raise _not_updatable(
            f"{who}, has to be updatable in an updatable pipeline: {last.not_updatable_because}"
        )
    if not is_updatable and last.is_updatable:
        raise _not_updatable(f"{who}, could be updated, but the pipeline is said not to be updatable")
    front = Front(frozen, called)
    return MLModel(
        last.head,
        front=front,
        metadata=metadata or last.metadata,
        parameters=last.parameters,
        is_writable=True,
        parameter_descriptions=last.learning_parameters,
        output_name=last.output_name,
        not_updatable_because="" if is_updatable else FROZEN_PIPELINE,
        label_type=last.label_type,
    )


def _frozen(stage: MLModel | FrozenStage, who: str) -> Sequence[FrozenStage]:
    if not isinstance(stage, MLModel):
        if not isinstance(stage, FrozenStage):
            raise MLModelError(
                MLModelErrorCode.GENERIC, f"{who}: {type(stage).__name__} is neither a model nor a link"
            )
        return [stage]
    if stage.is_updatable:
        raise _not_updatable(f"{who}: only the last stage of a pipeline can be updatable")
    if not isinstance(stage.head, FeaturesHead) or stage.front is None or len(stage.front.stages) != 1:
        raise MLModelError(
            MLModelErrorCode.GENERIC,
            f"{who}: gives {'labels' if stage.n_values is None else 'other values'}, not features",
        )
    return stage.front.stages


def _not_updatable(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.UPDATE, message)
