"""What the service manager is told, over a real datagram socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.calling import is_running
from edge_agent.agent.control import ControlSocket
from edge_agent.agent.daemon import ServiceManager, in_a_line, serve
from edge_agent.agent.home import Home
from edge_agent.agent.status import read_status
from edge_agent.config import Config, LearningConfig
from edge_agent.hookspecs import hookimpl
from edge_agent.store.registry import VersionRegistry
from edge_agent.testing import FakeClock

from .conftest import Bench

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def manager_socket(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def test_readiness_is_one_datagram(tmp_path: Path, manager_socket: socket.socket) -> None:
    """READY=1 arrives as it was sent."""
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")}).tell("READY=1")

    assert manager_socket.recv(100) == b"READY=1"


def test_the_watchdog_is_pinged_twice_in_its_time(tmp_path: Path, manager_socket: socket.socket) -> None:
    """E2: pings go out at half the granted time, however often the loop turns."""
    clock = FakeClock()
    manager = ServiceManager(
        {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000"}, monotonic=clock
    )
    for _ in range(100):
        manager.alive()
        clock.advance(0.1)
    manager.tell("END")
    heard = iter(lambda: manager_socket.recv(100), b"END")

    assert list(heard) == [b"WATCHDOG=1", b"WATCHDOG=1"]


def test_nobody_listens() -> None:
    """E2: without NOTIFY_SOCKET, or with a dead one, nothing happens."""
    ServiceManager({}).tell("READY=1")
    manager = ServiceManager({"NOTIFY_SOCKET": "/nonexistent/notify"})
    manager.tell("READY=1")
    manager.alive()

    assert manager.ping_seconds is None


def heard(manager_socket: socket.socket) -> list[str]:
    """Every message until now."""
    manager_socket.setblocking(False)
    messages = []
    try:
        while True:
            messages.append(manager_socket.recv(1000).decode())
    except BlockingIOError:
        return messages


def test_e2_ready_means_ready(tmp_path: Path, manager_socket: socket.socket, bench: Bench) -> None:
    """E2: READY=1 comes after the store, the version and the engine; every change of how it is has a line."""
    bench.open()
    for label in ("cat", "dog"):
        bench.show(label, *(f"{label} {i}" for i in range(4)))
    bench.agent.start()
    bench.settle()
    bench.close()
    before: list[str] = []

    class Listener:
        @hookimpl
        def agent_started(self, version: int) -> None:
            before.extend(heard(manager_socket))
            assert version == 1

        @hookimpl
        def agent_stopping(self, reason: str) -> None:
            assert reason == "SIGTERM"

    agent = bench.make(None, [("listener", Listener())])
    step = agent.step

    def step_and_stop(patience_seconds: float = 0.0) -> None:
        step(0.0)
        os.kill(os.getpid(), signal.SIGTERM)

    agent.step = step_and_stop  # type: ignore[method-assign]
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    reason = serve(agent, ControlSocket(Home(bench.home), agent), ServiceManager(environment))

    assert reason == "SIGTERM"
    assert before == [
        "STATUS=starting: opening the store and verifying the current version",
        "STATUS=starting: warming the engine",
    ]
    assert heard(manager_socket) == [
        "READY=1",
        "WATCHDOG=1",
        "STATUS=ok: version 1 answers, 8 samples of 2 labels",
        "STOPPING=1",
        "STATUS=stopping: SIGTERM",
    ]


def test_e2_no_readiness_without_a_store(tmp_path: Path, manager_socket: socket.socket, bench: Bench) -> None:
    """E2: when the state directory cannot be used, nothing says READY=1."""
    bench.open()  # which holds the lock
    agent = bench.make()
    agent.stopping = "so it does not wait for the lock"
    with pytest.raises(Exception, match="is in use by process"):
        serve(
            agent,
            ControlSocket(Home(bench.home), agent),
            ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")}),
        )

    assert [message for message in heard(manager_socket) if not message.startswith("STATUS=")] == []


def test_e3_training_stops_at_once(bench: Bench) -> None:
    """E3: SIGTERM in the middle of a training that takes hours ends it; the samples are there for the next start."""
    endless = LearningConfig(head="sgd", parameters={"epochs": 100_000, "mini_batch_size": 1})
    batches: list[int] = []

    class Listener:
        @hookimpl
        def mini_batch_end(self, event: Any) -> None:
            batches.append(1)
            if len(batches) == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    agent = bench.make(Config(learning=endless), [("listener", Listener())])
    for label in ("cat", "dog"):
        bench.show(label, *(f"{label} {i}" for i in range(4)))
    step = agent.step

    def step_and_let_time_pass(patience_seconds: float = 0.0) -> None:
        step(min(patience_seconds, 0.1))
        bench.clock.advance(1.0)

    agent.step = step_and_let_time_pass  # type: ignore[method-assign]
    reason = serve(agent, ControlSocket(Home(bench.home), agent), ServiceManager({}))

    assert reason == "SIGTERM"
    assert batches
    assert len(batches) < 100_000
    bench.open()
    bench.agent.start()
    bench.settle()
    assert bench.ask("status")["version"] == 1


def test_a_line_is_one_line(tmp_path: Path, manager_socket: socket.socket) -> None:
    """What went wrong is in it, and nothing in it can be another message; the same line is sent once."""
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    facts: dict[str, Any] = {"state": "degraded", "version": None, "samples": 0, "labels": {}}
    for _ in range(2):
        manager.say(in_a_line({**facts, "trouble": "disk\nMAINPID=1"}))

    assert heard(manager_socket) == [
        "STATUS=degraded: no version answers yet, 0 samples of 0 labels; disk MAINPID=1"
    ]


@pytest.mark.slow
def test_e2_e3_a_service_from_start_to_end(tmp_path: Path, manager_socket: socket.socket) -> None:
    """E2, E3: the real program: it answers when it says READY=1, goes on pinging, and ends with 0 after SIGTERM."""
    manager_socket.settimeout(60)
    home = tmp_path / "home"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent.cli", "--home", str(home), "run"],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OPENBLAS_NUM_THREADS": "1",
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": "400000",
            },
            stderr=log,
        )
    messages: list[str] = []

    def wait_for(wanted: str, times: int = 1) -> None:
        while times:
            messages.append(manager_socket.recv(1000).decode())
            times -= messages[-1] == wanted

    try:
        wait_for("READY=1")
        assert is_running(home)
        assert (read_status(home / "status.json") or {})["state"] == "ok"
        assert VersionRegistry(home / "models").current() is None
        assert "WATCHDOG=1" not in messages
        wait_for("WATCHDOG=1", times=3)
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        wait_for("STOPPING=1")
        assert process.wait(timeout=60) == 0
        print(f"ended {time.monotonic() - told:.2f} s after SIGTERM")
    finally:
        process.kill()
        process.wait()
    assert (read_status(home / "status.json") or {})["state"] == "stopped"
