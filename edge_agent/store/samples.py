"""This is where samples and their features are kept: labelled pictures as rows of one SQLite database."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import DiskFullError, NotFoundError
from edge_agent.store import rows
from edge_agent.store.atomic import Reserve
from edge_agent.store.database import Database
from edge_agent.store.digests import DigestIndex
from edge_agent.store.quantised import decode_features, encode_features
from edge_agent.store.rows import AddResult, NewSample, Rejection, Sample
from edge_agent.store.snapshots import Snapshots, extractor_of
from edge_agent.store.training_set import StoreBatchProvider, TrainingSet

__all__ = [
    "AddResult",
    "NewSample",
    "Rejection",
    "Sample",
    "SampleStore",
    "StoreBatchProvider",
    "TrainingSet",
    "UpdateRecord",
    "decode_features",
    "encode_features",
]

_KEPT_UPDATES = 1000
_RESERVE_BYTES = 256 << 10  # forgetting a sample writes some thirty pages
T = TypeVar("T")


@dataclass(frozen=True)
class UpdateRecord:
    """One update task in the journal: `at` in unix seconds, `version` only when one was published."""

    at: float
    state: str
    version: int | None
    samples: int
    seconds: float
    accuracy: float | None
    message: str


_Samples: TypeAlias = list[Sample]


class SampleStore:
    """Samples, their features by extractor, and the journal of updates, in the SQLite file at `path`.

    One process may write at a time (see `ProcessLock`); every method may be called from any thread.
    `read_only` is for other processes that only look. Methods raise `DiskFullError`, `DamagedError` or
    `StoreError` with the path.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        read_only: bool = False,
        check: bool = True,
    ) -> None:
        self.path = path
        self._clock = clock
        self._reserve = Reserve(path.with_name(path.name + "-reserve"), _RESERVE_BYTES)
        try:
            self._database = Database(path, (rows.FORMAT_1,), read_only=read_only, check=check)
        except DiskFullError:
            if read_only:
                raise
            self._reserve.release()  # a few pages are enough to open and to answer
            self._database = Database(path, (rows.FORMAT_1,), check=check)
        self._snapshots = Snapshots(self._database.reading, keep=not read_only)
        self._index = DigestIndex()
        if not read_only:
            self._reserve.hold()
            try:
                with self._database.reading() as connection:
                    if check:
                        rows.check_rows(connection, path)
                    self._index = DigestIndex(connection.execute("SELECT digest, sequence FROM samples"))
            except BaseException:
                self._database.close()
                raise

    @property
    def database(self) -> Database:
        """The file itself, for `store.erasure`."""
        return self._database

    def close(self) -> None:
        """Close the database; calling it again is fine."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ write

    def add(self, samples: Sequence[NewSample], fingerprint: str) -> list[AddResult]:
        """Keep samples with their features in one transaction; when this returns they survive a power cut.

        Bytes that are known count once. Known bytes under another label take that label: the newest word
        wins. Raises `ValueError` for features that are not finite or not as many as this extractor gives.
        """
        encoded = [encode_features(new.features) for new in samples]
        if not samples:
            return []
        n_features = len(samples[0].features)
        for new in samples:
            if len(new.features) != n_features:
                raise ValueError(
                    f"{new.source_name}: {len(new.features)} features among samples with {n_features}"
                )
        with self._editing() as edit:
            extractor = edit.extractor(fingerprint, n_features)
            now = self._clock()
            return [edit.add(new, extractor, data, now) for new, data in zip(samples, encoded, strict=True)]

    def put_features(self, digest: str, fingerprint: str, features: NDArray[np.float32]) -> None:
        """Keep another extractor's features of a known sample, replacing what that extractor gave before."""
        data = encode_features(features)
        with self._editing() as edit:
            edit.put_features(edit.require(digest), edit.extractor(fingerprint, len(features)), data)

    def relabel(self, digest: str, label: str) -> Sample:
        """Give a sample another label; the sample as it is now. `NotFoundError` when it is not there."""
        with self._editing() as edit:
            sample = edit.require(digest)
            return sample if sample.label == label else edit.relabel(sample, label)

    def set_stored_path(self, digest: str, path: str) -> None:
        """Say where a sample's picture is kept, relative to the home; empty when it is not."""
        with self._editing() as edit:
            edit.set_stored_path(edit.require(digest), path)

    def remove(self, digest: str) -> Sample:
        """Forget one sample: its row and its features are gone from the file when this returns.

        Works on a full disk, too.
        """

        def change() -> Sample:
            with self._editing() as edit:
                sample = edit.require(digest)
                edit.remove(sample)
            return sample

        sample = self._also_when_full(change)
        self._also_when_full(self._database.erase_traces)
        return sample

    def remove_all(self, digests: Iterable[str]) -> int:
        """Forget these samples in one transaction, those that are still there; how many were.

        Works on a full disk, too.
        """
        wanted = list(digests)

        def change() -> int:
            with self._editing() as edit:
                found = [sample for digest in wanted if (sample := edit.find(digest)) is not None]
                for sample in found:
                    edit.remove(sample)
            return len(found)

        removed = self._also_when_full(change)
        self._also_when_full(self._database.erase_traces)
        return removed

    def remove_label(self, label: str) -> _Samples:
        """Forget every sample of a label; those that were removed, which may be none."""
        with self._editing() as edit:
            samples = self.list(label)
            for sample in samples:
                edit.remove(sample)
        if samples:
            self._database.erase_traces()
        return samples

    # ------------------------------------------------------------------ read

    def get(self, digest_prefix: str) -> Sample:
        """The one sample whose digest begins with `digest_prefix` (at least one hexadecimal digit).

        Raises `NotFoundError` when there is none, or more than one.
        """
        prefix = digest_prefix.lower()
        samples: _Samples = []
        with self._database.reading() as connection:
            if whole := rows.find(connection, self._index, prefix):
                return whole
        if 0 < len(prefix) <= 64 and set(prefix) <= set("0123456789abcdef"):
            bounds = [bytes.fromhex(prefix.ljust(64, digit)) for digit in "0f"]
            with self._database.reading() as connection:
                found = connection.execute(rows.SELECT + "WHERE digest BETWEEN ? AND ? LIMIT 2", bounds)
                samples = [rows.read_sample(row) for row in found]
        if len(samples) != 1:
            what = "no sample has" if not samples else "more than one sample has"
            raise NotFoundError(
                f"{what} a digest that begins with {digest_prefix!r}; see `edge-agent samples list`"
            )
        return samples[0]

    def list(self, label: str | None = None, limit: int | None = None, offset: int = 0) -> _Samples:
        """Samples in the order of arrival, of one label or of all."""
        where = "" if label is None else "WHERE label = ? "
        with self._database.reading() as connection:
            found = connection.execute(
                rows.SELECT + where + "ORDER BY sequence LIMIT ? OFFSET ?",
                (*(() if label is None else (label,)), -1 if limit is None else limit, offset),
            )
            return [rows.read_sample(row) for row in found]

    def places(self) -> Iterator[tuple[str, str]]:
        """Digest and stored path of every sample whose picture is kept."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT digest, stored_path FROM samples WHERE stored_path != ''")
            yield from ((digest.hex(), rows.read_name(path)) for digest, path in found)

    def kept_bytes(self) -> dict[str, int]:
        """How many bytes the kept pictures of each label have."""
        with self._database.reading() as connection:
            return dict(
                connection.execute(
                    "SELECT label, sum(size_bytes) FROM samples WHERE stored_path != '' GROUP BY label"
                )
            )

    def counts(self) -> dict[str, int]:
        """How many samples each label has, sorted by label."""
        return self._snapshots.counts()

    def count(self) -> int:
        """How many samples there are."""
        with self._database.reading() as connection:
            number: int = connection.execute("SELECT count(*) FROM samples").fetchone()[0]
            return number

    def missing_features(self, fingerprint: str, limit: int | None = None) -> _Samples:
        """Samples that this extractor has not seen yet, in the order of arrival."""
        with self._database.reading() as connection:
            found = connection.execute(
                rows.SELECT + "WHERE NOT seen & ? ORDER BY sequence LIMIT ?",
                (1 << extractor_of(connection, fingerprint)[0], -1 if limit is None else limit),
            )
            return [rows.read_sample(row) for row in found]

    def snapshot(self, fingerprint: str) -> TrainingSet:
        """Digest and label of every sample this extractor has seen, as of now."""
        return self._snapshots.take(fingerprint)

    @property
    def revision(self) -> int:
        """A number that grows by one with every sample added, relabelled or removed, and never shrinks."""
        with self._database.reading() as connection:
            return rows.revision(connection)

    # ------------------------------------------------------------------ journal and notes

    def record_update(
        self,
        *,
        state: str,
        version: int | None,
        samples: int,
        seconds: float,
        accuracy: float | None = None,
        message: str = "",
    ) -> None:
        """Write one update task into the journal; the newest thousand are kept."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO updates (at, state, version, samples, seconds, accuracy, message) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._clock(), state, version, samples, seconds, accuracy, message),
            )
            connection.execute(
                "DELETE FROM updates WHERE id <= (SELECT max(id) FROM updates) - ?", (_KEPT_UPDATES,)
            )

    def last_update(self) -> UpdateRecord | None:
        """The newest entry of the journal."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT at, state, version, samples, seconds, accuracy, message FROM updates "
                "ORDER BY id DESC LIMIT 1"
            ).fetchone()
        return None if row is None else UpdateRecord(*row)

    def meta(self, key: str) -> str | None:
        """The note under `key`."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Keep a note under `key`; works on a full disk, too."""

        def change() -> None:
            with self._database.writing() as connection:
                connection.execute("REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

        self._also_when_full(change)

    def _also_when_full(self, change: Callable[[], T]) -> T:
        try:
            return change()
        except DiskFullError:
            self._reserve.release()
            try:
                return change()
            finally:
                self._database.erase_traces()
                self._reserve.hold()

    @contextlib.contextmanager
    def _editing(self) -> Iterator[rows.Edit]:
        with self._database.writing() as connection:
            edit = rows.Edit(connection, self._index)
            yield edit
            edit.finish()
            if edit.changed:
                self._snapshots.outdate()
        if edit.changed:
            self._snapshots.outdate()  # once more: somebody may have looked before it was kept
