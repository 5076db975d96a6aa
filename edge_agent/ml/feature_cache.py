"""This is where a training session keeps the features of the files it has looked at, a block at a time."""

from __future__ import annotations

import io
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.records import decoded, encoded
from edge_agent.store.atomic import make_folder, remove_files, remove_tree, translated, write_file

log = logging.getLogger(__name__)

FOLDER = "features"
MOST_IN_MEMORY = 64 * 1024 * 1024
"""In bytes: features of more rows are read through a file without a name in the folder of the features."""
SMALL = 4 * 1024 * 1024
MOST_SMALL, MOST_SMALL_BYTES = 64, 16 * 1024 * 1024
"""So many blocks of less than `SMALL` bytes, or so many bytes in them, become one: opening ten thousand files
takes long."""


class FileKey(msgspec.Struct, frozen=True, order=True):
    """A file as it was when it was looked at; one that changed since has another key."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class LookedAt:
    """A file of training data after extraction."""

    key: FileKey
    rows: NDArray[np.float32]
    """[1 + copies, n_features]: as it is, then its augmented copies; [0, n_features] when it was refused."""
    width: int
    height: int
    digest: str
    error: str | None = None


class _Entry(msgspec.Struct, frozen=True):
    key: FileKey
    rows: int
    width: int
    height: int
    digest: str
    error: str | None


class FeatureCache:
    """The features below a session's folder. A block is complete or not there; none is ever changed.

    A block that is damaged is passed over, with a line in the log: its files have not been looked at.
    """

    def __init__(self, session: Path, n_features: int) -> None:
        self._folder = session / FOLDER
        self._n_features = n_features
        self._open()

    def _open(self) -> None:
        self._places: dict[FileKey, tuple[Path, int, _Entry]] = {}
        self._small: dict[Path, int] = {}
        self._last = 0
        for path in sorted(self._folder.glob("*.npz")):
            self._last = max(self._last, int(path.stem) if path.stem.isdecimal() else 0)
            if problem := self._take_in(path):
                log.warning("%s: damaged: %s; its files are looked at again", path, problem)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def entry(self, key: FileKey) -> _Entry:
        """Size, digest and error of a file that was looked at."""
        return self._places[key][2]

    def add(self, files: Sequence[LookedAt]) -> None:
        """Keep one more block; raises `StoreError` (`DiskFullError`) with the path when the disk refuses."""
        if not files:
            return
        entries = [
            _Entry(one.key, len(one.rows), one.width, one.height, one.digest, one.error) for one in files
        ]
        buffer = io.BytesIO()
        rows = np.concatenate([one.rows for one in files]).astype(np.float32)
        facts = np.frombuffer(encoded(entries), dtype=np.uint8)
        np.savez(buffer, rows=rows, files=facts)
        make_folder(self._folder)
        self._write(buffer.getvalue())
        if len(self._small) >= MOST_SMALL or sum(self._small.values()) >= MOST_SMALL_BYTES:
            self._join()

    def mend(self) -> None:
        """Read every block, and delete those that are damaged: their files have to be looked at again.

        Only for the one process that runs the session. Raises `StoreError` when the disk refuses.
        """
        damaged = []
        for path in sorted(self._folder.glob("*.npz")):
            problem = self._take_in(path) or _damage(path)
            if problem is not None:
                log.warning("%s: damaged: %s; it is removed, its files are looked at again", path, problem)
                damaged.append(path)
        if damaged:
            remove_files(damaged)
            self._open()

    def _write(self, block: bytes) -> None:
        self._last += 1
        path = self._folder / f"{self._last:08}.npz"
        write_file(path, block)
        self._take_in(path)

    def _join(self) -> None:
        """Make one block of the small ones. A crash in between leaves both, which say the same."""
        old, self._small = self._small, {}
        keys = [key for key, (path, _, _) in self._places.items() if path in old]
        self.add(self.all(keys))
        remove_files(old)

    def _take_in(self, path: Path) -> str | None:
        """Know what is in a block; what is wrong with it if that cannot be known."""
        try:
            with zipfile.ZipFile(path) as block:
                entries = decoded(_array(block, "files").tobytes(), list[_Entry])
                with block.open("rows.npy") as file:
                    shape = _shape(file)
        except _DAMAGE as error:
            return str(error) or type(error).__name__
        if shape != (sum(one.rows for one in entries), self._n_features):
            return f"its features are of shape {shape}"
        size = path.stat().st_size
        if size < SMALL:
            self._small[path] = size
        start = 0
        for one in entries:
            self._places[one.key] = path, start, one
            start += one.rows
        return None

    def rows(self, keys: Sequence[FileKey]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """All rows [n, D] of the given files, in their order, and which file [n] each row is of."""
        counts = [self._places[key][2].rows for key in keys]
        owners = np.repeat(np.arange(len(keys)), counts)
        X: NDArray[np.float32] = matrix(sum(counts), self._n_features, self._folder)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        by_block: dict[Path, list[int]] = {}
        for index, key in enumerate(keys):
            by_block.setdefault(self._places[key][0], []).append(index)
        for block, indices in by_block.items():
            try:
                with zipfile.ZipFile(block) as arrays:
                    kept = _array(arrays, "rows")
            except _DAMAGE as error:
                raise MLCreateError(
                    MLCreateErrorCode.IO, f"{block}: damaged: {error}; resume the session, it mends that"
                ) from error
            for index in indices:
                _, start, one = self._places[keys[index]]
                X[starts[index] : starts[index] + one.rows] = kept[start : start + one.rows]
        return X, owners

    def all(self, keys: Sequence[FileKey]) -> list[LookedAt]:
        """The files with their features, all in memory."""
        X, owners = self.rows(keys)
        starts = np.searchsorted(owners, np.arange(len(keys) + 1))
        found = []
        for index, key in enumerate(keys):
            one = self._places[key][2]
            rows = X[starts[index] : starts[index + 1]]
            found.append(LookedAt(key, rows, one.width, one.height, one.digest, one.error))
        return found

    def clear(self) -> None:
        """Forget everything."""
        remove_tree(self._folder)
        self._open()


def matrix(n: int, n_features: int, folder: Path) -> Any:
    """Room for features [n, D]: in memory, or in a file without a name in `folder` when they are many.

    Raises `StoreError` (`DiskFullError`) when there is no room for it.
    """
    shape = (n, n_features)
    n_bytes = n * n_features * 4
    if n_bytes <= MOST_IN_MEMORY:
        return np.empty(shape, np.float32)
    with translated(folder, "keep the features in one file"), tempfile.TemporaryFile(dir=folder) as file:
        # Without room the first byte that is written would kill the process.
        os.posix_fallocate(file.fileno(), 0, n_bytes)
        return np.memmap(file, np.float32, "r+", shape=shape)


_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, msgspec.DecodeError)


def _array(block: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array of a block; its sum is checked when all of it has been read."""
    with block.open(f"{name}.npy") as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        file.read()
        return array


def _shape(file: Any) -> tuple[int, ...]:
    """Of the array that a file holds, without its content."""
    np.lib.format.read_magic(file)
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    if kind != np.float32:
        raise ValueError(f"its features are {kind}")
    return tuple(shape)


def _damage(path: Path) -> str | None:
    """What is wrong with the bytes of a block."""
    try:
        with zipfile.ZipFile(path) as block:
            bad = block.testzip()
    except _DAMAGE as error:
        return str(error) or type(error).__name__
    return None if bad is None else f"{bad} is not what was written"
