"""This is where it is remembered what came of trying a delegate, so that it is tried once and not at every start."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import msgspec
from msgspec import Struct

from edge_agent.errors import StoreError
from edge_agent.store.atomic import write_file
from edge_agent.store.whole_file import read_whole_file
from edge_agent.vision.delegate_verdict import Verdict

log = logging.getLogger(__name__)

_MOST_RECORDS = 200
_RUNTIMES = ("ai-edge-litert", "tflite-runtime")


class Record(Struct, frozen=True, kw_only=True):
    """What is known of one delegate with one model, library, set of options and runtime."""

    name: str
    verdict: Verdict | None = None
    """None: it was not tried to the end yet."""
    last: Verdict | None = None
    """What came of the last trial, also where another one may come out differently."""
    deaths: int = 0
    """How often in a row it took its process with it."""


class DelegateRecords:
    """Records by what they depend on, in one file that is replaced as a whole; without a path nothing is kept.

    A file that is damaged or cannot be written only costs trying again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._records: dict[str, Record] = {}

    def get(self, key: str, name: str) -> Record:
        """What is known; an empty record when nothing is. What another process wrote meanwhile counts."""
        self._read()
        return self._records.get(key, Record(name=name))

    def put(self, key: str, record: Record) -> None:
        """Keep a record; the oldest go when there are many."""
        self._read()
        self._records.pop(key, None)
        self._records[key] = record
        while len(self._records) > _MOST_RECORDS:
            del self._records[next(iter(self._records))]
        self._write()

    def _read(self) -> None:
        """Take in the file when it is another one than last time."""
        path = self._path
        try:
            if path is None or (seen := _identity(path)) == self._seen:
                return
            self._seen = seen
            self._records = msgspec.json.decode(read_whole_file(path), type=dict[str, Record])
        except FileNotFoundError:
            self._records, self._seen = {}, None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("%s cannot be read, so accelerators are tried again: %s", path, error)

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            write_file(self._path, msgspec.json.format(msgspec.json.encode(self._records), indent=2) + b"\n")
            self._seen = _identity(self._path)
        except (StoreError, OSError) as error:
            log.warning("what was found out about accelerators cannot be kept: %s", error)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def record_key(
    *, model_sha256: str, library_sha256: str, options: Mapping[str, str], runtime: str, threads: int
) -> str:
    """What the outcome of a trial depends on, as one text."""
    parts = [model_sha256, library_sha256, sorted(options.items()), runtime, installed_runtimes(), threads]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def installed_runtimes() -> list[str]:
    """The runtimes that are installed, with their versions; nothing is loaded."""
    found = []
    for name in _RUNTIMES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found
