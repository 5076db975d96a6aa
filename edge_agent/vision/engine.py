"""This is where the agent has pictures looked at, by a process it can lose."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import EngineError
from edge_agent.ml.augmentation import AugmentationSettings, Variant
from edge_agent.vision import wire
from edge_agent.vision.child import Child
from edge_agent.vision.preprocessing import ExtractorCard

log = logging.getLogger(__name__)

DEPTH = 4
"""So many pictures are with the engine at once: one being decoded, two decoded, one with the extractor."""

CHANCES = 2
"""A picture that loses the engine this often while nothing else is with it is refused."""

CRASH_SECONDS = 0.5
"""A process whose socket closed is about to end by itself; its own exit status says more than a kill."""


Job = tuple[object, int] | tuple[object, int, Variant | None]
"""Whatever the caller wants to know it by, an open file descriptor, and which changed copy is looked at."""


@dataclass(frozen=True)
class EngineFacts:
    """What the running engine said of itself."""

    name: str
    fingerprint: str
    n_features: int
    runtime: str
    delegate: str
    pid: int
    notice: str = ""
    """What the owner should know of it, in one line; mostly empty."""


@dataclass(frozen=True, eq=False)
class Extraction:
    """What became of one picture."""

    key: object
    """What the caller gave with it."""
    digest: str
    """sha256 of the file's bytes, in hex; empty when they were not read (no regular file, too long)."""
    features: npt.NDArray[np.float32] | None
    """Of shape [n_features]; None when `error` says why."""
    width: int
    """Of the original picture, upright, in pixels; 0 when it was refused."""
    height: int
    error: str | None
    permanent: bool
    """Whether the same picture would fail again; False is the engine's or the disk's trouble."""
    seconds: float
    """Spent on it in the engine."""


