"""This is where time moves when a test says so."""

from __future__ import annotations


class FakeClock:
    """A clock that moves when it is told to; calling it gives seconds, as `time.monotonic` and `time.time` do."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time now, in seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
