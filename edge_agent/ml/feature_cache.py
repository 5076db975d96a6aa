"""This is where a training session keeps the features of the files it has looked at, a block at a time."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.store.atomic import make_folder, remove_tree, write_file

FOLDER = "features"
MOST_IN_MEMORY = 64 * 1024 * 1024
"""In bytes: features of more rows are read through a file without a name among the temporary ones."""


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
    """The features below a session's folder. A block is complete or not there; none is ever changed."""

    def __init__(self, session: Path, n_features: int) -> None:
        self._folder = session / FOLDER
        self._n_features = n_features
        self._places: dict[FileKey, tuple[int, int, _Entry]] = {}
        self._blocks: list[Path] = []
        for path in sorted(self._folder.glob("*.npz")):
            self._take_in(path)

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
        facts = np.frombuffer(msgspec.json.encode(entries), dtype=np.uint8)
        np.savez(buffer, rows=rows, files=facts)
        make_folder(self._folder)
        number = int(self._blocks[-1].stem) + 1 if self._blocks else 1
        path = self._folder / f"{number:08}.npz"
        write_file(path, buffer.getvalue())
        self._take_in(path)

    def _take_in(self, path: Path) -> None:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as block:
                entries = msgspec.json.decode(block["files"].tobytes(), type=list[_Entry])
                shape = block["rows"].shape
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.DecodeError) as error:
            raise _damaged(path, str(error)) from error
        if shape != (sum(one.rows for one in entries), self._n_features):
            raise _damaged(path, f"its features are of shape {shape}")
        at = len(self._blocks)
        self._blocks.append(path)
        start = 0
        for one in entries:
            self._places[one.key] = at, start, one
            start += one.rows

    def rows(self, keys: Sequence[FileKey]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """All rows [n, D] of the given files, in their order, and which file [n] each row is of."""
        counts = [self._places[key][2].rows for key in keys]
        owners = np.repeat(np.arange(len(keys)), counts)
        X: NDArray[np.float32] = matrix(sum(counts), self._n_features)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        by_block: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            by_block.setdefault(self._places[key][0], []).append(index)
        for block, indices in by_block.items():
            with np.load(self._blocks[block], allow_pickle=False) as arrays:
                kept = arrays["rows"]
            for index in indices:
                _, start, one = self._places[keys[index]]
                X[starts[index] : starts[index] + one.rows] = kept[start : start + one.rows]
        return X, owners

    def all(self, keys: Sequence[FileKey]) -> list[LookedAt]:
        """The files with their features, a block's worth of memory at a time is not promised."""
        X, owners = self.rows(keys)
        found = []
        for index, key in enumerate(keys):
            one = self._places[key][2]
            found.append(LookedAt(key, X[owners == index], one.width, one.height, one.digest, one.error))
        return found

    def clear(self) -> None:
        """Forget everything."""
        remove_tree(self._folder)
        self._places.clear()
        self._blocks.clear()


def matrix(n: int, n_features: int) -> Any:
    """Room for features [n, D]: in memory, or in a file without a name when they are many."""
    shape = (n, n_features)
    if n * n_features * 4 <= MOST_IN_MEMORY:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def _damaged(path: Path, problem: str) -> MLCreateError:
    return MLCreateError(
        MLCreateErrorCode.IO, f"{path}: damaged: {problem}; remove the file, it will be made again"
    )
