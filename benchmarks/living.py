"""This is where a daemon is started for a benchmark, heard as a service manager hears it, watched and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.memory import family
from benchmarks.setting import Setting
from edge_agent.agent.client import Client, connect

PATIENCE_SECONDS = 600.0
EVERY_SECONDS = 0.005
SETTINGS = """
[update]
min_new_samples = 10
[limits]
max_celsius = 0.0
on_battery = "work"
min_free_memory_mb = 0.0
"""


class Daemon:
    """`edge-agent run` on a home, from the moment it says that it is ready."""

    def __init__(self, setting: Setting, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        (home / "edge-agent.toml").write_text(SETTINGS, encoding="utf-8")
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the daemon has ended
        self._folder = tempfile.TemporaryDirectory(prefix="ea-")
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(f"{self._folder.name}/notify")
        self._ready = threading.Event()
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            [*setting.python, "-m", "edge_agent.cli", "--home", str(home), "run"],
            stdin=subprocess.DEVNULL,
            stdout=self._words,
            stderr=self._words,
            env=os.environ | {"NOTIFY_SOCKET": f"{self._folder.name}/notify"},
        )
        threading.Thread(target=self._listen, daemon=True).start()
        while not self._ready.wait(0.5):
            if self.process.poll() is not None or time.perf_counter() - begin > PATIENCE_SECONDS:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(self.complaint("did not get ready"))
        self.ready_seconds = self._ready_at - begin
        self.processor_seconds = self.processor()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._words.close()
        self._folder.cleanup()

    def _listen(self) -> None:
        """Hear everything: a service manager that did not would make it wait one day."""
        while b"STOPPING=1" not in (said := self._manager.recv(4096)):
            if b"READY=1" in said:
                self._ready_at = time.perf_counter()
                self._ready.set()

    def complaint(self, what: str) -> str:
        """What it did not do, with the last line it said."""
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").splitlines()
        return f"the daemon {what}: {lines[-1] if lines else 'it said nothing'}"

    def client(self) -> Client:
        """Somebody to ask it."""
        return connect(self.home)

    def facts(self) -> dict[str, Any]:
        """What its status file says."""
        return dict(json.loads((self.home / "status.json").read_text(encoding="utf-8")))

    def pointer(self) -> str:
        """Which version answers, as its file says; empty before the first."""
        try:
            return (self.home / "models" / "current").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def until(self, holds: Callable[[], bool], what: str, patience: float = PATIENCE_SECONDS) -> float:
        """Look again and again; the seconds that took."""
        begin = time.perf_counter()
        while not holds():
            if self.process.poll() is not None or time.perf_counter() - begin > patience:
                raise RuntimeError(self.complaint(f"did not {what}"))
            time.sleep(EVERY_SECONDS)
        return time.perf_counter() - begin

    def processor(self) -> float:
        """Processor seconds of it and its engine."""
        total = 0.0
        for pid in family(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def thread_seconds(self) -> float:
        """Processor seconds of the threads that live, to the nanosecond: for times in which none ends."""
        return sum(
            int(task.joinpath("schedstat").read_text(encoding="ascii").split()[0]) / 1e9
            for pid in family(self.process.pid)
            for task in Path(f"/proc/{pid}/task").iterdir()
        )

    def written(self) -> int:
        """Bytes that it and its engine had the kernel write."""
        total = 0
        for pid in family(self.process.pid):
            lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
            total += int(dict(line.split(": ") for line in lines)["write_bytes"])
        return total
