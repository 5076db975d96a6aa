"""This is where copies of files are put into the drop folder, each whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge_agent.agent.labels import clean_label
from edge_agent.agent.listing import is_ignored
from edge_agent.errors import LabelError, UserError
from edge_agent.store.atomic import copy_file, make_folder, translated


def deliver(drop_folder: Path, label: str, files: Iterable[Path]) -> list[Path]:
    """Put copies of `files` into the folder of `label`; the paths they got, in order.

    No file is overwritten: a name that is taken gets a number. Raises `LabelError`, `UserError` for a source
    that cannot be read (nothing was copied then), `DiskFullError` or `StoreError`.
    """
    label = clean_label(label)
    sources = list(files)
    for source in sources:
        _open(source).close()
    make_folder(drop_folder)
    with translated(drop_folder, "look at the drop folder"):
        state = drop_folder.stat()
        mode = stat.S_IMODE(state.st_mode)
        with _as_owner(state):
            folder = _label_folder(drop_folder, label, mode)
    placed: list[Path] = []
    for source in sources:
        # A private drop folder gets private files; one that is shared with a group shares them, because
        # the agent of another user could not read what was added.
        with _open(source) as file, _as_owner(state):
            placed.append(copy_file(file, folder / _visible(source.name), 0o600 | (mode & 0o044)))
    return placed


@contextmanager
def _as_owner(state: os.stat_result) -> Iterator[None]:
    """Write as the owner of the drop folder, for root: a service could not read what is root's, or take it away."""
    if os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    os.setegid(state.st_gid)
    os.seteuid(state.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def _open(source: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(source.stat().st_mode):
            raise UserError(f"{source}: not a file; name picture files")
        return source.open("rb")
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None


def _label_folder(drop_folder: Path, label: str, mode: int) -> Path:
    """The folder of `label`, which may be there under another spelling of the same name."""
    for path in drop_folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            try:
                if clean_label(path.name) == label:
                    return path
            except LabelError:
                continue
    folder = drop_folder / label
    if folder.is_symlink() or folder.exists():
        raise UserError(f"{folder}: not a folder; remove it, or choose another label")
    make_folder(folder, mode)
    return folder


def _visible(name: str) -> str:
    """A name that the agent will not take for a hidden or half-written file."""
    return f"added-{name.lstrip('.~$')}.picture" if is_ignored(name) else name
