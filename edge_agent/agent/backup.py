"""This is where a state directory is written into one file, while the agent goes on working on it.

Nothing is asked of the agent and nothing is held back.  Published versions never change, the database gives one
moment's view of itself, and a picture is what its digest says or it is not taken.  What was forgotten before the
backup was finished must not be in it: it is looked for at the end, and the backup is made once more then.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from edge_agent import __version__
from edge_agent.agent.archive import Archive
from edge_agent.agent.forgetting import NOTE
from edge_agent.agent.home import CONFIG_FILE, Home
from edge_agent.agent.leftovers import remove_old_leftovers
from edge_agent.errors import DamagedError, NotFoundError, StoreError
from edge_agent.store import rows
from edge_agent.store.atomic import TEMPORARY_PREFIX, replacing_file, translated
from edge_agent.store.manifest import MANIFEST, list_files
from edge_agent.store.registry import VersionRegistry
from edge_agent.store.samples import Sample, SampleStore
from edge_agent.store.tarball import Packer

FORMAT = 1
HEAD = "backup.json"
"""The first file in a backup: what it is."""

ATTEMPTS = 3
NAMED = 20
"""So many pictures that could not be read are named."""

_CHUNK = 500


@dataclass
class BackupReport:
    """What is in a backup; `left_out` counts what could not be read any more, and names the first of it."""

    samples: int = 0
    pictures: int = 0
    versions: list[int] = field(default_factory=list)
    size_bytes: int = 0
    left_out: int = 0
    names: list[str] = field(default_factory=list)

    def leave_out(self, name: str) -> None:
        """Count one more."""
        self.left_out += 1
        self.names = [*self.names, name][:NAMED]


class _ChangedError(Exception):
    """Something was forgotten or pruned while it was read."""


def back_up(
    home: Home,
    target: Path,
    config_path: Path | None = None,
    packed: Callable[[int], None] = lambda _count: None,
) -> BackupReport:
    """Write what `home` holds into `target`, which is replaced in one step once the backup is whole.

    `packed` is called with 1 for each sample.  Raises `NotFoundError` where no agent has worked yet, `StoreError` when
    the disk refuses or too much is forgotten meanwhile, `DamagedError` for a database that does not hold together.
    """
    if not home.database_path.exists():
        raise NotFoundError(f"{home.path}: there is nothing to back up; no agent has worked there yet")
    remove_old_leftovers(target.parent)
    for _ in range(ATTEMPTS):
        try:
            with replacing_file(target) as file:
                report = _write(home, file, target.parent, config_path, packed)
                report.size_bytes = file.tell()
        except (_ChangedError, EOFError):
            continue
        return report
    raise StoreError(f"{target}: things are being forgotten while the backup is made; try again later")


def _write(
    home: Home, file: BinaryIO, aside: Path, config_path: Path | None, packed: Callable[[int], None]
) -> BackupReport:
    report = BackupReport()
    with Packer(file) as packer:
        _add_bytes(packer, HEAD, json.dumps({"format": FORMAT, "edge_agent": __version__}).encode() + b"\n")
        _add_settings(packer, home, config_path)
        # Before the samples: a version must not have learned from one that is not there.
        _add_versions(packer, home, report)
        with ExitStack() as closing:
            folder = closing.enter_context(
                tempfile.TemporaryDirectory(prefix=f"{TEMPORARY_PREFIX}{os.getpid()}-", dir=aside)
            )
            copy = Path(folder, home.database_path.name)
            live = closing.enter_context(SampleStore(home.database_path, read_only=True))
            live.database.copy_to(copy)
            store = closing.enter_context(SampleStore(copy, read_only=True))
            with copy.open("rb") as database:
                packer.add(copy.name, database, copy.stat().st_size)
            archive = Archive(home)
            for sample in _walk(store):
                report.samples += 1
                _add_picture(packer, archive, live, sample, report)
                packed(1)
            _nothing_is_gone(store, live)
        if not set(report.versions) <= set(VersionRegistry(home.models_folder).numbers()):
            raise _ChangedError
    return report


def _add_settings(packer: Packer, home: Home, config_path: Path | None) -> None:
    """The configuration that is read, wherever it lies, and the extractors that were added."""
    for name, path in ((CONFIG_FILE, config_path), (home.choice_path.name, home.choice_path)):
        if path is not None and path.exists():
            with translated(path, "read the file"):
                _add_bytes(packer, name, path.read_bytes())
    if home.extractors_folder.is_dir():
        for below in list_files(home.extractors_folder):
            if TEMPORARY_PREFIX not in below:
                _add_file(packer, home.path, f"{home.extractors_folder.name}/{below}")


def _add_versions(packer: Packer, home: Home, report: BackupReport) -> None:
    """Every version that is what was published, and which of them answers."""
    registry = VersionRegistry(home.models_folder)
    pointed = registry.pointed()
    for number in registry.numbers():
        try:
            manifest = registry.verify(number)
        except NotFoundError:
            raise _ChangedError from None
        except DamagedError:
            if number not in VersionRegistry(home.models_folder).numbers():
                raise _ChangedError from None
            report.leave_out(f"version {number}")
            continue
        folder = f"{home.models_folder.name}/versions/{number:06d}"
        for name in sorted([*manifest.files, MANIFEST]):
            _add_file(packer, home.path, f"{folder}/{name}")
        report.versions.append(number)
    if pointed is not None:
        _add_bytes(packer, f"{home.models_folder.name}/current", f"{pointed:06d}\n".encode())
    highest = home.models_folder / "highest"
    if highest.exists():
        _add_bytes(packer, f"{home.models_folder.name}/highest", highest.read_bytes())


def _add_picture(
    packer: Packer, archive: Archive, live: SampleStore, sample: Sample, report: BackupReport
) -> None:
    """A picture under the place its row says, wherever it lies just now; not when it is another one."""
    if not sample.stored_path:
        return
    path = archive.find(sample)
    file = path and _true_picture(path, sample.digest)
    if file:
        with file:
            if packer.add(sample.stored_path, file, os.fstat(file.fileno()).st_size) != sample.digest:
                raise _ChangedError
        report.pictures += 1
    elif next(_rows(live, sample.sequence - 1, 1), None) == sample:
        report.leave_out(sample.stored_path)
    else:
        raise _ChangedError


def _true_picture(path: Path, digest: str) -> io.BufferedReader | None:
    """The file, open at its beginning, when it is what its digest says; None for another, or one that is gone."""
    with ExitStack() as closing:
        try:
            file = closing.enter_context(_opened(path))
            found = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
        except OSError:  # it went away between the look and the opening, or the disk cannot read it
            return None
        if found == digest:
            closing.pop_all()
            return file
    return None


def _nothing_is_gone(store: SampleStore, live: SampleStore) -> None:
    """Raise `_ChangedError` when a sample of the copy was forgotten meanwhile; both are read side by side."""
    if store.meta(NOTE) != live.meta(NOTE):  # what is to be forgotten may have lost its picture only
        raise _ChangedError
    if store.revision == live.revision:
        return
    there = _walk(live)
    for sample in _walk(store):
        for other in there:
            if other.sequence >= sample.sequence:
                break
        else:
            raise _ChangedError
        if other.digest != sample.digest:
            raise _ChangedError


def _walk(store: SampleStore) -> Iterator[Sample]:
    """Every sample in the order of arrival, read in short turns."""
    last = -1
    while True:
        chunk = list(_rows(store, last, _CHUNK))
        yield from chunk
        if len(chunk) < _CHUNK:
            return
        last = chunk[-1].sequence


def _rows(store: SampleStore, after: int, limit: int) -> Iterator[Sample]:
    with store.database.reading() as connection:
        found = connection.execute(
            rows.SELECT + "WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit)
        ).fetchall()
    yield from map(rows.read_sample, found)


def _add_file(packer: Packer, folder: Path, name: str) -> None:
    path = folder / name
    try:
        with _opened(path) as file:
            packer.add(name, file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise _ChangedError from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error


def _add_bytes(packer: Packer, name: str, data: bytes) -> None:
    packer.add(name, io.BytesIO(data), len(data))


def _opened(path: Path) -> io.BufferedReader:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
