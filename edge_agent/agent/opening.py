"""This is where an agent is opened although another process may be busy on its state directory for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edge_agent.agent.agent import Agent
from edge_agent.errors import HomeLockedError

PATIENCE_SECONDS = 10.0
"""A command that does its work itself holds the lock for seconds; an agent that runs is asked instead."""

LOOK_SECONDS = 0.1


def open_patiently(
    agent: Agent,
    give_up: Callable[[], bool] = lambda: False,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] | None = None,
) -> None:
    """Open an agent, and wait a little while another process holds the lock, until `give_up` says otherwise.

    Raises what `Agent.open` raises, `HomeLockedError` in the end.
    """
    wait = wait or threading.Event().wait
    deadline = monotonic() + PATIENCE_SECONDS
    while True:
        try:
            agent.open()
        except HomeLockedError:
            if agent.stopping or give_up() or monotonic() >= deadline:
                raise
            wait(LOOK_SECONDS)
        else:
            return
