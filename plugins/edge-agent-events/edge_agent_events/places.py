"""This is where lines go: to the end of a file, or to the standard input of a program."""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

RESTARTS = 5
RESTART_WINDOW_SECONDS = 60.0
"""A program that ends is started again, but not more than this often in this time."""

PATIENCE_SECONDS = 1.0
"""How long a program may take to end after the end of its input."""


class LineFile:
    """A file that lines are appended to; readable by its owner only.

    It is opened for every line: a file that log rotation moved away or deleted is simply made again, and
    one write of a whole line is never mixed with another program's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, line: bytes) -> None:
        """Append one line; raises `OSError`."""
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while line:
                line = line[os.write(fd, line) :]
        finally:
            os.close(fd)


class Program:
    """A program that reads lines on its standard input, and is started again when it ends.

    It is started with the first line. Its standard output is thrown away, its standard error is the agent's.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._command = list(command)
        self._monotonic = monotonic
        self._patience_seconds = patience_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._starts: deque[float] = deque(maxlen=RESTARTS + 1)
        self._closed = False

    def write(self, line: bytes) -> None:
        """Hand over one line, to a new process if the old one has ended; nothing after `close`.

        Raises `OSError` when the program cannot be started, or has ended too often to be started again now.
        """
        if self._closed:
            return
        if self._process is not None and self._hand_over(line):
            return
        self._start()
        if not self._hand_over(line):
            raise OSError(f"{self._command[0]} ended before it read a line")

    def close(self) -> None:
        """Let the program read the end of its input and end; one that does not is terminated, then killed."""
        self._closed = True
        process, self._process = self._process, None
        if process is None:
            return
        _close_input(process)
        for last_resort in (process.terminate, process.kill):
            try:
                process.wait(self._patience_seconds)
            except subprocess.TimeoutExpired:
                last_resort()
        process.wait()

    def _hand_over(self, line: bytes) -> bool:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def _start(self) -> None:
        ended = ""
        if self._process is not None:
            _close_input(self._process)
            ended = f"; the last time with status {self._process.wait()}"
            self._process = None
        now = self._monotonic()
        if len(self._starts) > RESTARTS and now - self._starts[0] < RESTART_WINDOW_SECONDS:
            raise OSError(f"{self._command[0]} ends again and again{ended}")
        self._starts.append(now)
        # In a session of its own, so that an interrupt typed for the agent lets it read its input to the end.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )


def _close_input(process: subprocess.Popen[bytes]) -> None:
    """Close without a complaint about lines that the program never read."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
