"""This is where the agent becomes a service: signals, readiness, the watchdog of the service manager."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from edge_agent.agent.agent import Agent
from edge_agent.agent.calling import is_running
from edge_agent.agent.control import ControlSocket
from edge_agent.agent.opening import open_patiently

log = logging.getLogger(__name__)


class ServiceManager:
    """What systemd is told over `NOTIFY_SOCKET`; silent when nobody listens.

    The protocol is a datagram of `KEY=value` lines, described in sd_notify(3).
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        # Half of the time that systemd grants, as sd_watchdog_enabled(3) advises.
        self.ping_seconds = int(environment.get("WATCHDOG_USEC", "0")) / 2e6 or None
        self._monotonic = monotonic
        self._last_ping = -1e9
        self._said = ""

    def tell(self, text: str) -> None:
        """Send one message, for instance `READY=1`; trouble is logged, never raised."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagram:
                datagram.connect(self._address)
                datagram.sendall(text.encode())
        except OSError as error:
            log.warning("the service manager cannot be told %s: %s", text, error)

    def say(self, text: str) -> None:
        """Put a line into `systemctl status`; the same one again is not sent."""
        line = " ".join(text.split())  # a second line would be another message
        if line != self._said:
            self._said = line
            self.tell(f"STATUS={line}")

    def alive(self) -> None:
        """Ping the watchdog, not oftener than it asks for; called from the loop that proves progress."""
        now = self._monotonic()
        if self.ping_seconds is not None and now - self._last_ping >= self.ping_seconds:
            self._last_ping = now
            self.tell("WATCHDOG=1")


def serve(agent: Agent, control: ControlSocket, manager: ServiceManager | None = None) -> str:
    """Open an agent and run it until a signal or an error ends it; returns why it stopped.

    Readiness is announced once the store is open, the current version verified and the engine warm.  All the while the
    service manager has a line on how it is.
    """
    manager = manager or ServiceManager()
    if manager.ping_seconds is not None:
        agent.longest_wait_seconds = manager.ping_seconds / 2
    manager.say("starting: opening the store and verifying the current version")
    with _signals(agent):
        open_patiently(agent, give_up=lambda: is_running(control.home))
        try:
            control.open()
            manager.say("starting: warming the engine")
            agent.start()
            manager.tell("READY=1")

            def alive() -> None:
                manager.alive()
                if agent.status is not None:
                    manager.say(in_a_line(agent.status.facts))
                control.tend()

            agent.run(alive)
        finally:
            manager.tell("STOPPING=1")
            manager.say(f"stopping: {agent.stopping or 'after an error'}")
            control.close()
            agent.close(reason=agent.stopping or "error")
    return agent.stopping


def in_a_line(facts: Mapping[str, Any]) -> str:
    """How an agent is, by the facts of its status, for people who look at many services."""
    version = facts["version"]
    answers = f"version {version} answers" if version else "no version answers yet"
    line = f"{facts['state']}: {answers}, {facts['samples']} samples of {len(facts['labels'])} labels"
    return f"{line}; {facts['trouble']}" if facts.get("trouble") else line


@contextmanager
def _signals(agent: Agent) -> Iterator[None]:
    """SIGTERM and SIGINT end the loop; a second one ends the process at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        agent.stop(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
