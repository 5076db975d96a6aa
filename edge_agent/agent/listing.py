"""This is where the drop folder is read: which files lie in it, and how one of them is opened safely.

Everything is opened relative to a descriptor of its folder and without following links, so that nobody who
may write into the drop folder can make the agent read anything else.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_IGNORED = re.compile(
    "|".join(
        fnmatch.translate(pattern)
        for pattern in (
            ".*",  # hidden; half-written files of rsync, Syncthing, GNOME, macOS and our own `add`
            "*~",
            "~$*",  # lock files of office programs
            "*.tmp",
            "*.part",
            "*.partial",
            "*.filepart",
            "*.crdownload",
            "*.download",
            "thumbs.db",
            "desktop.ini",
        )
    ),
    re.IGNORECASE,
)


class Signature(NamedTuple):
    """What changes when a file is written to or exchanged."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, state: os.stat_result) -> Signature:
        """The signature of a file from its `stat`."""
        return cls(state.st_ino, state.st_size, state.st_mtime_ns)


@dataclass
class FolderListing:
    """One label folder, or the drop folder itself under the name "": its files, and what is no file.

    With `error` nothing is known about the files.
    """

    folder: str
    files: list[tuple[str, Signature]] = field(default_factory=list)
    odd: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""


def is_ignored(name: str) -> bool:
    """Whether a name belongs to a hidden, temporary or half-written file."""
    return _IGNORED.match(name) is not None


def list_drop_folder(root: Path) -> Iterator[FolderListing]:
    """The files directly in `root`, then those of each label folder; nothing deeper is looked at.

    Raises `OSError` when `root` itself cannot be read. Files with ignored names are not even looked at.
    """
    with _directory(root) as descriptor:
        top, folders = _list(descriptor, "")
        yield top
        for folder in folders:
            try:
                with _directory(folder, within=descriptor) as inner:
                    listing, deeper = _list(inner, folder)
            except FileNotFoundError:  # gone since the drop folder was read
                continue
            except OSError as error:
                yield FolderListing(folder, error=f"the folder cannot be read: {error.strerror}")
                continue
            listing.odd += [(name, "a folder in a label folder is not looked into") for name in deeper]
            yield listing


def marks(root: Path) -> dict[str, tuple[int, ...]]:
    """What changes when a name appears in `root` (under "") or in a label folder, or vanishes from it.

    Raises `OSError` when `root` cannot be read.
    """
    found: dict[str, tuple[int, ...]] = {"": _mark(root.stat())}
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not is_ignored(entry.name):
                try:
                    found[entry.name] = _mark(entry.stat(follow_symlinks=False))
                except FileNotFoundError:
                    continue
                except OSError:  # as below; its files are looked at all the same
                    found[entry.name] = ()
    return found


def open_file(root: Path, folder: str, name: str) -> int:
    """A descriptor for reading `root/folder/name`; never waits for the writer of a pipe. Raises `OSError`."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with _directory(root) as outer:
        if not folder:
            return os.open(name, flags, dir_fd=outer)
        with _directory(folder, within=outer) as inner:
            return os.open(name, flags, dir_fd=inner)


@contextlib.contextmanager
def _directory(path: Path | str, *, within: int | None = None) -> Iterator[int]:
    """A descriptor of a directory; the drop folder itself may be a link, a label folder may not."""
    follow = 0 if within is None else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | follow, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _list(descriptor: int, folder: str) -> tuple[FolderListing, list[str]]:
    """One folder, and the names of the folders in it."""
    listing = FolderListing(folder)
    folders: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if is_ignored(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
                continue
            try:
                state = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # gone since the folder was read
                continue
            except OSError as error:
                # A date after 2038 where seconds have 32 bits: it must not hide the other files of its folder.
                why = f"its size and date cannot be read: {error.strerror}"
                if error.errno == errno.EOVERFLOW:
                    why = "its date or size is too large for this 32-bit system; `touch` gives it a new date"
                listing.odd.append((entry.name, why))
                continue
            if stat.S_ISREG(state.st_mode):
                listing.files.append((entry.name, Signature.of(state)))
            else:
                kind = "a link" if stat.S_ISLNK(state.st_mode) else "not a regular file"
                listing.odd.append((entry.name, f"{kind}; only regular files are read"))
    return listing, folders


def _mark(state: os.stat_result) -> tuple[int, ...]:
    return (state.st_dev, state.st_ino, state.st_mtime_ns)
