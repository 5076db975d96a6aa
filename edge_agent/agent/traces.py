"""This is where the state directory is searched, byte by byte, for what should have been forgotten.

It reads files and asks nobody: neither the agent nor the database is trusted about what is left.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.archive import DIGEST_PART
from edge_agent.agent.home import CONFIG_FILE, SUMS_FILE
from edge_agent.errors import StoreError
from edge_agent.ml.summed import content_marks
from edge_agent.store.quantised import decode_features
from edge_agent.store.sums_file import marks_in
from edge_agent.vision.picture_metadata import picture_digest

DIGEST_LETTERS = 64
_CHUNK_BYTES = 1 << 20
_KEY_BYTES = 8
_PIECE_BYTES = 24
"""Of features: so much of a row lies together wherever the database breaks it over two pages."""
_MOST_PIECES = 4
_FEWEST_VALUES = 10
"""A piece with fewer different bytes, zeros for instance, says nothing about a picture."""


@dataclass(frozen=True)
class Trace:
    """What a sample is recognised by: its digest, its file name, its features as they were stored."""

    digest: str
    name: str = ""
    features: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, digest: str, name: str, features: Sequence[str]) -> Trace:
        """From what an agent answers; features are hexadecimal."""
        return cls(digest, name, tuple(map(bytes.fromhex, features)))


@dataclass
class Found:
    """What was searched, and every place where something was left."""

    sought: dict[str, int]
    files: int = 0
    size_bytes: int = 0
    places: dict[tuple[str, str], None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """`gone` is true when nothing was found."""
        return {
            "gone": not self.places,
            "searched": {"files": self.files, "bytes": self.size_bytes, "for": self.sought},
            "found": [{"path": path, "what": what} for path, what in self.places],
        }


def search(home: Path, drop_folder: Path, traces: Sequence[Trace], label: str | None) -> Found:
    """Read every file below `home`, and below the drop folder, for the traces and the label.

    The label is not looked for in the drop folder and the configuration, which are their owner's, nor inside
    pictures. What cannot be read
    counts as found, because nobody knows.
    """
    needles = list(_needles(traces))
    index = _Index([needle for needle, _ in needles])
    whole = {trace.digest for trace in traces}
    parts = {digest[:DIGEST_PART] for digest in whole}
    words = _label_patterns(label) if label else []
    found = Found(
        {
            "digest": len(whole),
            "file name": len({trace.name for trace in traces if trace.name}),
            "feature row": sum(len(trace.features) for trace in traces),
            "label": 1 if label else 0,
        }
    )
    drop = drop_folder.absolute()
    for path in _files([home.absolute(), drop], found):
        here = str(path.relative_to(home.absolute())) if home.absolute() in path.parents else str(path)
        dropped = drop in path.parents
        if any(part in path.name for part in parts):
            found.places[here, "the digest, in its name"] = None
        if label and not dropped and label in path.relative_to(home.absolute()).parts[:-1]:
            found.places[here, "the label, as its folder"] = None
        picture = dropped or (home.absolute() / "archive") in path.parents
        owners = path == home.absolute() / CONFIG_FILE
        try:
            sum_, hits = _read(path, index, [] if picture or owners else words, found)
        except OSError as error:
            found.places[here, f"cannot be read: {error.strerror}"] = None
            continue
        if sum_ in whole or _picture(path) in whole:
            found.places[here, "the picture"] = None
        if path.name == SUMS_FILE and path.parent == home.absolute() and not _without(path, traces):
            found.places[here, "the features, among its sums"] = None
        for hit in sorted(hits):
            found.places[here, needles[hit][1] if hit >= 0 else "the label"] = None
    return found


def _without(path: Path, traces: Sequence[Trace]) -> bool:
    """Whether a file of sums says that none of the samples is among those it sums up."""
    gone = {
        mark
        for trace in traces
        for row in trace.features
        for mark in content_marks(decode_features(row)[None])
    }
    try:
        return not gone & marks_in(path)
    except StoreError:
        return False


def names_label(paths: Iterable[Path], label: str) -> bool:
    """Whether any of these files, as far as they are there, names a label where `search` would find it."""
    words, nothing = _label_patterns(label), _Index([])
    for path in paths:
        with suppress(OSError):
            if _read(path, nothing, words, Found({}))[1]:
                return True
    return False


def _files(roots: Sequence[Path], found: Found) -> Iterator[Path]:
    """Every regular file below these folders, once."""
    seen: set[tuple[int, int]] = set()

    def closed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            found.places[str(error.filename), f"cannot be read: {error.strerror}"] = None

    for root in roots:
        for folder, _, names in os.walk(root, onerror=closed):
            for name in sorted(names):
                path = Path(folder, name)
                try:
                    state = path.lstat()
                except FileNotFoundError:
                    continue  # an agent is at work
                if stat.S_ISREG(state.st_mode) and (state.st_dev, state.st_ino) not in seen:
                    seen.add((state.st_dev, state.st_ino))
                    yield path


def _read(
    path: Path, index: _Index, words: Sequence[re.Pattern[bytes]], found: Found
) -> tuple[str, set[int]]:
    """The SHA-256 of a file, and the numbers of the needles in it; -1 is the label."""
    hits: set[int] = set()
    digest = hashlib.sha256()
    tail = b""
    found.files += 1
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            found.size_bytes += len(chunk)
            data = tail + chunk
            hits |= index.hits(data)
            if any(pattern.search(data) for pattern in words):
                hits.add(-1)
            tail = data[-index.longest :]
    return digest.hexdigest(), hits


def _picture(path: Path) -> str:
    """The digest of a picture whose file says more than it said when it was learned from; empty when unreadable."""
    with suppress(OSError), os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return picture_digest(file)
    return ""


def _needles(traces: Sequence[Trace]) -> Iterator[tuple[bytes, str]]:
    for trace in traces:
        yield trace.digest.encode(), "the digest"
        yield trace.digest.upper().encode(), "the digest"
        yield bytes.fromhex(trace.digest), "the digest, as bytes"
        if trace.name:
            yield os.fsencode(trace.name), "the file name"
        for row in trace.features:
            for piece in _pieces(row):
                yield piece, "features as they are stored"
            for piece in _pieces(decode_features(row).tobytes()):
                yield piece, "features as numbers"


def _pieces(row: bytes) -> list[bytes]:
    """Parts of a row that hardly anything else has; the richest ones."""
    parts = [row[i : i + _PIECE_BYTES] for i in range(0, max(1, len(row) - _PIECE_BYTES + 1), _PIECE_BYTES)]
    telling = [part for part in parts if len(set(part)) >= _FEWEST_VALUES]
    return sorted(telling, key=lambda part: -len(set(part)))[:_MOST_PIECES]


def _label_patterns(label: str) -> list[re.Pattern[bytes]]:
    """How a label is written: in JSON, in a path, as a word of a sentence, and before a time in a row."""
    word = re.escape(label.encode())
    quoted = b"|".join(
        re.escape(json.dumps(label, ensure_ascii=plain).encode()[1:-1]) for plain in (False, True)
    )
    patterns = [
        rb'"(?:' + quoted + rb')"(?!\s*:\s*["\[{n])',
        rb"archive/" + word + rb"/",
        word + rb"\x41[\xc8-\xef]",  # the first two bytes of any time from 1995 on, as SQLite stores it
    ]
    if len(label.encode()) >= 3:  # shorter words are everywhere
        patterns.append(rb"[ '/]" + word + rb"(?![0-9A-Za-z_-])")
    return [re.compile(pattern) for pattern in patterns]


class _Index:
    """Finds any of many byte strings in one pass: a table of their first two bytes, then of their first eight."""

    def __init__(self, needles: Sequence[bytes]) -> None:
        self._needles = needles
        self.longest = max([256, *map(len, needles)])
        self._short = [i for i, needle in enumerate(needles) if len(needle) < _KEY_BYTES]
        self._by_key: dict[int, list[int]] = {}
        for i, needle in enumerate(needles):
            if len(needle) >= _KEY_BYTES:
                self._by_key.setdefault(int.from_bytes(needle[:_KEY_BYTES], "little"), []).append(i)
        self._keys: NDArray[np.uint64] = np.array(sorted(self._by_key), dtype=np.uint64)
        self._begins = np.zeros(1 << 16, dtype=bool)
        self._begins[(self._keys & np.uint64(0xFFFF)).astype(np.int64)] = True

    def hits(self, data: bytes) -> set[int]:
        """The numbers of the needles that are in `data`."""
        found = {i for i in self._short if self._needles[i] in data}
        for shift in range(_KEY_BYTES):
            count = (len(data) - shift) // _KEY_BYTES
            if count <= 0 or not len(self._keys):
                continue
            windows = np.frombuffer(data, dtype="<u8", count=count, offset=shift)
            at = np.flatnonzero(self._begins[(windows & np.uint64(0xFFFF)).astype(np.int64)])
            for position in at[np.isin(windows[at], self._keys)].tolist():
                start = shift + position * _KEY_BYTES
                for i in self._by_key[int(windows[position])]:
                    if data.startswith(self._needles[i], start):
                        found.add(i)
        return found
