"""This is where half-written files are removed that a process left behind when it was killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from edge_agent.agent.home import Home
from edge_agent.store.atomic import TEMPORARY_PREFIX, remove_files

YOUNG_SECONDS = 60.0
"""A file in the drop folder may be of somebody whose processes are not seen here, such as another container."""


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
        writer = path.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0]
        running = writer.isdecimal() and int(writer) != os.getpid() and Path("/proc", writer).exists()
        if path.is_file() and not path.is_symlink() and not running:
            yield path
