"""This is where the sums over stored samples are kept in step with the store, by the difference only."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, StoreError
from edge_agent.ml.cholesky import Cholesky
from edge_agent.ml.statistics import ClassStatistics
from edge_agent.ml.summed import Sums, content_marks
from edge_agent.ml.transforms import signed_root
from edge_agent.store.atomic import remove_file, replacing_file
from edge_agent.store.sums_file import UNREADABLE, Members, Numbers, opened, read_sums, write_sums
from edge_agent.store.training_set import StoreBatchProvider

log = logging.getLogger(__name__)

BLOCK_ROWS = 512
LARGEST_DRIFT = 1e-9
"""Between kept sums and those made anew, relative to the largest; sums and differences of float64 stay far below."""
CHECK_EVERY = 5000
"""After so many added, removed and relabelled samples (and as many as there are) the sums are made anew and
compared."""
_PROBES = 16


class KeptSums:
    """Counts, class sums and the Gram matrix of the samples that were learned last, O(D D) in memory.

    `follow` brings them to other samples by what differs, so that a few changed pictures cost the same whatever
    the number of samples; after many changes they are made anew and compared. What is written at `path` by `save`
    spares making them anew at the next start; it is no more than that, and a file that does not fit is passed
    over. Methods may be called from any thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._of: tuple[int, int] | None = None
        self._last: StoreBatchProvider | None = None
        self._statistics: ClassStatistics | None = None
        self._members = Members.none()
        self._changes = 0
        self._saved = True
        self._looked = False
        self._stop: Callable[[], None] = lambda: None

    def follow(self, provider: StoreBatchProvider, stop: Callable[[], None] = lambda: None) -> Sums:
        """The sums of exactly the samples of a provider; raises `StoreError` when they cannot be read.

        `stop` is called between blocks of samples; what it raises passes through, and what was summed is lost.
        """
        with self._lock, self._lost_on_failure():
            self._stop = stop
            self._begin(provider)
            if not self._step(provider):
                self._make_anew(provider)
            elif self._changes >= max(CHECK_EVERY, len(self._members)):
                self._compare(provider)
            assert self._statistics is not None
            where, _ = self._members.places(provider.sequences)
            return Sums(self._statistics, self._members.marks[where])

    def drop(self, sequences: Collection[int]) -> None:
        """Take samples out before they are removed from the store, and the file on disk away.

        Raises `StoreError` when the file cannot be removed.
        """
        with self._lock, self._lost_on_failure():
            self._stop = lambda: None
            self._looked, self._saved = True, False
            if self._path.exists():
                remove_file(self._path)
            if self._statistics is None or self._last is None:
                return
            gone = np.isin(self._members.sequences, list(sequences))
            self._changes += int(gone.sum())
            try:
                self._take(self._last, self._members.sequences[gone])
            except (StoreError, MLModelError):
                self._forget()

    def save(self) -> None:
        """Write the sums down for the next start; raises `StoreError` when the disk refuses."""
        with self._lock:
            if self._statistics is None or self._saved or self._of is None:
                return
            with replacing_file(self._path) as file:
                write_sums(file, self._of, self._statistics, self._members, self._changes)
            self._saved = True

    # ------------------------------------------------------------------ with the lock held

    @contextmanager
    def _lost_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._forget()
            raise

    def _begin(self, provider: StoreBatchProvider) -> None:
        of = (provider.extractor, provider.n_features)
        self._last = provider
        if self._of != of:
            self._forget()
            self._of, self._last = of, provider
        if not self._looked:
            self._looked = True
            self._load(provider)

    def _forget(self) -> None:
        self._of, self._last, self._statistics = None, None, None
        self._members, self._changes = Members.none(), 0

    def _step(self, provider: StoreBatchProvider) -> bool:
        """Go from the samples there are to those wanted; False where making them anew is better or needed."""
        if self._statistics is None:
            return False
        order = np.argsort(provider.sequences, kind="stable")
        wanted, labels = provider.sequences[order], np.array(provider.labels, dtype=object)[order]
        where, known = self._members.places(wanted)
        gone = ~np.isin(self._members.sequences, wanted)
        moved = known.copy()
        moved[known] = self._members.labels[where[known]] != labels[known]
        changes = int(gone.sum() + moved.sum() + (~known).sum())
        if 2 * changes > len(wanted):
            return False
        if not changes:
            return True
        self._saved = False
        self._changes += changes
        try:
            self._take(provider, self._members.sequences[gone])
            self._move(provider, wanted[moved], labels[moved])
            self._add(provider, wanted[~known], labels[~known])
        except (StoreError, MLModelError):
            return False  # a sample is gone with its features, or never was what it was taken for
        return True

    def _take(self, provider: StoreBatchProvider, sequences: Numbers) -> None:
        assert self._statistics is not None
        for rows, Z, _ in _blocks(provider, sequences):
            self._stop()
            where, _ = self._members.places(rows)
            self._statistics.remove(Z, [str(name) for name in self._members.labels[where]])
        self._members = self._members.without(np.isin(self._members.sequences, sequences))

    def _move(self, provider: StoreBatchProvider, sequences: Numbers, labels: NDArray[np.object_]) -> None:
        assert self._statistics is not None
        number = {int(sequence): str(label) for sequence, label in zip(sequences, labels, strict=True)}
        for rows, Z, _ in _blocks(provider, sequences):
            self._stop()
            where, _ = self._members.places(rows)
            old = [str(name) for name in self._members.labels[where]]
            new = [number[int(row)] for row in rows]
            self._statistics.relabel(Z, old, new)
            self._members.labels[where] = new

    def _add(self, provider: StoreBatchProvider, sequences: Numbers, labels: NDArray[np.object_]) -> None:
        assert self._statistics is not None
        start, marks = 0, [np.empty(0, dtype=np.uint32)]
        for rows, Z, found in _blocks(provider, sequences):
            self._stop()
            self._statistics.add(Z, [str(name) for name in labels[start : start + len(rows)]])
            marks.append(np.array(found, dtype=np.uint32))
            start += len(rows)
        self._members = self._members.joined(Members(sequences, labels.copy(), np.concatenate(marks)))

    def _make_anew(self, provider: StoreBatchProvider) -> None:
        self._statistics, self._members, self._changes = None, Members.none(), 0
        self._saved = False
        self._statistics = ClassStatistics(provider.n_features)
        order = np.argsort(provider.sequences, kind="stable")
        self._add(provider, provider.sequences[order], np.array(provider.labels, dtype=object)[order])

    def _compare(self, provider: StoreBatchProvider) -> None:
        kept = self._statistics
        assert kept is not None
        self._make_anew(provider)
        assert self._statistics is not None
        drift = difference(kept, self._statistics)
        if drift > LARGEST_DRIFT:
            log.warning(
                "the sums over %d samples had drifted by %.1e and were made anew", len(self._members), drift
            )

    def _load(self, provider: StoreBatchProvider) -> None:
        try:
            file = opened(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s: %s; the sums are made anew", self._path, error.strerror)
            return
        try:
            with file:
                statistics, members, changes = read_sums(file, self._of)
            self._probe(provider, statistics, members)
        except UNREADABLE as error:
            log.warning("%s does not fit the samples (%s); the sums are made anew", self._path, error)
            return
        self._statistics, self._members, self._saved = statistics, members, True
        self._changes = changes

    @staticmethod
    def _probe(provider: StoreBatchProvider, statistics: ClassStatistics, members: Members) -> None:
        """A database made anew counts from the start again: some of the members must still be what they were."""
        there = members.sequences[np.isin(members.sequences, provider.sequences)]
        for rows, _, marks in _blocks(provider, there[:: max(1, len(there) // _PROBES)]):
            where, _ = members.places(rows)
            if members.marks[where].tolist() != marks:
                raise ValueError("its samples are others")
        gram = statistics.gram
        # The rows are unit vectors, or nothing at all.
        trace = float("nan") if gram is None else float(gram.diagonal.sum())
        if gram is None or not np.isfinite(gram.largest) or not trace <= len(members) * (1 + LARGEST_DRIFT):
            raise ValueError("its sums cannot be those of unit vectors")
        scatter = statistics.within_scatter()
        scatter.add_diagonal(1e-6)
        try:
            Cholesky.of(scatter)
        except np.linalg.LinAlgError:
            raise ValueError("its sums and means do not go together") from None


def difference(one: ClassStatistics, other: ClassStatistics) -> float:
    """The largest difference of two sums of the same samples, relative to the largest sum; infinite for others."""
    if one.counts != other.counts or one.gram is None or other.gram is None:
        return float("inf")
    largest = max(other.gram.largest, 1e-300)
    means = float(np.abs(one.means() - other.means()).max(initial=0.0))
    apart = [
        float(np.abs(mine - its).max()) for mine, its in zip(one.gram.blocks, other.gram.blocks, strict=True)
    ]
    return max(max(apart, default=0.0) / largest, means)


def _blocks(
    provider: StoreBatchProvider, sequences: Numbers
) -> Iterator[tuple[Numbers, NDArray[np.float64], list[int]]]:
    """Sequences, unit vectors [n, D] and content marks, block by block."""
    for start in range(0, len(sequences), BLOCK_ROWS):
        rows = sequences[start : start + BLOCK_ROWS]
        X = provider.stored(rows)
        yield rows, signed_root(X), content_marks(X)
