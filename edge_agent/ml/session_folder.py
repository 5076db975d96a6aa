"""This is where a training session writes down what it is about, so that it can be taken up from its folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.feature_cache import FileKey
from edge_agent.ml.picture_labels import label_problem
from edge_agent.ml.records import decoded, encoded
from edge_agent.store.atomic import write_file

FILE = "session.json"
FORMAT = 1
YEAR_9999 = 253_370_764_800.0
"""In seconds since 1970: the last year that a calendar here knows."""

TRAINING, VALIDATION, GIVEN = "training", "validation", "given"
"""The parts of files: to learn from, held out from those to learn from, given for validation only."""


class DataFile(msgspec.Struct, frozen=True):
    """A file of the session's data, as it was when the session began."""

    key: FileKey
    label: str
    role: str
    """TRAINING, VALIDATION or GIVEN."""


class SessionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `session.json` says."""

    format: int
    date: float
    parameters: dict[str, Any]
    fingerprint: str
    """Of the extractor; features of another one cannot be compared."""
    n_features: int
    files: list[DataFile]
    """In the order in which they are looked at and learned."""


@dataclass(frozen=True)
class DataChange:
    """How files differ from those of a session."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        parts = []
        for what, names in (("added", self.added), ("removed", self.removed), ("changed", self.changed)):
            if names:
                parts.append(f"{len(names)} {what} (first {names[0]})")
        return ", ".join(parts)


def write_facts(folder: Path, facts: SessionFacts) -> None:
    """Replace `session.json` in one step; raises `StoreError` (`DiskFullError`) when the disk refuses."""
    write_file(folder / FILE, encoded(facts))


def read_facts(folder: Path) -> SessionFacts:
    """What a session wrote down; raises `MLCreateError` IO when there is none or it cannot be read."""
    path = folder / FILE
    try:
        facts = decoded(path.read_bytes(), SessionFacts)
    except FileNotFoundError:
        raise _unreadable(f"{folder}: there is no training session in this folder") from None
    except OSError as error:
        raise _unreadable(f"{path}: cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise damaged(path, str(error)) from error
    if facts.format != FORMAT:
        age = "new" if facts.format > FORMAT else "old"
        raise _unreadable(f"{path}: format {facts.format} is too {age} for this edge_agent")
    if problem := _problem(facts):
        raise damaged(path, problem)
    return facts


def _problem(facts: SessionFacts) -> str | None:
    """What a session never wrote down: the folder may come from elsewhere, and labels go to every screen."""
    if not 0.0 <= facts.date < YEAR_9999:
        return f"date is no time: {facts.date!r}"
    if facts.n_features < 0:
        return f"n_features is 0 or above, not {facts.n_features}"
    paths: set[tuple[str, bool]] = set()
    for one in facts.files:
        path = one.key.path
        if not path.startswith("/") or "\0" in path or (path, one.role == GIVEN) in paths:
            return f"files: {path!a} is not the whole path of a file, once"
        if one.role not in (TRAINING, VALIDATION, GIVEN):
            return f"files: {path!a} has the role {one.role!a}"
        if why := label_problem(one.label):
            return f"files: {one.label!a} cannot be a label: {why}"
        paths.add((path, one.role == GIVEN))
    return None


def damaged(path: Path, problem: str) -> MLCreateError:
    """The error for a `session.json` that does not say what it should."""
    return _unreadable(f"{path}: damaged: {problem}; remove its folder, or begin a session in another one")


def listed(images: Mapping[str, Iterable[Path]]) -> list[tuple[FileKey, str]]:
    """Every file with its label and what tells whether it changed, by label and path.

    Raises `MLCreateError` IO for a file that is not there.
    """
    return [(file_key(path), label) for label in sorted(images) for path in sorted(images[label])]


def file_key(path: Path) -> FileKey:
    """A file as it is now; raises `MLCreateError` IO when it is not there."""
    try:
        facts = path.stat()
    except OSError as error:
        raise _unreadable(f"{path}: cannot be read: {error.strerror or error}") from error
    return FileKey(str(path.absolute()), facts.st_size, facts.st_mtime_ns)


def change(known: Iterable[DataFile], now: Iterable[tuple[FileKey, str]]) -> DataChange:
    """How the files now differ from those known; one that moved to another label changed."""
    before = {one.key.path: (one.key, one.label) for one in known}
    after = {key.path: (key, label) for key, label in now}
    return DataChange(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(before.keys() - after.keys())),
        tuple(sorted(path for path in before.keys() & after.keys() if before[path] != after[path])),
    )


def change_on_disk(known: Iterable[DataFile]) -> DataChange:
    """How the known files differ from what is on disk now; new files are not looked for."""
    removed, changed = [], []
    for one in known:
        try:
            now = file_key(Path(one.key.path))
        except MLCreateError:
            removed.append(one.key.path)
            continue
        if now != one.key:
            changed.append(one.key.path)
    return DataChange((), tuple(removed), tuple(changed))


def _unreadable(message: str) -> MLCreateError:
    return MLCreateError(MLCreateErrorCode.IO, message)
