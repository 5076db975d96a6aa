"""This is where each delegate is looked at, remembered and tried, one after the other."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec

from edge_agent.config import ExtractorConfig
from edge_agent.errors import DamagedError, EngineError
from edge_agent.store.device_lock import DeviceLock
from edge_agent.store.whole_file import read_whole_file
from edge_agent.vision.delegate_check import check_delegate
from edge_agent.vision.delegate_question import Question
from edge_agent.vision.delegate_records import DelegateRecords, Record, record_key
from edge_agent.vision.delegate_spec import AGREES, CPU, DelegateSpec, DelegateUse
from edge_agent.vision.delegate_verdict import DEATHS, LASTING, Verdict
from edge_agent.vision.delegates import TRIAL_SECONDS, DelegateTrial
from edge_agent.vision.device_nodes import Board
from edge_agent.vision.graph import read_graph
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""A delegate that took its process with it so often is left alone until its file changes or a person says so."""

NO_PICTURES: Sequence[Path] = ()
_BUSY = frozenset({"refused", "refused-silently", "failed", "hung"})


@dataclass
class DelegateBench:
    """What is needed to find out about delegates of one extractor, and the locks on their devices."""

    card: ExtractorCard
    config: ExtractorConfig
    records: DelegateRecords = field(default_factory=lambda: DelegateRecords(None))
    board: Board = field(default_factory=Board)
    lock_folders: tuple[Path, ...] = ()
    pictures: Callable[[], Sequence[Path]] = lambda: NO_PICTURES
    """Some pictures of the owner, to be tried besides those that are made up."""
    monotonic: Callable[[], float] = time.monotonic
    trial_seconds: float = TRIAL_SECONDS
    start_seconds: float = 10.0
    """Patience with a process that starts, besides four times what loading the delegate took when it was tried."""
    memory_bytes: int = 2 << 30
    _locks: dict[str, DeviceLock] = field(default_factory=dict)

    @cached_property
    def custom_ops(self) -> frozenset[str]:
        """The operators of the model that are not built into the runtime; none for a file that is damaged."""
        try:
            found = read_graph(read_whole_file(self.card.path)).custom_by_subgraph
        except (OSError, DamagedError):
            return frozenset()  # whoever loads the file says what is wrong with it
        return frozenset().union(*found)

    def look(self, spec: DelegateSpec, *, afresh: bool = False) -> Verdict:
        """What is known of a delegate without running it; `untried` when it may be tried.

        `afresh`: what came of it before is not believed, apart from its deaths.
        """
        if spec.name != CPU and self.card.backend != TFLITE:
            return Verdict(code="model-not-accepted", detail=f"{self.card.name} runs on {self.card.backend}")
        verdict = check_delegate(spec, self.custom_ops, self.board)
        if verdict.code != "untried" or spec.name == CPU:
            return verdict
        record = self.record(spec, verdict)
        if record.deaths >= MOST_DEATHS:
            how = record.verdict.reason if record.verdict else "unknown"
            return _with(
                verdict, "switched-off", f"it died or turned wrong {record.deaths} times; the last time {how}"
            )
        if spec.devices:
            holder = self._lock(spec).acquire()
            if holder:
                # With the figures that are remembered: whoever has it may be this very agent.
                return _with(record.verdict or verdict, "device-busy", f"{holder} has it")
        kept = record.verdict
        if kept is not None and kept.code in LASTING and not afresh:
            return self._judged_again(kept)
        return verdict

    def try_out(self, spec: DelegateSpec, verdict: Verdict) -> DelegateTrial:
        """Begin to try a delegate that was looked at."""
        question = Question(
            card=self.card,
            use=None if spec.name == CPU else self.use(spec, verdict),
            runtime=self.config.runtime,
            threads=self.config.interpreter_threads,
            pictures=tuple(map(str, self.pictures())),
            compare=self.cpu_can,
            memory_bytes=self.memory_bytes,
            seconds=math.ceil(2 * self.trial_seconds),
        )
        return DelegateTrial(
            question,
            min_cosine=self.min_cosine,
            timeout_seconds=self.trial_seconds,
            monotonic=self.monotonic,
        )

    @property
    def cpu_can(self) -> bool:
        """Whether the CPU can run the model at all: one that was compiled for a device needs the device."""
        if not self.custom_ops:
            return True
        from edge_agent.vision.pooling import COMPILERS  # with all that reads and writes models

        return not any(name.startswith(tuple(COMPILERS)) for name in self.custom_ops)

    @property
    def min_cosine(self) -> float:
        """What is asked of a delegate's features; one that nobody asked for by name must agree with the CPU."""
        asked = self.config.min_cosine
        return max(asked, AGREES) if self.config.delegate == "auto" else asked

    def use(self, spec: DelegateSpec, verdict: Verdict) -> DelegateUse:
        """How a process is told to load a delegate."""
        agrees = verdict.cosine is not None and verdict.cosine >= AGREES
        return DelegateUse(
            name=spec.name,
            library=verdict.library,
            options=dict(spec.options),
            kind=CPU if agrees else spec.name,
            comparable=self.cpu_can,
            min_cosine=self.min_cosine,
        )

    def settled(self, spec: DelegateSpec, looked: Verdict, verdict: Verdict) -> Verdict:
        """Keep what came of a trial, or of service; returns it, with whoever holds the device."""
        if spec.name == CPU:
            return verdict
        verdict = msgspec.structs.replace(
            verdict, library=looked.library, library_sha256=looked.library_sha256
        )
        if verdict.code in _BUSY and spec.devices:
            nodes = [node for device in spec.devices for node in self.board.nodes(device)]
            if holders := self.board.holders(nodes):
                told = ", ".join(map(str, holders))
                verdict = _with(verdict, "device-busy", f"{told} has {nodes[0]} open")
        record = self.record(spec, looked)
        died = verdict.code in DEATHS
        # A good trial takes no death back: some die at the thousandth picture, again and again.
        deaths = record.deaths + died
        kept = verdict if died or verdict.code in LASTING else record.verdict
        self.records.put(
            self._key(spec, looked), Record(name=spec.name, verdict=kept, last=verdict, deaths=deaths)
        )
        return verdict

    def record(self, spec: DelegateSpec, looked: Verdict) -> Record:
        """What is remembered of a delegate."""
        return self.records.get(self._key(spec, looked), spec.name)

    def told(self, spec: DelegateSpec) -> Verdict:
        """As `look`, but for one that may be tried again what came of the last trial."""
        looked = self.look(spec)
        last = self.record(spec, looked).last
        if looked.code != "untried" or looked.detail or last is None or last.code in LASTING:
            return looked
        return last

    def forgive(self, spec: DelegateSpec, looked: Verdict) -> None:
        """Count its deaths anew: it served well for long, was not to blame, or a person says so."""
        record = self.record(spec, looked)
        if record.deaths:
            self.records.put(self._key(spec, looked), Record(name=spec.name, last=record.last))

    def release(self, keep: str = "") -> None:
        """Give the devices back, but the one of the delegate that is named."""
        for name, lock in self._locks.items():
            if name != keep:
                lock.release()

    def _judged_again(self, kept: Verdict) -> Verdict:
        """What was remembered, by what the configuration asks for now."""
        if kept.cosine is None or kept.code not in ("ok", "wrong-numbers", "not-faster"):
            return kept
        if (kept.cosine >= self.min_cosine) == (kept.code != "wrong-numbers"):
            return kept
        return _with(kept, "untried", "another min_cosine is asked for")

    def _lock(self, spec: DelegateSpec) -> DeviceLock:
        return self._locks.setdefault(spec.name, DeviceLock(spec.name, self.lock_folders))

    def _key(self, spec: DelegateSpec, looked: Verdict) -> str:
        return record_key(
            model_sha256=self.card.sha256,
            library_sha256=looked.library_sha256,
            options=spec.options,
            runtime=self.config.runtime,
            threads=self.config.interpreter_threads,
        )


