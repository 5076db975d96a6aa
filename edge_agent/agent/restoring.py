"""This is where a backup becomes a state directory, all of it or nothing.

    taken out and held against its hashes ──► one rename ──► each part moved to its place

Before the rename nothing has changed and what was taken out is removed; after it everything is there, and whoever
opens the state directory next finishes what a crash interrupted.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from edge_agent import __version__
from edge_agent.agent.home import CONFIG_FILE, Home
from edge_agent.errors import DamagedError, DiskFullError, HomeError, NotFoundError, StoreError, UserError
from edge_agent.store.atomic import (
    TEMPORARY_PREFIX,
    move_directory,
    move_file,
    publish_directory,
    remove_file,
    remove_tree,
    translated,
    write_json,
)
from edge_agent.store.lock import ProcessLock
from edge_agent.store.registry import VersionRegistry
from edge_agent.store.samples import SampleStore

log = logging.getLogger(__name__)

_ASIDE = TEMPORARY_PREFIX + "restore"
_READY = TEMPORARY_PREFIX + "restored"
_PARTS = "parts.json"
_ROOM_BYTES = 16 << 20
"""Room that is left for what the agent writes next."""


@dataclass(frozen=True)
class RestoreReport:
    """What a state directory holds now; `version` is the one that answers."""

    samples: int
    version: int | None


class _Head(msgspec.Struct):
    format: int
    edge_agent: str


def restore(
    home: Home, source: Path, *, force: bool = False, extracted: Callable[[int], None] = lambda _count: None
) -> RestoreReport:
    """Make `home` what it was when `source` was made; `extracted` is called with 1 for each file.

    What waits in the drop folder and what was refused stays.  With `force` the samples, versions, extractors and
    the configuration that are there give way; the configuration only to one in the backup.  Raises `HomeError` when
    there is something and no `force`, `HomeLockedError` while an agent works there, `DamagedError` for a backup that
    is not what was written, `UserError` for a file that is none, `DiskFullError` or `StoreError`; nothing has changed
    then.
    """
    home.make()
    with ProcessLock(home.lock_path):
        finish_restore(home)
        there = [name for name in _owned(home) if os.path.lexists(home.path / name)]
        if there and not force:
            raise HomeError(
                f"{home.path} is not empty ({', '.join(there)}); with --force the backup takes its place"
            )
        aside = home.path / _ASIDE
        try:
            report = _take_out(home, source, aside, extracted)
            parts = sorted(path.name for path in aside.iterdir())
            write_json(aside / _PARTS, parts)
            publish_directory(aside, home.path / _READY)
        except BaseException:
            with suppress(StoreError):
                remove_tree(aside)
            raise
        finish_restore(home)
    return report


def finish_restore(home: Home) -> bool:
    """Go on with a restore that was interrupted, or clear it away; whether there was one to go on with.

    The caller holds the lock.  Raises `StoreError` when the disk refuses; it is tried again the next time.
    """
    remove_tree(home.path / _ASIDE)
    ready = home.path / _READY
    if not ready.is_dir():
        return False
    try:
        with translated(ready, "read what is to be restored"):
            parts = json.loads((ready / _PARTS).read_bytes())
    except StoreError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        parts = []  # everything was moved, and the list went first when the rest was removed
    else:
        for name in _owned(home):  # first the log of the old database, which must not meet the new one
            if name not in parts and name != CONFIG_FILE:
                _remove(home.path / name)
    for name in _owned(home):
        if name in parts and os.path.lexists(ready / name):
            _remove(home.path / name)
            (move_directory if (ready / name).is_dir() else move_file)(ready / name, home.path / name)
    remove_file(ready / _PARTS)
    remove_tree(ready)
    return True


def _owned(home: Home) -> list[str]:
    """What gives way to a backup, the configuration first: the next start reads it before anything else."""
    database = home.database_path.name
    return [
        CONFIG_FILE,
        home.choice_path.name,
        home.sums_path.name,
        f"{database}-wal",
        f"{database}-shm",
        database,
        home.extractors_folder.name,
        home.models_folder.name,
        home.archive_folder.name,
    ]


def _take_out(home: Home, source: Path, aside: Path, extracted: Callable[[int], None]) -> RestoreReport:
    """Take the backup out into `aside` and look whether it is one this program can work on."""
    from edge_agent.agent.backup import (
        HEAD,
    )  # what reads archives is not needed to see that none was left half done
    from edge_agent.store.tarball import unpack

    files = {CONFIG_FILE, home.choice_path.name, home.database_path.name}
    folders = {home.extractors_folder.name, home.models_folder.name, home.archive_folder.name}
    began = False

    def accept(name: str) -> bool:
        nonlocal began
        if not began:
            if name != HEAD:
                raise UserError(f"{source}: is not a backup that edge-agent has made")
            began = True
            return True
        top, _, below = name.partition("/")
        return top in folders if below else top in files

    def count(name: str) -> None:
        if name == HEAD:
            _check_head(source, aside / HEAD)
        extracted(1)

    with _opened(source) as file:
        state = os.fstat(file.fileno())
        with translated(home.path, "look for room"):
            room = os.statvfs(home.path)
        if room.f_bavail * room.f_frsize < state.st_size + _ROOM_BYTES:
            raise DiskFullError(
                f"{home.path}: {state.st_size >> 20} MB are to be restored and {room.f_bavail * room.f_frsize >> 20} MB"
                " are free; what is there stays until the backup has been taken out, so make room for both"
            )
        with translated(aside, "create the folder"):
            aside.mkdir(mode=0o700)
        try:
            with translated(source, "take the backup out"):
                unpack(file, state.st_size, aside, accept=accept, extracted=count)
        except DamagedError as error:
            if not began:
                raise UserError(f"{source}: is not a backup that edge-agent has made ({error})") from None
            raise DamagedError(f"{source}: the backup is damaged: {error}; nothing was restored") from None
    remove_file(aside / HEAD)
    if not (aside / home.database_path.name).exists():
        raise DamagedError(f"{source}: the backup is damaged: it has no database; nothing was restored")
    with SampleStore(aside / home.database_path.name, read_only=True) as store:  # refuses newer ones
        samples = store.count()
    version = VersionRegistry(aside / home.models_folder.name).current()
    return RestoreReport(samples, version.number if version else None)


def _opened(source: Path) -> BinaryIO:
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not hold anybody up
    except FileNotFoundError:
        raise NotFoundError(f"{source}: there is no such file") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{source}: is not a file")
    return os.fdopen(descriptor, "rb")


def _check_head(source: Path, path: Path) -> None:
    from edge_agent.agent.backup import FORMAT

    try:
        head = msgspec.json.decode(path.read_bytes(), type=_Head)
    except msgspec.MsgspecError:
        raise UserError(f"{source}: is not a backup that edge-agent has made") from None
    if head.format > FORMAT:
        raise StoreError(
            f"{source}: made by edge_agent {head.edge_agent} (format {head.format}, known is {FORMAT}); this is"
            f" {__version__}: update it"
        )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        remove_file(path)
