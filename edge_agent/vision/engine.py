"""This is where the agent has pictures looked at, by a process it can lose."""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import EngineError
from edge_agent.ml.augmentation import AugmentationSettings
from edge_agent.vision import wire
from edge_agent.vision.abreast import MOST_DEPTH, Abreast
from edge_agent.vision.accelerator import LOOK_SECONDS, Accelerator
from edge_agent.vision.child import Child, Successor
from edge_agent.vision.delegate_spec import CPU, DelegateUse
from edge_agent.vision.delegate_verdict import Code
from edge_agent.vision.extraction import EngineFacts, Extraction, Job, PendingJob, extraction, refused
from edge_agent.vision.memory_budget import GROWN_BYTES, MemoryBudget
from edge_agent.vision.preprocessing import ExtractorCard
from edge_agent.vision.vouching import Schedule, vouched

__all__ = ["MOST_DEPTH", "Engine", "EngineFacts", "Extraction", "Job"]

log = logging.getLogger(__name__)

CHANCES = 2
"""A picture that loses the engine this often while nothing else is with it is refused."""

CRASH_SECONDS = 0.5
"""A process whose socket closed is about to end by itself; its own exit status says more than a kill."""


class Engine:
    """Decodes pictures and extracts their features in a process of its own.

    The process may die or hang; it is then started again, and what it had not answered is tried again one picture
    at a time, so that only the guilty one is refused. Used from one thread; several `extract` generators share it.
    `augmentation` says how strong changed copies of pictures are changed. With an `accelerator` the process computes
    on what that says; the CPU answers the picture on which it is lost.
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
        self._out: deque[PendingJob] = deque()
        self._waiting: deque[PendingJob] = deque()
        self._progress = 0.0
        self._abreast = Abreast(extractor, monotonic=monotonic)
        self._memory = MemoryBudget(extractor.max_memory_mb)
        self.facts: EngineFacts | None = None
        """What the engine said of itself when it last started; None before the first start."""
        self.restarts = 0
        """How often it had to be started again."""
        self.losses = 0
        """How often an accelerator was lost."""
        self._schedule = Schedule(monotonic)
        self.accelerator: Accelerator | None = None
        """What chooses the delegate, set before the first start; None: always the CPU."""
        self._use: DelegateUse | None = None
        self._successor: Successor | None = None

    def start(self) -> EngineFacts:
        """Start the process unless it runs, and wait until it is ready, which means fast.

        Raises `EngineError` with the engine's reason or its last words when it cannot start.
        """
        if self._closed:
            raise EngineError("the engine is closed")
        if self._child is not None and not self._out and not self._child.is_running():
            how = self._child.end()
            log.warning("the engine process ended while it had nothing to do: %s", how)
            self._child = None
            self._blame("crashed", f"it ended while it had nothing to do ({how})")
        if self._child is None or self.facts is None:
            self._start_child()
        assert self.facts is not None
        return self.facts

    def _start_child(self) -> None:
        """Start a process, on the CPU where the accelerator does not get that far and the CPU may."""
        successor = self._successor or self._new_successor(
            self.accelerator.wanted() if self.accelerator else None
        )
        self._successor = None
        try:
            ready = successor.wait()
        except EngineError as error:
            if successor.use is None or self.accelerator is None:
                raise
            log.warning("%s does not start: %s", successor.use.name, error)
            self.accelerator.failed(successor.child.failure, str(error))
            if not self.accelerator.cpu_may:
                raise
            self._start_child()
            return
        self._take_over(successor, ready)

    def _new_successor(self, use: DelegateUse | None) -> Successor:
        seconds = self._start_timeout_seconds
        if use is not None and self.accelerator is not None:
            seconds = min(seconds, self.accelerator.start_seconds)
        return Successor(self._new_child(delegate=use), use, seconds, self._monotonic)

    def _take_over(self, successor: Successor, ready: wire.Ready) -> None:
        """Have a process that is ready answer from now on."""
        if self.facts is not None:
            self.restarts += successor.use is None and self._use is None
            if ready.fingerprint != self.facts.fingerprint:
                successor.child.end()
                raise EngineError(
                    f"the extractor changed from {self.facts.fingerprint} to {ready.fingerprint}"
                    " while the agent was running; start the agent again"
                )
        if self._child is not None:
            self._child.end()
        self._child, self._use = successor.child, successor.use
        self._memory.begin(self._child.pid, accelerated=self._use is not None)
        self.facts = EngineFacts.of(ready)
        self._schedule.start()
        if ready.notice:
            log.warning("the extractor %s: %s", ready.name, ready.notice)
        if self.accelerator is not None:
            self.accelerator.served(ready.delegate)

    # ------------------------------------------------------------------ accelerators that come and go

    def tick(self) -> None:
        """Go on with an accelerator that is tried or about to take over; to be called now and then."""
        if self.accelerator is None or self._closed or self.facts is None:
            return
        use = self.accelerator.tick()
        if use is not None and self._successor is None and use != self._use:
            self._successor = self._new_successor(use)
        self._change_over()

    def next_look(self) -> float | None:
        """The monotonic time at which `tick` has something to do, or None."""
        if self._successor is not None:
            return self._monotonic() + LOOK_SECONDS
        return self.accelerator.next_look() if self.accelerator else None

    def _change_over(self) -> bool:
        """Let the process that was started beside this one answer, between two pictures; True: hold on for that."""
        successor = self._successor
        if successor is None or self.accelerator is None:
            return False
        try:
            ready = successor.look()
            if ready is None:
                return False
            if self._out:
                return True
            self._successor = None
            self._take_over(successor, ready)
        except EngineError as error:
            self._successor = None
            self.accelerator.failed(successor.child.failure, str(error))
        return False

    def _blame(self, code: Code, detail: str) -> bool:
        """The process is lost: whether it was the accelerator's, which is then left alone for a while."""
        use, self._use = self._use, None
        if use is None or self.accelerator is None:
            return False
        self.losses += 1
        self.accelerator.failed(code, detail)
        return True

    def extract(
        self, jobs: Iterable[Job], *, keep: bool = False, digest: bool = True
    ) -> Iterator[Extraction]:
        """Look at pictures: an `Extraction` for each (key, open file descriptor), in the order they came.

        A job may name a changed copy as its third part; copies that come one after the other are decoded once.
        Up to `MOST_DEPTH` are taken ahead from `jobs`, or a group with `keep`: the features are to be learned from, and
        an accelerator's are only given out once the CPU has vouched for them. Each descriptor is closed here, exactly
        once, also when the generator is closed early. Without `digest` none is made, which saves time.

        Raises `EngineError` when the engine cannot be started.
        """
        return (
            vouched(self, jobs) if keep and self.accelerator is not None else self.look(jobs, digest=digest)
        )

    def look(self, jobs: Iterable[Job], *, check: int = 0, digest: bool = True) -> Iterator[Extraction]:
        """As `extract`; the picture with the number `check`, counted from 1, is compared with what the CPU makes."""
        source = enumerate(jobs, 1)
        mine: deque[PendingJob] = deque()
        try:
            more = True
            while more or mine:
                while more and len(mine) < self._abreast.depth:
                    count, taken = next(source, (0, None))
                    if taken is None:
                        more = False
                        break
                    key, fd, variant = taken if len(taken) == 3 else (*taken, None)
                    job = PendingJob(key, fd, next(self._numbers), variant, count == check, digest)
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
        for process in filter(None, [self._child, self._successor.child if self._successor else None]):
            process.end()
        self._child = self._successor = None
        if self.accelerator is not None:
            self.accelerator.close()

    def _answered(self, job: PendingJob) -> Extraction:
        while job.result is None:
            self._send_waiting()
            if self._child is not None and job.result is None:
                self._take_answer(self._child)
        return job.result

    def _send_waiting(self) -> None:
        """Hand over what may be handed over; a suspect goes alone."""
        if self._change_over() or self._hold_for_memory():
            return
        self.start()
        while self._child is not None and self._waiting and len(self._out) < self._abreast.depth:
            if self._out and (self._out[0].alone or self._waiting[0].alone):
                return
            job = self._waiting.popleft()
            if not self._out:
                self._progress = self._monotonic()
            self._out.append(job)
            try:
                check = self._use is not None and self._schedule.ask(check=job.check)
                abreast = self._abreast.look(self._child.pid)
                self._child.ask(wire.Picture(job.number, job.variant, check, job.digest, abreast), job.fd)
            except OSError:
                self._lose("crashed", "crashed", patience_seconds=CRASH_SECONDS)

    def _take_answer(self, child: Child) -> None:
        """Take in one answer, or notice that there will be none."""
        try:
            remaining = self._progress + self._timeout_seconds - self._monotonic()
            received = child.answer(max(0.0, remaining))
        except EngineError:
            self._lose("crashed", "crashed", patience_seconds=CRASH_SECONDS)
            return
        if received is None:
            self._lose("hung", f"took longer than {self._timeout_seconds:g} seconds", patience_seconds=0)
            return
        answer, payload = received
        job = self._out[0] if self._out else None
        if job is None or not job.is_answered(answer, payload, self.facts):
            self._lose("failed", "answered nonsense", patience_seconds=0)
            return
        if answer.failed and self._use is not None:
            self._lose("failed", f"refused: {answer.error}", patience_seconds=0)
            return
        if self._use is not None and (told := self._schedule.answered(answer.cosine, self._use.min_cosine)):
            self._lose("turned-wrong", told, patience_seconds=0)
            return
        self._out.popleft()
        self._progress = self._monotonic()
        self._abreast.answered(answer.seconds, rests=not self._out)
        if job.wanted:
            job.finish(extraction(job, answer, payload))
        if self._memory.answered(child.pid) > GROWN_BYTES and self._use is not None:
            self._lose("too-much-memory", f"grew by {GROWN_BYTES >> 20} MB", patience_seconds=0)
        self._hold_for_memory()

    def _hold_for_memory(self) -> bool:
        """Replace a process that has grown too large, between two pictures; True: send nothing until then."""
        if self._child is not None and not self._out and self._memory.is_spent(self._child.pid):
            self._child.end()
            self._child = None
        return self._memory.suspected and bool(self._out)

    def _lose(self, code: Code, what: str, *, patience_seconds: float) -> None:
        """The process is lost: end it, and find out later which picture did it.

        Nothing is held against a picture with which an accelerator was lost before the CPU is lost with it too.
        """
        child, self._child = self._child, None
        assert child is not None
        how = child.end(patience_seconds)
        if code == "crashed" and how.startswith("exit"):
            code = "exited"
        name = self._use.name if self._use else CPU
        log.warning(
            "the engine on %s %s with %d pictures (%s) and is started again", name, what, len(self._out), how
        )
        log.info("the engine's last words: %s", child.last_words() or "none")
        accuses = self._blame(code, f"{how}, in service" if code in ("crashed", "exited") else what)
        alone = len(self._out) == 1
        again = []
        for job in self._out:
            if not job.wanted:
                continue
            job.accuses |= accuses
            job.lost += alone and not accuses
            job.alone = True
            if job.lost >= CHANCES:
                job.finish(refused(job, f"the decoder {what} on this picture twice ({how})"))
                if job.accuses and self.accelerator is not None:
                    self.accelerator.acquitted()
            else:
                again.append(job)
        self._out.clear()
        self._waiting.extendleft(reversed(again))
