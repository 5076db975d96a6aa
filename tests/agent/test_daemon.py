"""What the service manager is told, over a real datagram socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.agent.daemon import ServiceManager
from edge_agent.testing import FakeClock


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
    """Pings go out at half the granted time, however often the loop turns."""
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
    """Without NOTIFY_SOCKET, or with a dead one, nothing happens."""
    ServiceManager({}).tell("READY=1")
    manager = ServiceManager({"NOTIFY_SOCKET": "/nonexistent/notify"})
    manager.tell("READY=1")
    manager.alive()

    assert manager.ping_seconds is None
