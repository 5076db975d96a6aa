"""This is where a version's manifest is written and where its files are held against it.

`manifest.json` stands beside the files of a version and holds the SHA-256 of each, and of itself: a changed,
missing or additional byte anywhere in the directory is found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.errors import DamagedError, StoreError
from edge_agent.store.atomic import translated, write_json

MANIFEST = "manifest.json"
FORMAT = 2
"""What is written; in 1, which is read as well, a version named its samples in `samples.json`, since then in
`samples.bin`."""

_OLDEST = 1

_SELF = "manifest_sha256"


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """What is known about a version before it is published; everything must be plain JSON."""

    parent: int | None
    labels: Sequence[str]
    n_features: int
    n_samples: int
    extractor_fingerprint: str
    extractor_name: str
    head: str
    agent_version: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `manifest.json` says; `files` maps each path below the version to its SHA-256."""

    format: int
    version: int
    parent: int | None
    created: float
    labels: tuple[str, ...]
    n_features: int
    n_samples: int
    extractor_fingerprint: str
    extractor_name: str
    head: str
    agent_version: str
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    files: dict[str, str]


@dataclass(frozen=True)
class Version:
    """A published classifier: `path` is its directory, `accuracy` that of its evaluation if there was one."""

    number: int
    parent: int | None
    created: float
    labels: tuple[str, ...]
    n_samples: int
    accuracy: float | None
    head: str
    extractor_fingerprint: str
    path: Path
    current: bool
    n_features: int
    extractor_name: str
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    agent_version: str


def write_manifest(folder: Path, number: int, facts: VersionFacts, created: float) -> None:
    """Describe every file below `folder`; raises `StoreError` for a link or a device among them."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": number,
        "parent": facts.parent,
        "created": created,
        "labels": list(facts.labels),
        "n_features": facts.n_features,
        "n_samples": facts.n_samples,
        "extractor_fingerprint": facts.extractor_fingerprint,
        "extractor_name": facts.extractor_name,
        "head": facts.head,
        "agent_version": facts.agent_version,
        "parameters": dict(facts.parameters),
        "metrics": dict(facts.metrics),
        "files": {name: _sha256(folder / name) for name in list_files(folder)},
    }
    content = json.loads(json.dumps(content, allow_nan=False))  # as a reader will see it: keys are text
    write_json(folder / MANIFEST, {**content, _SELF: _sha256_of(content)})


def read_manifest(folder: Path, number: int) -> Manifest:
    """The manifest of version `number`, held against its own hash.

    Raises `DamagedError` when it is missing or not what was written, `StoreError` when a newer edge_agent
    wrote it.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DamagedError(f"{path}: missing") from None
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:  # not JSON, or not even text
        raise DamagedError(f"{path}: not the bytes that were written") from None
    if not isinstance(content, dict) or content.pop(_SELF, None) != _sha256_of(content):
        raise DamagedError(f"{path}: not the bytes that were written")
    given = content.get("format")
    if type(given) is not int or not _OLDEST <= given <= FORMAT:
        raise StoreError(
            f"{path}: written by another edge_agent (format {given}, known is {FORMAT}); update edge_agent"
        )
    try:
        manifest = msgspec.convert(content, Manifest)
    except msgspec.ValidationError as error:
        raise DamagedError(f"{path}: {error}") from None
    if manifest.version != number:
        raise DamagedError(f"{path}: describes version {manifest.version}, not {number}")
    return manifest


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Read every file below `folder`; `DamagedError` lists those missing, too many and changed."""
    try:
        present = set(list_files(folder))
        problems = [f"{name} is missing" for name in sorted(manifest.files.keys() - present)]
        problems += [f"{name} does not belong there" for name in sorted(present - manifest.files.keys())]
        problems += [
            f"{name} is not what was written"
            for name in sorted(present & manifest.files.keys())
            if _sha256(folder / name) != manifest.files[name]
        ]
    except StoreError as error:
        problems = [str(error)]
    if problems:
        raise DamagedError(f"{folder}: {', '.join(problems)}")


def list_files(folder: Path) -> list[str]:
    """Relative paths of all files below `folder` but its manifest, sorted; `StoreError` for a link."""
    names: list[str] = []
    with translated(folder, "list the directory"):
        pending = [folder]
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        names.append(Path(entry.path).relative_to(folder).as_posix())
                    else:
                        raise StoreError(f"{entry.path}: a version holds files and folders only")
    return sorted(set(names) - {MANIFEST})


def version_of(manifest: Manifest, path: Path, *, current: bool) -> Version:
    """The `Version` a manifest found at `path` describes."""
    accuracy = manifest.metrics.get("accuracy")
    return Version(
        number=manifest.version,
        parent=manifest.parent,
        created=manifest.created,
        labels=manifest.labels,
        n_samples=manifest.n_samples,
        accuracy=float(accuracy) if isinstance(accuracy, int | float) else None,
        head=manifest.head,
        extractor_fingerprint=manifest.extractor_fingerprint,
        path=path,
        current=current,
        n_features=manifest.n_features,
        extractor_name=manifest.extractor_name,
        parameters=manifest.parameters,
        metrics=manifest.metrics,
        agent_version=manifest.agent_version,
    )


def _sha256(path: Path) -> str:
    with translated(path, "read the file"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