class DelegateRound:
    """One look at each delegate, and a trial for each that needs one; `advance` until `done`."""

    def __init__(
        self, bench: DelegateBench, specs: Iterable[DelegateSpec], *, afresh: frozenset[str] = frozenset()
    ) -> None:
        self._bench = bench
        self._waiting = deque(specs)
        self._afresh = afresh
        self._trying: tuple[DelegateSpec, Verdict, DelegateTrial] | None = None
        self.found: dict[str, Verdict] = {}

    @property
    def done(self) -> bool:
        """Whether all of them have a verdict."""
        return not self._waiting and self._trying is None

    def advance(self, *, wait: bool = False) -> None:
        """Go on, as far as it goes without waiting, or to the end."""
        while not self.done:
            if self._trying is None:
                self._begin(self._waiting.popleft())
                continue
            spec, looked, trial = self._trying
            verdict = trial.wait() if wait else trial.poll()
            if verdict is None:
                return
            self._trying = None
            self.found[spec.name] = self._bench.settled(spec, looked, verdict)

    def _begin(self, spec: DelegateSpec) -> None:
        looked = self._bench.look(spec, afresh=spec.name in self._afresh)
        if looked.code != "untried":
            self.found[spec.name] = looked
            return
        try:
            self._trying = (spec, looked, self._bench.try_out(spec, looked))
        except EngineError as error:
            self.found[spec.name] = _with(looked, "failed", str(error))

    def end(self) -> None:
        """Give up what is under way."""
        self._waiting.clear()
        if self._trying is not None:
            self._trying[2].end()
            self._trying = None


def _with(verdict: Verdict, code: str, detail: str) -> Verdict:
    return msgspec.convert({**msgspec.structs.asdict(verdict), "code": code, "detail": detail}, Verdict)