@dataclass(eq=False)
class _Job:
    key: object
    fd: int
    number: int
    variant: Variant | None = None
    alone: bool = False
    lost: int = 0
    result: Extraction | None = None
    wanted: bool = True

    def finish(self, result: Extraction | None) -> None:
        """Keep the result and let go of the file, once."""
        self.result = result
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Engine:
    """Decodes pictures and extracts their features in a process of its own.

    The process may die or hang; it is then started again, and what it had not answered is tried again one
    picture at a time, so that only the guilty one is refused. Used from one thread. Several `extract`
    generators may be consumed in turn: they share one pipeline. `augmentation` says how strong changed copies
    of pictures are changed.
    """

    def __init__(
        self,
        card: ExtractorCard,
        pictures: PicturesConfig,
        extractor: ExtractorConfig,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        python: str = sys.executable,
        worker_module: str = "edge_agent.vision.worker",
        augmentation: AugmentationSettings | None = None,
    ) -> None:
        self._new_child = partial(
            Child,
            card,
            pictures,
            extractor,
            monotonic=monotonic,
            python=python,
            module=worker_module,
            augmentation=augmentation,
        )
        self._timeout_seconds = extractor.timeout_seconds
        self._start_timeout_seconds = extractor.start_timeout_seconds
        self._monotonic = monotonic
        self._child: Child | None = None
        self._closed = False
        self._numbers = itertools.count(1)
        self._out: deque[_Job] = deque()
        self._waiting: deque[_Job] = deque()
        self._progress = 0.0
        self.facts: EngineFacts | None = None
        """What the engine said of itself when it last started; None before the first start."""
        self.restarts = 0
        """How often it had to be started again."""

    def start(self) -> EngineFacts:
        """Start the process unless it runs, and wait until it is ready, which means fast.

        Raises `EngineError` with the engine's reason or its last words when it cannot start.
        """
        if self._closed:
            raise EngineError("the engine is closed")
        if self._child is not None and not self._out and not self._child.is_running():
            log.warning("the engine process ended while it had nothing to do: %s", self._child.end())
            self._child = None
        if self._child is None or self.facts is None:
            child = self._new_child()
            ready = child.ready(self._start_timeout_seconds)
            if self.facts is not None:
                self.restarts += 1
                if ready.fingerprint != self.facts.fingerprint:
                    child.end()
                    raise EngineError(
                        f"the extractor changed from {self.facts.fingerprint} to {ready.fingerprint}"
                        " while the agent was running; start the agent again"
                    )
            self._child = child
            self.facts = EngineFacts(
                ready.name,
                ready.fingerprint,
                ready.n_features,
                ready.runtime,
                ready.delegate,
                ready.pid,
                ready.notice,
            )
            if ready.notice:
                log.warning("the extractor %s: %s", ready.name, ready.notice)
        return self.facts

    def extract(self, jobs: Iterable[Job]) -> Iterator[Extraction]:
        """Look at pictures: an `Extraction` for each (key, open file descriptor), in the order they came.

        A job may name a changed copy as its third part; copies of one picture that come one after the other
        are decoded once.

        Up to `DEPTH` are taken from `jobs` ahead of the one that is yielded. Each descriptor that was taken
        is closed here, exactly once, also when the generator is closed early; its position in the file does
        not matter.

        Raises `EngineError` when the engine cannot be started.
        """
        source = iter(jobs)
        mine: deque[_Job] = deque()
        try:
            more = True
            while more or mine:
                while more and len(mine) < DEPTH:
                    taken = next(source, None)
                    if taken is None:
                        more = False
                        break
                    key, fd, variant = taken if len(taken) == 3 else (*taken, None)
                    job = _Job(key, fd, next(self._numbers), variant)
                    mine.append(job)
                    self._waiting.append(job)
                    self._send_waiting()
                if mine:
                    result = self._answered(mine[0])
                    mine.popleft()
                    yield result
        finally:
            for job in mine:
                job.wanted = False
                job.finish(None)
                if job in self._waiting:
                    self._waiting.remove(job)

    def close(self) -> None:
        """End the process, within two seconds; calling it again does nothing."""
        self._closed = True
        for job in (*self._out, *self._waiting):
            job.finish(None)
        self._out.clear()
        self._waiting.clear()
        if self._child is not None:
            self._child.end()
            self._child = None

    def _answered(self, job: _Job) -> Extraction:
        while job.result is None:
            self._send_waiting()
            if self._child is not None and job.result is None:
                self._take_answer(self._child)
        return job.result

    def _send_waiting(self) -> None:
        """Hand over what may be handed over; a suspect goes alone."""
        self.start()
        while self._child is not None and self._waiting and len(self._out) < DEPTH:
            if self._out and (self._out[0].alone or self._waiting[0].alone):
                return
            job = self._waiting.popleft()
            if not self._out:
                self._progress = self._monotonic()
            self._out.append(job)
            try:
                self._child.ask(job.number, job.fd, job.variant)
            except OSError:
                self._lose("crashed", patience_seconds=CRASH_SECONDS)

    def _take_answer(self, child: Child) -> None:
        """Take in one answer, or notice that there will be none."""
        try:
            remaining = self._progress + self._timeout_seconds - self._monotonic()
            received = child.answer(max(0.0, remaining))
        except EngineError:
            self._lose("crashed", patience_seconds=CRASH_SECONDS)
            return
        if received is None:
            self._lose(f"took longer than {self._timeout_seconds:g} seconds", patience_seconds=0)
            return
        answer, payload = received
        job = self._out[0] if self._out else None
        if job is None or answer.number != job.number or not self._fits(answer, payload):
            self._lose("answered nonsense", patience_seconds=0)
            return
        self._out.popleft()
        self._progress = self._monotonic()
        if job.wanted:
            job.finish(_extraction(job, answer, payload))

    def _fits(self, answer: wire.Answer, payload: bytes) -> bool:
        n_features = self.facts.n_features if self.facts is not None else 0
        return len(payload) == (0 if answer.error is not None else 4 * n_features)

    def _lose(self, what: str, *, patience_seconds: float) -> None:
        """The process is lost: end it, and find out later which picture it was that did it."""
        child, self._child = self._child, None
        assert child is not None
        how = child.end(patience_seconds)
        log.warning("the engine %s with %d pictures (%s) and is started again", what, len(self._out), how)
        log.info("the engine's last words: %s", child.last_words() or "none")
        alone = len(self._out) == 1
        again = []
        for job in self._out:
            if not job.wanted:
                continue
            job.lost += alone
            job.alone = True
            if job.lost >= CHANCES:
                job.finish(_refused(job, f"the decoder {what} on this picture twice ({how})"))
            else:
                again.append(job)
        self._out.clear()
        self._waiting.extendleft(reversed(again))


def _extraction(job: _Job, answer: wire.Answer, payload: bytes) -> Extraction:
    return Extraction(
        key=job.key,
        digest=answer.digest,
        features=None if answer.error is not None else np.frombuffer(payload, dtype=np.float32),
        width=answer.width,
        height=answer.height,
        error=answer.error,
        permanent=answer.permanent,
        seconds=answer.seconds,
    )


def _refused(job: _Job, reason: str) -> Extraction:
    return Extraction(
        key=job.key,
        digest=_digest(job.fd),
        features=None,
        width=0,
        height=0,
        error=reason,
        permanent=True,
        seconds=0.0,
    )


def _digest(fd: int) -> str:
    """sha256 of an open file: safe for bytes that no decoder survives; empty when it cannot be read."""
    digest = hashlib.sha256()
    try:
        offset = 0
        while part := os.pread(fd, 1 << 18, offset):
            digest.update(part)
            offset += len(part)
    except OSError:
        return ""
    return digest.hexdigest()
