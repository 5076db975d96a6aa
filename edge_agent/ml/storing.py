"""This is where the frozen stages of a pipeline are laid down in its package and opened again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from edge_agent.errors import MLModelError
from edge_agent.ml.front import Front, FrozenStage
from edge_agent.ml.kinds import stage_opener
from edge_agent.ml.package import UNFIT, FrontEntry, StageEntry, damaged, file_sha256, stored_name
from edge_agent.ml.parameters import MLParameterKey


def stored_front(front: Front | None) -> tuple[FrontEntry | None, dict[str, bytes]]:
    """What a package says of the stages, and the files they need by name.

    Raises `MLModelError` IO for a file that is no longer there or no longer the same.
    """
    if front is None:
        return None, {}
    files: dict[str, bytes] = {}
    entries = []
    for stage in front.stages:
        own = stage.files()
        files.update(own)
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in own.items()}
        entries.append(StageEntry(kind=stage.kind, described=stage.describe(), files=sums))
    return FrontEntry(names=front.names, stages=tuple(entries)), files


def opened_front(
    entry: FrontEntry | None, folder: Path, parameters: Mapping[MLParameterKey, object]
) -> Front | None:
    """The stages that a package in `folder` tells of; what is scoped to one in `parameters` is set on it.

    Raises `MLModelError` with the path: IO for a file or a description that is missing or damaged,
    CUSTOM_MODEL for an unknown kind of stage, PARAMETERS for a value that a stage does not take.
    """
    if entry is None:
        return None
    if len(entry.names) != len(entry.stages) + 1:
        raise damaged(folder, f"{len(entry.stages)} stages before the last one, {len(entry.names)} names")
    stages = [
        _opened(
            name, one, folder, {MLParameterKey(k.name): v for k, v in parameters.items() if k.scope == name}
        )
        for name, one in zip(entry.names, entry.stages, strict=False)
    ]
    try:
        return Front(stages, entry.names)
    except MLModelError as error:
        raise damaged(folder, str(error)) from error


def _opened(
    name: str, entry: StageEntry, folder: Path, parameters: Mapping[MLParameterKey, object]
) -> FrozenStage:
    paths = {file: folder / stored_name(file, sha256) for file, sha256 in entry.files.items()}
    for file, path in paths.items():
        if file_sha256(path) != entry.files[file]:
            raise damaged(path, "its bytes are not the ones that were written")
    try:
        return stage_opener(entry.kind)(entry.described, paths, folder=folder, parameters=parameters)
    except MLModelError as error:
        raise MLModelError(error.code, f"{folder}: stage {name!r}: {error}") from error
    except UNFIT as error:
        raise damaged(folder, f"stage {name!r} cannot be opened: {error!r}") from error
