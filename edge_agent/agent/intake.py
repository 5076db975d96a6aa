"""This is where settled files become stored samples, and where refused ones are put aside."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.agent.archive import Archive
from edge_agent.agent.dropfolder import Arrival, DropFolder
from edge_agent.agent.home import Home
from edge_agent.agent.labels import clean_label, printable
from edge_agent.config import DropFolderConfig, PicturesConfig
from edge_agent.errors import LabelError, PluginError, StoreError
from edge_agent.plugins import PluginHost
from edge_agent.store.atomic import move_file, remove_file, write_file
from edge_agent.store.samples import NewSample, Rejection, SampleStore
from edge_agent.vision.engine import Engine, Extraction

log = logging.getLogger(__name__)

BATCH_SAMPLES = 50
BATCH_SECONDS = 5.0
"""A batch is committed at this many samples or after this long: one transaction for each sample writes an SD card
up to twenty times more than its payload."""

PATIENCE_SETTLES = 5
FRESH_SECONDS = 60.0
"""A file that fails to decode is looked at again for this many settle times, if it was written to within the last
minute: some writers reserve the full size first, so a still file is not always a whole one."""


@dataclass(frozen=True)
class _Job:
    arrival: Arrival
    label: str
    size_bytes: int


@dataclass(frozen=True)
class _Pending:
    job: _Job
    extraction: Extraction


class Intake:
    """Takes pictures out of the drop folder, exactly once in effect.

    A file stays where it is until its features are committed, and leaves afterwards by one rename; whatever is
    interrupted in between is found again by its digest and counts once.
    """

    def __init__(
        self,
        home: Home,
        store: SampleStore,
        archive: Archive,
        folder: DropFolder,
        engine: Engine,
        plugins: PluginHost,
        config: DropFolderConfig,
        pictures: PicturesConfig,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._store = store
        self._archive = archive
        self._folder = folder
        self._engine = engine
        self._plugins = plugins
        self._config = config
        self._pictures = pictures
        self._monotonic = monotonic
        self._clock = clock
        self._first_failures: dict[Path, float] = {}
        self.rejected = 0

    def step(self, go_on: Callable[[], bool], limit: int = 256) -> int:
        """Take in up to `limit` settled files, as long as `go_on`, called after each, says so.

        Returns how many files left the drop folder.
        """
        arrivals = self._folder.ready(limit)
        moved = 0
        batch: list[_Pending] = []
        started = self._monotonic()
        for extraction in self._engine.extract(self._jobs(arrivals)):
            job = extraction.key
            assert isinstance(job, _Job)
            arrival = job.arrival
            if extraction.features is None:
                moved += self._refuse_picture(arrival, extraction)
            else:
                batch.append(_Pending(job, extraction))
            if len(batch) >= BATCH_SAMPLES or (batch and self._monotonic() - started >= BATCH_SECONDS):
                moved += self._commit(batch)
                batch, started = [], self._monotonic()
            if not go_on():
                break
        return moved + self._commit(batch)

    def next_look(self) -> float | None:
        """The monotonic time of the next look that is due, or None when only an event can bring work."""
        return self._folder.next_look()

    def busy(self) -> bool:
        """Whether files are waiting: to settle, to be tried again, or to be taken in."""
        return self.pending > 0

    @property
    def pending(self) -> int:
        """How many files of the drop folder are not taken in yet."""
        return self._folder.pending

    def _jobs(self, arrivals: list[Arrival]) -> Iterator[tuple[object, int]]:
        for arrival in arrivals:
            if arrival.problem:
                self.reject(arrival, arrival.problem)
                continue
            try:
                label = clean_label(self._plugins.label_sample(str(arrival.path), arrival.label))
            except (LabelError, PluginError) as error:
                self.reject(arrival, str(error))
                continue
            fd = self._folder.open_arrival(arrival)
            if fd is None:
                continue
            size_bytes = os.fstat(fd).st_size
            if size_bytes > self._pictures.max_file_bytes:
                os.close(fd)
                self.reject(
                    arrival,
                    f"the file has {size_bytes} bytes; the limit is {self._pictures.max_file_bytes}"
                    " (pictures.max_file_bytes)",
                )
                continue
            yield _Job(arrival, label, size_bytes), fd

    def _refuse_picture(self, arrival: Arrival, extraction: Extraction) -> int:
        reason = extraction.error or "no features came out"
        if not extraction.permanent:
            self._folder.put_back(arrival, self._config.settle_seconds)
            log.warning("%s is tried again later: %s", printable(arrival.name), reason)
            return 0
        now = self._monotonic()
        first = self._first_failures.setdefault(arrival.path, now)
        fresh = self._clock() - arrival.signature.mtime_ns / 1e9 < FRESH_SECONDS
        if fresh and now - first < PATIENCE_SETTLES * self._config.settle_seconds:
            self._folder.put_back(arrival, self._config.settle_seconds)
            return 0
        return self.reject(arrival, reason)

    def _commit(self, batch: list[_Pending]) -> int:
        """Store a batch in one transaction, then let its files leave the drop folder."""
        whole = [pending for pending in batch if self._folder.still_same(pending.job.arrival)]
        if not whole:
            return 0
        assert self._engine.facts is not None
        results = self._store.add(
            [self._new_sample(pending) for pending in whole], self._engine.facts.fingerprint
        )
        # The samples are safe from here on; a file that a crash leaves behind is found again by its digest.
        self._archive.keep(
            (pending.job.arrival.path, result.sample.stored_path)
            for pending, result in zip(whole, results, strict=True)
        )
        for pending, result in zip(whole, results, strict=True):
            self._first_failures.pop(pending.job.arrival.path, None)
            if result.kind == "duplicate":
                log.info("%s is known already and counts once", printable(pending.job.arrival.name))
                continue
            if result.kind == "relabelled":
                self._archive.settle(result.sample)
            self._plugins.sample_ingested(sample=result.sample)
        return len(whole)

    def _new_sample(self, pending: _Pending) -> NewSample:
        extraction = pending.extraction
        assert extraction.features is not None
        stored = ""
        if self._config.after_intake == "archive":
            stored = self._archive.stored_path(pending.job.label, pending.job.arrival.name, extraction.digest)
        return NewSample(
            digest=extraction.digest,
            label=pending.job.label,
            source_name=printable(pending.job.arrival.name),
            stored_path=stored,
            size_bytes=pending.job.size_bytes,
            width=extraction.width,
            height=extraction.height,
            features=extraction.features,
        )

    def reject(self, arrival: Arrival, reason: str) -> int:
        """Put a file aside with its reason beside it, so that it never stops the others."""
        self._first_failures.pop(arrival.path, None)
        folder = self._home.rejected_folder / arrival.safe_folder
        target = _free_name(folder, printable(arrival.name))
        try:
            write_file(folder / (target.name + ".reason.txt"), (reason + "\n").encode())
            move_file(arrival.path, target)
        except StoreError as error:
            remove_file(folder / (target.name + ".reason.txt"))
            log.warning("%s cannot be put aside: %s", printable(arrival.name), error)
            self._folder.put_back(arrival, self._folder.rescan_seconds)
            return 0
        self.rejected += 1
        rejection = Rejection(
            path=printable(str(arrival.path)),
            label=arrival.label,
            reason=reason,
            stored_path=str(target.relative_to(self._home.path)),
        )
        self._plugins.sample_rejected(rejection=rejection)
        return 1


def _free_name(folder: Path, name: str) -> Path:
    target = folder / name
    count = 1
    while target.exists() or (folder / (target.name + ".reason.txt")).exists():
        count += 1
        target = folder / f"{Path(name).stem}-{count}{Path(name).suffix}"
    return target
