"""This is where half-written files are removed that a process left behind when it was killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from edge_agent.agent.home import Home
from edge_agent.store.atomic import TEMPORARY_PREFIX, remove_files, remove_tree

YOUNG_SECONDS = 60.0
"""A file in the drop folder may be of somebody whose processes are not seen here, such as another container."""


OLD_SECONDS = 12 * 3600.0
"""No backup takes as long; what is older beside one has been left."""


def remove_old_leftovers(folder: Path, clock: Callable[[], float] = time.time) -> None:
    """Remove what earlier backups left in the folder they were written to when they were killed: it may be anybody's.

    Only names with the number of a process that does not run, and of half a day ago. Raises `StoreError` when the disk
    refuses.
    """
    for path in folder.glob(TEMPORARY_PREFIX + "*-*"):
        with suppress(FileNotFoundError):
            if not _writer(path).isdecimal() or _is_written(path) or path.is_symlink():
                continue
            if clock() - path.lstat().st_mtime > OLD_SECONDS:
                remove_tree(path) if path.is_dir() else remove_files([path])


def remove_leftovers(home: Home, drop_folder: Path, clock: Callable[[], float] = time.time) -> None:
    """Remove what nobody writes any more in the state directory, among the refused files and in the drop folder.

    A file's name has the number of the process that wrote it: those of processes that run are left alone, and in the
    drop folder young ones, too. Raises `StoreError` when the disk refuses.
    """
    ours = [home.path, home.rejected_folder, *home.rejected_folder.glob("*/")]
    doomed = [path for folder in ours for path in _abandoned(folder)]
    for folder in (drop_folder, *drop_folder.glob("*/")):
        for path in _abandoned(folder):
            with suppress(FileNotFoundError):
                if clock() - path.lstat().st_mtime > YOUNG_SECONDS:
                    doomed.append(path)
    remove_files(doomed)


def _abandoned(folder: Path) -> Iterator[Path]:
    """Half-written files directly in a folder whose process has ended."""
    if folder.is_symlink():
        return
    for path in folder.glob(TEMPORARY_PREFIX + "*"):
        if path.is_file() and not path.is_symlink() and not _is_written(path):
            yield path


def _is_written(path: Path) -> bool:
    writer = _writer(path)
    return writer.isdecimal() and int(writer) != os.getpid() and Path("/proc", writer).exists()


def _writer(path: Path) -> str:
    """The number of the process, as far as the name has one."""
    return path.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0]
