"""This is where a delegate is tried in a throw-away process, and what came of it becomes a verdict."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from edge_agent.errors import EngineError
from edge_agent.vision.delegate_question import Found, Message, Question, Refused, Stage
from edge_agent.vision.delegate_verdict import Verdict
from edge_agent.vision.throwaway import paths_as_text, places_to_import_from

TRIAL_SECONDS = 60.0
"""Patience with all of it; loading a driver's firmware takes a few seconds."""

GROWN_BYTES = 32 << 20
"""A library that grows by more than this over a few pictures leaks."""

FASTER = 0.95
"""An accelerator that takes more than this share of the CPU's time is not worth what may go wrong with it."""

_WANTS_NEWER = re.compile(r"version .\w+_[0-9.]+' not found")
"""What the system's loader says where a library was linked against newer ones than are here."""

_TAIL_BYTES = 4096
_MOST_READS = 64
_WORDS = 300
_STAGES = {
    "cpu": "before it was loaded",
    "load": "while its library was loaded",
    "create": "while the delegate was made",
    "prepare": "while the model was given to it",
    "run": "while it ran the model",
}


class DelegateTrial:
    """One delegate, being tried; making one starts the process, which must be asked until it is done or ended.

    `poll()` never waits; `wait()` does.
    """

    def __init__(
        self,
        question: Question,
        *,
        timeout_seconds: float = TRIAL_SECONDS,
        min_cosine: float,
        monotonic: Callable[[], float] = time.monotonic,
        module: str = "edge_agent.vision.delegate_trial",
    ) -> None:
        self._question = question
        self._min_cosine = min_cosine
        self._monotonic = monotonic
        self._timeout_seconds = timeout_seconds
        self._deadline = monotonic() + timeout_seconds
        self._said = b""
        self._tail = b""
        self._stage = "cpu"
        self._result: Found | Refused | None = None
        self.verdict: Verdict | None = None
        """What came of it; None while it is under way."""
        self._words, their_words = os.pipe()
        # A library that prints without end must not be held up by nobody listening: its words are lost instead.
        os.set_blocking(self._words, False)
        os.set_blocking(their_words, False)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=their_words,
                env={
                    **os.environ,
                    "PYTHONPATH": places_to_import_from(),
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        except OSError as error:
            os.close(self._words)
            raise EngineError(f"a delegate cannot be tried in a process of its own: {error}") from None
        finally:
            os.close(their_words)
        assert self._process.stdin
        assert self._process.stdout
        data = msgspec.json.encode(question, enc_hook=paths_as_text)
        with suppress(BrokenPipeError), self._process.stdin as stdin:  # how it ended is found out later
            stdin.write(data)
        self._out = self._process.stdout
        self._ended_already = False
        os.set_blocking(self._out.fileno(), False)

    def poll(self) -> Verdict | None:
        """Take in what it said; the verdict once there is one."""
        if self.verdict is None:
            open_still = self._listen()
            if self._result is not None:
                self._finish(self._judged(self._result))
            elif not open_still or self._process.poll() is not None:
                self._finish(self._ended())
            elif self._monotonic() >= self._deadline:
                where = _STAGES[self._stage]
                if self._stage == "cpu":  # nothing is known against the delegate: the board is busy
                    said = f"the CPU did not get done within {self._timeout_seconds:g} seconds, so it was not tried"
                    self._finish(self._verdict("failed", said))
                    return self.verdict
                self._finish(
                    self._verdict("hung", f"it took more than {self._timeout_seconds:g} seconds, {where}")
                )
        return self.verdict

    def wait(self) -> Verdict:
        """The verdict, within the time limit."""
        poller = select.poll()
        poller.register(self._out, select.POLLIN)
        poller.register(self._words, select.POLLIN)
        while (verdict := self.poll()) is None:
            left = self._deadline - self._monotonic()
            for fd, event in poller.poll(1000 * min(0.2, max(0.0, left))):
                if not event & select.POLLIN:
                    poller.unregister(fd)  # it said its last, and would be heard saying nothing for ever
        return verdict

    def end(self) -> None:
        """Give it up; calling it again does nothing."""
        if self._ended_already:
            return
        self._ended_already = True
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._out.close()
        os.close(self._words)

    def _finish(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.end()

    def _listen(self) -> bool:
        """Take in what was said and printed; False when the process closed what it says things with."""
        for _ in range(_MOST_READS):  # it may print faster than it is heard
            printed = _read(self._words)
            if not printed:
                break
            self._tail = (self._tail + printed)[-_TAIL_BYTES:]
        while part := _read(self._out.fileno()):
            self._said += part
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            message: Message = msgspec.json.decode(line, type=Message)
            if isinstance(message, Stage):
                if self._stage == "cpu":  # what the CPU took is not held against the delegate
                    self._deadline = self._monotonic() + self._timeout_seconds
                self._stage = message.name
            else:
                self._result = message
        return part is None

    def _ended(self) -> Verdict:
        """It is gone without a result."""
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listen()
        if self._result is not None:
            return self._judged(self._result)
        status, where = self._process.returncode, _STAGES[self._stage]
        if "MemoryError" in self._text() or "bad_alloc" in self._text():
            return self._verdict("too-much-memory", f"{self._limit()}, {where}")
        if status < 0:
            return self._verdict("crashed", f"signal {-status}, {where}")
        return self._verdict("exited", f"it ended the process with status {status}, {where}")

    def _judged(self, result: Found | Refused) -> Verdict:
        if isinstance(result, Refused):
            return self._refused(result)
        figures = {
            "ms_per_image": _milliseconds(result.seconds),
            "cpu_ms_per_image": _milliseconds(result.cpu_seconds),
            "cosine": result.cosine,
            "memory_bytes": result.memory_bytes,
            "load_seconds": result.load_seconds,
            "nodes": result.taken[0] if result.taken else None,
            "of_nodes": result.taken[1] if result.taken else None,
        }
        if self._question.use is None:
            return self._verdict("ok", "", **figures | {"ms_per_image": _milliseconds(result.cpu_seconds)})
        if result.grown_bytes > GROWN_BYTES:
            detail = f"it grew by {result.grown_bytes >> 20} MB over a few pictures"
            return self._verdict("too-much-memory", detail, **figures)
        if result.cosine is not None and not result.cosine >= self._min_cosine:
            detail = f"cosine {result.cosine:.3f} to the CPU's features, at least {self._min_cosine:g} is asked for"
            return self._verdict("wrong-numbers", detail, **figures)
        if result.taken is not None and result.taken[0] == 0:
            return self._verdict("takes-nothing", f"0 of {result.taken[1]} operators", **figures)
        if result.cpu_seconds is not None and (result.seconds or 0) > FASTER * result.cpu_seconds:
            return self._verdict("not-faster", _compared(result.seconds, result.cpu_seconds), **figures)
        return self._verdict("ok", "", **figures)

    def _refused(self, result: Refused) -> Verdict:
        words = result.words[:_WORDS]
        if result.stage == "cpu":
            return self._verdict("failed", f"the CPU cannot run the model: {words}")
        if result.stage == "load":
            return self._verdict(
                "system-too-old" if _WANTS_NEWER.search(words) else "dependency-missing", words
            )
        if "MemoryError" in words or "bad_alloc" in words:
            return self._verdict("too-much-memory", f"{self._limit()}: {words}")
        if result.stage == "create":
            return self._verdict("refused" if words else "refused-silently", words)
        return self._verdict("failed", f"{words}, {_STAGES[result.stage]}")

    def _limit(self) -> str:
        return f"it wanted more than {self._question.memory_bytes >> 20} MB"

    def _verdict(self, code: str, detail: str, **figures: object) -> Verdict:
        use = self._question.use
        return msgspec.convert(
            {
                "code": code,
                "detail": detail,
                "library": use.library if use else "",
                "words": self._text()[-_WORDS:],
                **figures,
            },
            Verdict,
        )

    def _text(self) -> str:
        text = self._tail.decode(errors="replace")
        lines = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
        return " | ".join(filter(None, lines))


def _read(fd: int) -> bytes | None:
    """What is there: None for nothing yet, empty for nothing ever again."""
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)


def _compared(seconds: float | None, cpu_seconds: float) -> str:
    return f"{1000 * (seconds or 0):.2f} ms a picture, the CPU {1000 * cpu_seconds:.2f} ms"
