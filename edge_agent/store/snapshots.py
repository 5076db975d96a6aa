"""This is where it is known which samples an extractor has seen, without reading all of them again each time."""

from __future__ import annotations

import threading
from itertools import chain
from typing import TYPE_CHECKING

from edge_agent.store.training_set import Reading, TrainingSet

if TYPE_CHECKING:
    import sqlite3

_SELECT = "SELECT digest, label, sequence FROM samples WHERE sequence > ? AND seen & ?"
_COUNT = "SELECT label, count(*), max(sequence) FROM samples WHERE sequence > ? GROUP BY label"


class Snapshots:
    """Sets of the samples of one moment; the one asked for last is kept, and what arrived since is read to it.

    `keep` is for the one process that writes: whoever changes anything but by adding samples says so with `outdate`,
    before the change is kept and after it. Methods may be called from any thread.
    """

    def __init__(self, reading: Reading, *, keep: bool) -> None:
        self._reading = reading
        self._keep = keep
        self._lock = threading.Lock()
        self._changes = 0
        self._kept: tuple[int, int, TrainingSet] | None = None
        self._counted: tuple[int, dict[str, int]] = 0, {}

    def outdate(self) -> None:
        """What is kept is not what is stored any more."""
        with self._lock:
            self._changes += 1
            self._kept = None
            self._counted = 0, {}

    def take(self, fingerprint: str) -> TrainingSet:
        """Digest and label of every sample this extractor has seen, as of now."""
        with self._lock:
            changes, kept = self._changes, self._kept
        with self._reading() as connection:
            extractor, n_features = extractor_of(connection, fingerprint)
            if kept is not None and kept[:2] == (extractor, n_features):
                before = kept[2]
            else:
                before = TrainingSet(self._reading, extractor, n_features, ())
            rows = connection.execute(_SELECT, (before.newest, 1 << extractor))
            first = rows.fetchone()
            found = before if first is None else before.joined(chain([first], rows))
        with self._lock:
            if self._keep and self._changes == changes:
                self._kept = extractor, n_features, found
        return found

    def counts(self) -> dict[str, int]:
        """How many samples each label has, sorted by label."""
        with self._lock:
            changes, (newest, before) = self._changes, self._counted
        found = dict(before)
        with self._reading() as connection:
            for label, number, last in connection.execute(_COUNT, (newest,)):
                found[label] = found.get(label, 0) + number
                newest = max(newest, last)
        with self._lock:
            if self._keep and self._changes == changes:
                self._counted = newest, found
        return dict(sorted(found.items()))


def extractor_of(connection: sqlite3.Connection, fingerprint: str) -> tuple[int, int]:
    """An extractor's number and length of vectors; number 0, which no sample has seen, when unknown."""
    row = connection.execute("SELECT id, n_features FROM extractors WHERE fingerprint = ?", (fingerprint,))
    number, n_features = row.fetchone() or (0, 0)
    return number, n_features
