"""This is where a sample is written to, and read from, its rows in the database."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import DamagedError, NotFoundError, StoreError
from edge_agent.store.digests import DigestIndex
from edge_agent.store.quantised import HEAD_BYTES

if TYPE_CHECKING:
    import sqlite3

# What is appended together lies together and nothing is counted twice: fifty new samples touch some twenty
# pages. `seen` has the bit 1 << id of every extractor whose features of this sample are stored, so that a
# listing need not walk through the features. `changes` holds only what the samples themselves do not tell:
# changes of a label beyond its present number of samples and, under the empty label, the revision of the last
# change that added none.
FORMAT_1 = """
CREATE TABLE samples (
    sequence INTEGER PRIMARY KEY, digest BLOB NOT NULL, label TEXT NOT NULL, added_at REAL NOT NULL,
    source_name NOT NULL, stored_path NOT NULL, size_bytes INTEGER NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, seen INTEGER NOT NULL);
CREATE TABLE extractors (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, n_features INTEGER NOT NULL);
CREATE TABLE features (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE changes (label TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE updates (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, state TEXT NOT NULL, version INTEGER,
    samples INTEGER NOT NULL, seconds REAL NOT NULL, accuracy REAL, message TEXT NOT NULL)
"""

SELECT = (
    "SELECT sequence, digest, label, added_at, source_name, stored_path, size_bytes, width, height "
    "FROM samples "
)
"""What `read_sample` reads; a condition may follow."""

REVISION = ""
"""The key of the revision among the counts of changes; no label is empty."""

_DIGEST = re.compile("[0-9a-f]{64}")
_MOST_EXTRACTORS = 62  # bits of a positive INTEGER


@dataclass(frozen=True)
class Sample:
    """A labelled picture whose features are stored; `sequence` tells the order of arrival."""

    digest: str
    label: str
    sequence: int
    added_at: float
    source_name: str
    stored_path: str
    size_bytes: int
    width: int
    height: int


@dataclass(frozen=True)
class Rejection:
    """A file that was refused, why, and where it lies now."""

    path: str
    label: str
    reason: str
    stored_path: str


@dataclass(frozen=True)
class NewSample:
    """A picture about to become a sample; `features` is float32 [n_features], `digest` 64 hexadecimal digits.

    `stored_path` is where the picture will be kept, relative to the home; empty when it is not kept.
    """

    digest: str
    label: str
    source_name: str
    stored_path: str
    size_bytes: int
    width: int
    height: int
    features: NDArray[np.float32]


@dataclass(frozen=True)
class AddResult:
    """What became of a `NewSample`; `sample` keeps its place in the order when its bytes were known before.

    A duplicate keeps its path. A relabelled sample takes the path planned now, if there is one; its picture
    may still lie at `previous_path`.
    """

    sample: Sample
    kind: Literal["added", "duplicate", "relabelled"]
    previous_path: str = ""


_UNSOUND = (
    """
    SELECT count(*) FROM samples WHERE typeof(digest) != 'blob' OR length(digest) != 32
    OR typeof(label) != 'text' OR label = '' OR typeof(added_at) != 'real'
    OR typeof(source_name) NOT IN ('text', 'blob') OR typeof(stored_path) NOT IN ('text', 'blob')
    OR typeof(size_bytes) != 'integer' OR typeof(width) != 'integer' OR typeof(height) != 'integer'
    OR typeof(seen) != 'integer'
    """,
    "SELECT count(*) FROM extractors WHERE typeof(fingerprint) != 'text' OR typeof(n_features) != 'integer'",
    """
    SELECT count(*) FROM features LEFT JOIN extractors ON extractors.id = features.id >> 40
    WHERE typeof(data) != 'blob' OR length(data) IS NOT n_features + ?
    """,
    "SELECT count(*) FROM meta WHERE value NOT IN ('', 'sweep') AND NOT json_valid(value)",
)
"""How many rows cannot be what was written; SQLite's own check looks at the tree, not at what hangs in it."""

_TEXTS = (
    "SELECT label, source_name, stored_path FROM samples",
    "SELECT key, value FROM meta",
    "SELECT state, message FROM updates",
    "SELECT label FROM changes",
)


def check_rows(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `DamagedError`, or the error of reading, when a row is not what can have been written."""
    for question in _UNSOUND:
        number = connection.execute(question, (HEAD_BYTES,) * question.count("?")).fetchone()[0]
        if number:
            raise DamagedError(f"{path}: the database is damaged: {number} rows are not what was written")
    for question in _TEXTS:
        for _row in connection.execute(question):
            pass  # reading it is what finds letters that are none


def find(connection: sqlite3.Connection, index: DigestIndex, digest: str) -> Sample | None:
    """The sample with this whole digest."""
    if not _DIGEST.fullmatch(digest):
        return None
    for sequence in index.candidates(bytes.fromhex(digest)):
        row = connection.execute(SELECT + "WHERE sequence = ?", (sequence,)).fetchone()
        if row is not None and (sample := read_sample(row)).digest == digest:
            return sample
    return None


class Edit:
    """The changes of one transaction; `finish()` is called before it ends."""

    def __init__(self, connection: sqlite3.Connection, index: DigestIndex) -> None:
        self._connection = connection
        self._index = index
        self._revision = revision(connection)
        self._beyond: Counter[str] = Counter()
        self.changed = False
        """Whether anything but the adding of samples was done."""

    def extractor(self, fingerprint: str, n_features: int) -> int:
        """An extractor's number in this database; `ValueError` when its vectors had another length before."""
        row = self._connection.execute(
            "SELECT id, n_features FROM extractors WHERE fingerprint = ?", (fingerprint,)
        ).fetchone()
        if row is None:
            self._connection.execute(
                "INSERT INTO extractors (fingerprint, n_features) VALUES (?, ?)", (fingerprint, n_features)
            )
            return self.extractor(fingerprint, n_features)
        if row[1] != n_features:
            raise ValueError(f"extractor {fingerprint} gives {row[1]} features, not {n_features}")
        if row[0] > _MOST_EXTRACTORS:
            raise StoreError(f"features of {_MOST_EXTRACTORS} extractors are stored; start with a new --home")
        return int(row[0])

    def find(self, digest: str) -> Sample | None:
        """The sample with this whole digest."""
        return find(self._connection, self._index, digest)

    def require(self, digest: str) -> Sample:
        """The sample with this whole digest; `NotFoundError` when there is none."""
        sample = self.find(digest)
        if sample is None:
            raise NotFoundError(f"no sample has the digest {digest!r}; see `edge-agent samples list`")
        return sample

    def add(self, new: NewSample, extractor: int, data: bytes, now: float) -> AddResult:
        """Keep one sample with its encoded features; bytes that are known already get the label given now."""
        if not _DIGEST.fullmatch(new.digest):
            raise ValueError(f"{new.source_name}: a digest is 64 hexadecimal digits, not {new.digest!r}")
        known = self.find(new.digest)
        if known is not None:
            self.put_features(known, extractor, data)
            if known.label == new.label:
                return AddResult(known, "duplicate")
            sample = self.relabel(known, new.label)
            if new.stored_path:
                self.set_stored_path(sample, new.stored_path)
                sample = replace(sample, stored_path=new.stored_path)
            return AddResult(sample, "relabelled", known.stored_path)
        self._revision += 1
        sample = Sample(
            digest=new.digest,
            label=new.label,
            sequence=self._revision,  # grows with every change, so that no number is ever given twice
            added_at=now,
            source_name=new.source_name,
            stored_path=new.stored_path,
            size_bytes=new.size_bytes,
            width=new.width,
            height=new.height,
        )
        self._connection.execute(
            "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                sample.sequence,
                bytes.fromhex(sample.digest),
                sample.label,
                sample.added_at,
                bound_name(sample.source_name),
                bound_name(sample.stored_path),
                sample.size_bytes,
                sample.width,
                sample.height,
                1 << extractor,
            ),
        )
        self._connection.execute(
            "INSERT INTO features VALUES (?, ?)", (features_id(extractor, sample.sequence), data)
        )
        self._index.add(bytes.fromhex(sample.digest), sample.sequence)
        return AddResult(sample, "added")

    def put_features(self, sample: Sample, extractor: int, data: bytes) -> None:
        """Keep encoded features of a known sample; nothing is written when the same are there already."""
        key = features_id(extractor, sample.sequence)
        row = self._connection.execute("SELECT data FROM features WHERE id = ?", (key,)).fetchone()
        if row is None or row[0] != data:
            self.changed = True
            self._connection.execute("REPLACE INTO features VALUES (?, ?)", (key, data))
            self._connection.execute(
                "UPDATE samples SET seen = seen | ? WHERE sequence = ?", (1 << extractor, sample.sequence)
            )

    def relabel(self, sample: Sample, label: str) -> Sample:
        """Give a sample another label; it keeps its place in the order of arrival."""
        self._connection.execute("UPDATE samples SET label = ? WHERE sequence = ?", (label, sample.sequence))
        self._revision += 1
        self.changed = True
        self._beyond[sample.label] += 1  # it lost a sample, not a change
        return replace(sample, label=label)

    def set_stored_path(self, sample: Sample, path: str) -> None:
        """Say where the picture of a sample is kept."""
        self._connection.execute(
            "UPDATE samples SET stored_path = ? WHERE sequence = ?", (bound_name(path), sample.sequence)
        )

    def remove(self, sample: Sample) -> None:
        """Remove a sample with all its features."""
        self._connection.execute("DELETE FROM samples WHERE sequence = ?", (sample.sequence,))
        self._connection.execute(
            "DELETE FROM features WHERE id IN (SELECT (id << 40) | ? FROM extractors)", (sample.sequence,)
        )
        self._revision += 1
        self.changed = True
        self._beyond[sample.label] += 2  # it lost a sample and had a change more

    def finish(self) -> None:
        """Write the counts of changes; a label nobody has any more leaves no trace of its name."""
        if not self._beyond:
            return
        self._connection.execute("REPLACE INTO changes VALUES (?, ?)", (REVISION, self._revision))
        for label, number in self._beyond.items():
            self._connection.execute(
                "INSERT INTO changes VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET number = number + excluded.number",
                (label, number),
            )
            self._connection.execute(
                "DELETE FROM changes WHERE label = ? AND NOT EXISTS (SELECT 1 FROM samples WHERE label = ?)",
                (label, label),
            )


def revision(connection: sqlite3.Connection) -> int:
    """How many changes were ever made: the newest sample's sequence, unless a later change wrote it."""
    row = connection.execute(
        "SELECT max(ifnull((SELECT max(sequence) FROM samples), 0), "
        "ifnull((SELECT number FROM changes WHERE label = ?), 0))",
        (REVISION,),
    ).fetchone()
    return int(row[0])


def features_id(extractor: int, sequence: int) -> int:
    """The key of a sample's features: those of one extractor lie together, in the order of arrival."""
    return extractor << 40 | sequence


def read_sample(row: tuple[Any, ...]) -> Sample:
    """A row of `SELECT` as a `Sample`."""
    sequence, digest, label, added_at, source_name, stored_path, size_bytes, width, height = row
    return Sample(
        digest=digest.hex(),
        label=label,
        sequence=sequence,
        added_at=added_at,
        source_name=read_name(source_name),
        stored_path=read_name(stored_path),
        size_bytes=size_bytes,
        width=width,
        height=height,
    )


def bound_name(name: str) -> str | bytes:
    """A file name as SQLite takes it: text, or bytes where the name is not valid UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def read_name(value: str | bytes) -> str:
    """A file name as `bound_name` gave it to SQLite."""
    return os.fsdecode(value) if isinstance(value, bytes) else value
