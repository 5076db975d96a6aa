"""This is where settled files become stored samples, and where refused ones are put aside."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.agent.archive import Archive
from edge_agent.agent.dropfolder import Arrival, DropFolder
from edge_agent.agent.home import Home
from edge_agent.agent.labels import clean_label, printable
from edge_agent.agent.rejected import REASON_SUFFIX, count_rejected, free_name, shortened
from edge_agent.agent.sight import Eyes
from edge_agent.config import DropFolderConfig, PicturesConfig
from edge_agent.errors import DiskFailedError, DiskFullError, LabelError, PluginError, StoreError
from edge_agent.plugins import PluginHost
from edge_agent.store.atomic import move_file, remove_file, write_file
from edge_agent.store.samples import NewSample, Rejection, SampleStore
from edge_agent.vision.engine import Extraction

log = logging.getLogger(__name__)

BATCH_SAMPLES = 50
BATCH_SECONDS = 5.0
"""A batch is committed at this many samples or after this long: one transaction for each sample writes an SD card
up to twenty times more than its payload."""

STEP_BATCHES = 4

PATIENCE_SETTLES = 3
FRESH_SECONDS = 60.0
"""A file that fails to decode is looked at again for this many settle times, if it was written to within the last
minute: some writers reserve the full size first, so a still file is not always a whole one."""

PROGRESS_SECONDS = 20.0
"""Whoever waits for the drop folder to be empty waits this long (and four settle times) without any file leaving."""

MOST_TRIES = 4
"""A file that fails because of the engine or the disk, not of itself, is refused after this many tries."""


@dataclass
class _Failures:
    first: float
    count: int = 0


@dataclass(frozen=True)
class _Job:
    arrival: Arrival
    label: str
    size_bytes: int
    changed_ns: int


@dataclass(frozen=True)
class _Stuck:
    arrival: Arrival
    reason: str


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
        engine: Eyes,
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
        self._failures: dict[Path, _Failures] = {}
        self._stuck: dict[Path, _Stuck] = {}
        self._pending_seen = 0
        self._progress_at = monotonic()
        self._patience_seconds = PROGRESS_SECONDS + 4 * config.settle_seconds
        self.rejected = count_rejected(home.rejected_folder)
        """How many refused files lie in `rejected/`."""

    def step(self, go_on: Callable[[], bool], limit: int = BATCH_SAMPLES) -> int:
        """Take in settled files, up to `STEP_BATCHES` times `limit`, as long as `go_on`, called after each, says so.

        The engine has the next ones already while a batch is stored. Returns how many files left the drop folder.
        """
        arrivals = self._folder.ready(limit)
        for oddity in self._folder.new_oddities():
            log.warning("%s: %s", printable(str(oddity.path)), oddity.reason)
        moved = 0
        batch: list[_Pending] = []
        started = self._monotonic()
        going = self._going(arrivals, limit, started + BATCH_SECONDS)
        for extraction in self._engine.extract(self._jobs(going), keep=True):
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
        """Whether files are on their way in; a file that keeps changing is not waited for without end."""
        if self._folder.must_look:
            return True
        pending = self.pending
        if pending != self._pending_seen:
            self._pending_seen, self._progress_at = pending, self._monotonic()
        return pending > 0 and self._monotonic() - self._progress_at < self._patience_seconds

    def look_again(self) -> None:
        """Have the drop folder listed at the next step, and begin anew to wait for what lies there."""
        self._folder.look_again()
        self._pending_seen = -1

    @property
    def pending(self) -> int:
        """How many files of the drop folder are on their way in; those that are stuck are not."""
        stuck = len(self._stuck_now())
        return max(0, self._folder.pending - stuck)

    @property
    def arriving(self) -> int:
        """How many of those have not failed yet; what is tried again must not put off an update."""
        return max(0, self.pending - sum(os.path.lexists(path) for path in self._failures))

    @property
    def ignored(self) -> list[dict[str, str]]:
        """What lies in the drop folder and does not come in, each with its reason."""
        stuck = [
            {"path": printable(str(path)), "reason": one.reason} for path, one in self._stuck_now().items()
        ]
        odd = [{"path": printable(str(one.path)), "reason": one.reason} for one in self._folder.oddities]
        return stuck + odd

    def count_rejected(self) -> None:
        """Count what lies in `rejected/` again, after some of it was removed."""
        self.rejected = count_rejected(self._home.rejected_folder)

    def _stuck_now(self) -> dict[Path, _Stuck]:
        gone = [path for path in self._stuck if not os.path.lexists(path)]
        if gone:  # else the folder would count them as on their way until its next listing
            self._folder.left([self._stuck.pop(path).arrival for path in gone])
        return self._stuck

    def _going(self, arrivals: list[Arrival], limit: int, until: float) -> Iterator[Arrival]:
        """These, and what else is ready, as long as there is time left: questions and updates wait for a step's end."""
        yield from arrivals
        for _ in range(STEP_BATCHES - 1):
            if len(arrivals) < limit or self._monotonic() >= until:
                return
            arrivals = self._folder.more(limit)
            yield from arrivals

    def _jobs(self, arrivals: Iterable[Arrival]) -> Iterator[tuple[object, int]]:
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
            state = os.fstat(fd)
            size_bytes = state.st_size
            if size_bytes > self._pictures.max_file_bytes:
                os.close(fd)
                self.reject(
                    arrival,
                    f"the file has {size_bytes} bytes; the limit is {self._pictures.max_file_bytes}"
                    " (pictures.max_file_bytes)",
                )
                continue
            yield _Job(arrival, label, size_bytes, state.st_ctime_ns), fd

    def _refuse_picture(self, arrival: Arrival, extraction: Extraction) -> int:
        reason = extraction.error or "no features came out"
        now = self._monotonic()
        failures = self._failures.setdefault(arrival.path, _Failures(now))
        failures.count += 1
        fresh = self._clock() - arrival.signature.mtime_ns / 1e9 < FRESH_SECONDS
        patient = fresh and now - failures.first < PATIENCE_SETTLES * self._config.settle_seconds
        if patient or (not extraction.permanent and failures.count < MOST_TRIES):
            self._folder.put_back(arrival, failures.count * self._config.settle_seconds)
            return 0
        return self.reject(arrival, reason)

    def _commit(self, batch: list[_Pending]) -> int:
        """Store a batch in one transaction, then let its files leave the drop folder."""
        whole = [pending for pending in batch if self._untouched(pending.job)]
        if not whole:
            return 0
        assert self._engine.facts is not None
        results = self._store.add(
            [self._new_sample(pending) for pending in whole], self._engine.facts.fingerprint
        )
        # The samples are safe from here on; a file that stays behind is found again by its digest.
        for pending, result in zip(whole, results, strict=True):
            self._failures.pop(pending.job.arrival.path, None)
            if result.kind == "duplicate":
                log.info("%s is known already and counts once", printable(pending.job.arrival.name))
            else:
                self._plugins.sample_ingested(sample=result.sample)
        stored = [
            (pending.job, result.sample.stored_path) for pending, result in zip(whole, results, strict=True)
        ]
        silent = {one.job.arrival.path for one in whole if not one.extraction.private}
        moved = self._leave(stored, silent)
        for result in results:
            if result.kind == "relabelled":
                self._archive.settle(result.sample)
        return moved

    def _untouched(self, job: _Job) -> bool:
        return self._folder.still_same(job.arrival, changed_ns=job.changed_ns)

    def _leave(self, files: list[tuple[_Job, str]], silent: set[Path]) -> int:
        """Let stored files go where the database says they are; one that cannot is named and left for later."""
        jobs = {job.arrival.path: job for job, _ in files}
        try:
            self._archive.take(
                ((job.arrival.path, stored_path) for job, stored_path in files),
                lambda path: self._untouched(jobs[path]),
                silent,
            )
        except StoreError as error:
            self._raise_if_lasting(error)  # else found out one by one
        else:
            self._folder.left(job.arrival for job in jobs.values())
            return len(files)
        moved = 0
        for job, stored_path in files:
            arrival = job.arrival
            try:
                if arrival.path.exists():
                    # We touched some of them, so nobody can say that nobody else did: each is read once more.
                    self._archive.take(
                        [(arrival.path, stored_path)],
                        lambda path: self._folder.still_same(jobs[path].arrival),
                    )
                self._folder.left([arrival])
                moved += 1
            except StoreError as error:
                self._raise_if_lasting(error)
                self._stuck_at(arrival, f"stored, but cannot leave the drop folder: {error}")
        return moved

    def _raise_if_lasting(self, error: StoreError) -> None:
        """Go on only where one file is the trouble, not the whole disk."""
        if isinstance(error, DiskFullError) or (
            isinstance(error, DiskFailedError) and error.is_below(self._home.path)
        ):
            raise error

    def _stuck_at(self, arrival: Arrival, reason: str) -> None:
        """Remember a file that does not leave, and look at it again much later; it must not hold up the others."""
        known = self._stuck.get(arrival.path)
        if known is None or known.reason != reason:
            log.warning("%s: %s", printable(str(arrival.path)), reason)
        self._stuck[arrival.path] = _Stuck(arrival, reason)
        self._folder.put_back(arrival, self._folder.rescan_seconds)

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
        self._failures.pop(arrival.path, None)
        folder = self._home.rejected_folder / arrival.safe_folder
        target = free_name(folder, shortened(printable(arrival.name)))
        note = folder / (target.name + REASON_SUFFIX)
        try:
            write_file(note, (reason + "\n").encode())
            move_file(arrival.path, target)
        except StoreError as error:
            self._raise_if_lasting(error)
            with suppress(StoreError):  # what kept the note from being written may keep it from being removed
                remove_file(note)
            if os.path.lexists(arrival.path):
                self._stuck_at(arrival, f"refused ({reason}), but cannot leave the drop folder: {error}")
            return 0
        self.rejected += 1
        self._folder.left([arrival])
        rejection = Rejection(
            path=printable(str(arrival.path)),
            label=arrival.label,
            reason=reason,
            stored_path=str(target.relative_to(self._home.path)),
        )
        self._plugins.sample_rejected(rejection=rejection)
        return 1
