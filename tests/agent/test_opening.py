"""A state directory that is busy for a moment is waited for, not for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_agent.agent.opening import PATIENCE_SECONDS, open_patiently
from edge_agent.errors import HomeLockedError
from edge_agent.testing import FakeClock

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


def test_it_opens_as_soon_as_the_other_is_done(bench: Bench) -> None:
    """A command that holds the lock for a second delays the next one by a second."""
    holder, clock = bench.open(), FakeClock()
    agent = bench.make()

    def wait(seconds: float) -> None:
        clock.advance(seconds)
        if clock.now > 1001.0:
            holder.close()

    open_patiently(agent, monotonic=clock, wait=wait)
    agent.close()
    bench.agent = None
    assert 1001.0 < clock.now < 1002.0


def test_it_gives_up_in_the_end(bench: Bench) -> None:
    """Who holds the lock is named after ten seconds."""
    bench.open()
    clock = FakeClock()
    with pytest.raises(HomeLockedError, match=r"process \d+"):
        open_patiently(bench.make(), monotonic=clock, wait=clock.advance)
    assert clock.now - 1000.0 == pytest.approx(PATIENCE_SECONDS, abs=0.2)


def test_it_gives_up_at_once_when_there_is_somebody_to_ask(bench: Bench) -> None:
    """When the holder turns out to answer questions, or the agent is to stop, there is nothing to wait for."""
    bench.open()
    clock = FakeClock()
    with pytest.raises(HomeLockedError):
        open_patiently(bench.make(), give_up=lambda: True, monotonic=clock, wait=clock.advance)
    stopped = bench.make()
    stopped.stop("SIGTERM")
    with pytest.raises(HomeLockedError):
        open_patiently(stopped, monotonic=clock, wait=clock.advance)
    assert clock.now == 1000.0
