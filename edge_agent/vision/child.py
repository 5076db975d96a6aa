"""This is where the engine's process is started, heard and ended, seen from the agent."""

from __future__ import annotations

import math
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import msgspec

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import EngineError
from edge_agent.ml.augmentation import AugmentationSettings
from edge_agent.vision import wire
from edge_agent.vision.delegate_spec import DelegateUse
from edge_agent.vision.delegate_verdict import Code
from edge_agent.vision.preprocessing import ExtractorCard
from edge_agent.vision.spare_memory import ENVIRONMENT
from edge_agent.vision.throwaway import places_to_import_from

TAIL_BYTES = 4096
"""Of what the process prints, so much of the end is kept for messages."""

MOST_READS = 64
"""So many parts of what it prints are read at once, before anything else is looked after."""

PATIENCE_SECONDS = 1.0
"""How long an engine that was told to end may take before it is killed."""


class _EndedError(EngineError):
    """The process closed its end of the socket."""


class Child:
    """One engine process, its socket and its last words.

    Making one starts the process; `ready` waits until it can work. Whoever makes one must call `end`.
    """

    def __init__(
        self,
        card: ExtractorCard,
        pictures: PicturesConfig,
        extractor: ExtractorConfig,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        python: str = sys.executable,
        module: str = "edge_agent.vision.worker",
        augmentation: AugmentationSettings | None = None,
        delegate: DelegateUse | None = None,
    ) -> None:
        self._monotonic = monotonic
        self.failure: Code = "refused"
        """Why it did not get ready, once `ready` or `look` has raised."""
        self._name = card.name
        self._tail = b""
        self._ended = ""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._words, their_words = os.pipe()
        # A full pipe must never hold up the process: it then loses words instead of time.
        os.set_blocking(self._words, False)
        os.set_blocking(their_words, False)
        settings: dict[str, object] = {
            "fd": theirs.fileno(),
            "card": card,
            "pictures": pictures,
            "extractor": extractor,
        }
        if delegate is not None:
            settings["delegate"] = delegate
        if augmentation is not None:
            settings["augmentation"] = augmentation
        try:
            self._process = subprocess.Popen(
                [python, "-P", "-m", module, msgspec.json.encode(settings, enc_hook=str).decode()],
                stdin=subprocess.DEVNULL,
                stdout=their_words,
                stderr=their_words,
                pass_fds=[theirs.fileno()],
                env=_environment(python),
            )
        except OSError as error:
            self._socket.close()
            os.close(self._words)
            raise EngineError(f"the engine process cannot be started: {error}") from None
        finally:
            theirs.close()
            os.close(their_words)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._words, select.POLLIN)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def ready(self, timeout_seconds: float) -> wire.Ready:
        """Wait until the engine has loaded and tried its extractor; the process is ended when it fails.

        Raises `EngineError` with the engine's reason or its last words when it does not get that far in time.
        """
        ready = self.look(timeout_seconds)
        if ready is None:
            self.failure = "hung"
            how = self._ended_how(patience_seconds=0)
            raise EngineError(
                f"the engine with {self._name} did not start within {timeout_seconds:g} seconds ({how})"
            )
        return ready

    def look(self, timeout_seconds: float = 0.0) -> wire.Ready | None:
        """As `ready`, but None where it is not ready yet, and the process goes on."""
        failed = True
        try:
            received = self._receive(timeout_seconds)
            if received is None:
                failed = False
                return None
            message, _payload = received
            if isinstance(message, wire.Failed):
                raise EngineError(f"the engine cannot start: {message.reason}")
            if not isinstance(message, wire.Ready):
                raise EngineError(f"the engine said {type(message).__name__} before it was ready")
            failed = False
            return message
        except _EndedError:
            self.failure = "crashed"
            how = self._ended_how()
            if how.startswith("exit"):
                self.failure = "exited"
            raise EngineError(f"the engine with {self._name} ended before it was ready ({how})") from None
        finally:
            if failed:
                self.end()

    def ask(self, picture: wire.Picture, fd: int) -> None:
        """Hand a picture over; raises `OSError` when the engine is gone."""
        wire.send(self._socket, picture, fd=fd)

    def answer(self, timeout_seconds: float) -> tuple[wire.Answer, bytes] | None:
        """The next answer and its payload, or None when there was none in time.

        Raises `EngineError` when the engine is gone or talks nonsense.
        """
        received = self._receive(timeout_seconds)
        if received is None:
            return None
        message, payload = received
        if not isinstance(message, wire.Answer):
            raise EngineError(f"the engine said {type(message).__name__} instead of answering")
        return message, payload

    def end(self, patience_seconds: float = PATIENCE_SECONDS) -> str:
        """End the process, by force when it takes longer than `patience_seconds`, and say how it ended.

        What it says is the exit status or the signal; calling it again says the same.
        """
        if not self._ended:
            self._socket.close()
            try:
                self._process.wait(patience_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._listen()
            os.close(self._words)
            status = self._process.returncode
            self._ended = f"signal {-status}" if status < 0 else f"exit status {status}"
        return self._ended

    def last_words(self) -> str:
        """The end of what the process printed, on one line; whole once it was ended."""
        return " | ".join(line for line in self._tail.decode(errors="replace").splitlines() if line.strip())

    def _ended_how(self, patience_seconds: float = PATIENCE_SECONDS) -> str:
        how = self.end(patience_seconds)
        words = self.last_words()
        return f"{how}: {words}" if words else how

    def _receive(self, timeout_seconds: float) -> tuple[wire.Message, bytes] | None:
        if not self._wait(timeout_seconds):
            return None
        try:
            received = wire.receive(self._socket)
        except ConnectionResetError:
            received = None
        if received is None:
            raise _EndedError("the engine process ended")
        message, payload, fds = received
        for fd in fds:
            os.close(fd)
        return message, payload

    def _wait(self, timeout_seconds: float) -> bool:
        """Whether the socket has something to say within the time; what is printed meanwhile is taken in."""
        deadline = self._monotonic() + timeout_seconds
        while True:
            remaining = max(0.0, deadline - self._monotonic())
            heard = {fd for fd, _event in self._poll.poll(math.ceil(remaining * 1000))}
            if self._words in heard and not self._listen():
                self._poll.unregister(self._words)
            if self._socket.fileno() in heard:
                return True
            if not heard or not remaining:
                return False  # one that prints without end is not waited for any longer than a silent one

    def _listen(self) -> bool:
        """Take in what was printed; False once nothing more can come."""
        for _ in range(MOST_READS):  # it may print faster than it is heard
            try:
                part = os.read(self._words, 65536)
            except BlockingIOError:
                return True
            if not part:
                return False
            self._tail = (self._tail + part)[-TAIL_BYTES:]
        return True


class Successor:
    """A process that is to take over: it gets ready while another one answers."""

    def __init__(
        self,
        child: Child,
        use: DelegateUse | None,
        timeout_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.child = child
        self.use = use
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._deadline = monotonic() + timeout_seconds
        self._ready: wire.Ready | None = None

    def look(self) -> wire.Ready | None:
        """What it said when it was ready, or None as long as it is not; raises `EngineError` when it fails."""
        if self._ready is None:
            self._ready = self.child.look()
            if self._ready is None and self._monotonic() >= self._deadline:
                self._ready = self.child.ready(0.0)
        return self._ready

    def wait(self) -> wire.Ready:
        """Wait until it is ready; raises `EngineError` when it fails, or not in time."""
        if self._ready is None:
            self._ready = self.child.ready(self._timeout_seconds)
        return self._ready


def _environment(python: str) -> dict[str, str]:
    """The agent's environment, with native libraries told to stay small and single-threaded.

    One BLAS thread beats two on a busy board.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **ENVIRONMENT,
        "PYTHONFAULTHANDLER": "1",
    }
    if python == sys.executable:
        # The engine imports what the agent imports, from the same places, and nothing from the current
        # folder.
        environment["PYTHONPATH"] = places_to_import_from()
    return environment
