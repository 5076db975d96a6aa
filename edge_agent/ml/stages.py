"""This is where the stages of a pipeline have names, and where a parameter finds its stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey


def stage_names(count: int, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The names of `count` stages: those given, or `model0`, `model1` ...

    Raises `MLModelError` GENERIC for another number of names, for a name twice, and for one that is no text,
    is empty or has a dot in it (a dot ends a scope).
    """
    if names is None:
        return tuple(f"model{number}" for number in range(count))
    if isinstance(names, str) or len(names) != count:
        raise _bad(f"{count} stages need {count} names, got {names!r}")
    for at, name in enumerate(names):
        if not isinstance(name, str) or not name or "." in name:
            raise _bad(f"stage {at}: {name!r} cannot be a name")
        if name in names[:at]:
            raise _bad(f"stage {at}: the name {name!r} is taken by another stage")
    return tuple(names)


def parameters_by_stage(
    given: Mapping[MLParameterKey, object], names: Sequence[str]
) -> dict[str, dict[MLParameterKey, object]]:
    """What each stage is given, with keys as the stage itself knows them: `model1.epochs` is its `epochs`.

    Raises `MLModelError` PARAMETERS, naming the key, when its scope does not begin with the name of a stage.
    """
    sorted_out: dict[str, dict[MLParameterKey, object]] = {name: {} for name in names}
    for key, value in given.items():
        stage, _, inner = (key.scope or "").partition(".")
        if stage not in sorted_out:
            raise MLModelError(
                MLModelErrorCode.PARAMETERS,
                f"parameter {key}: it needs the scope of a stage ({', '.join(names)})",
            )
        sorted_out[stage][MLParameterKey(key.name, inner or None)] = value
    return sorted_out


def scoped_descriptions(
    descriptions: Iterable[MLParameterDescription], stage: str
) -> tuple[MLParameterDescription, ...]:
    """A stage's parameters as its pipeline describes them."""
    return tuple(replace(one, key=scoped(one.key, stage)) for one in descriptions)


def scoped(key: MLParameterKey, stage: str) -> MLParameterKey:
    """A key of a stage as its pipeline knows it: the name of the stage goes outside of other scopes."""
    return MLParameterKey(key.name, f"{stage}.{key.scope}" if key.scope else stage)


def only_links(given: Mapping[MLParameterKey, object]) -> dict[MLParameterKey, object]:
    """The parameters that say where linked models are."""
    names = {MLParameterKey.LINKED_MODEL_FILE_NAME.name, MLParameterKey.LINKED_MODEL_SEARCH_PATH.name}
    return {key: value for key, value in given.items() if key.name in names}


def _bad(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.GENERIC, message)
