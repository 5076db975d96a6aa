"""This is where it is decided whether the board is fit for learning, from a reading of it."""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.agent.board import BoardReading
from edge_agent.config import LimitsConfig, minutes_of

LIMITS = "limits"
"""What a decision rests on that a limit made."""

COOLER = 5.0
"""Learning that stopped for heat goes on this many degrees below the limit: otherwise it would warm the board, stop,
cool it and start, all day."""
MORE = 1.25
"""Memory and disk must have this many times the limit before learning that stopped for them goes on."""
CALMER = 0.8
"""The load must fall to this share of its limit."""
STEADY_SECONDS = 10.0
"""What comes and goes by itself (voltage, a plug, a throttled clock) must have been well for this long."""


class Limits:
    """Says why the board is not to learn now; remembers what stopped it, so that it does not flutter.

    Heat, throttling, memory and disk protect the board and hold for everybody. Load, battery and quiet hours are for
    the comfort of its owner, who is not kept waiting when asking for an update.
    """

    def __init__(self, config: LimitsConfig) -> None:
        self._config = config
        self._reached: set[str] = set()
        self._seen: dict[str, float] = {}
        self._quiet = minutes_of(config.quiet_hours)

    def reached(self, reading: BoardReading, *, asked: bool = False) -> str:
        """Why not to learn now, in words with what to do; empty when nothing speaks against it.

        `asked` is for what a person waits for.
        """
        found = [*self._protecting(reading)]
        comfort = [*self._comforting(reading)]  # always looked at: what was reached is to be known
        return next(iter(found if asked else found + comfort), "")

    def _protecting(self, reading: BoardReading) -> Iterator[str]:
        config = self._config
        hot, cool = config.max_celsius, config.max_celsius - COOLER
        if self._above("celsius", reading.celsius, hot, cool):
            yield (
                f"the board is {reading.celsius:.0f} °C hot; learning goes on below {cool:.0f} °C"
                " (limits.max_celsius)"
            )
        throttled = reading.throttled if config.wait_while_throttled else ""
        if self._lately("throttled", reading.moment, now=bool(throttled)):
            yield (
                f"the board's firmware reports: {throttled or 'better since a moment'}; look at power supply and"
                " cooling (limits.wait_while_throttled)"
            )
        for what, free, least in (
            ("memory", reading.free_memory_mb, config.min_free_memory_mb),
            ("disk", reading.free_disk_mb, config.min_free_disk_mb),
        ):
            if self._below(what, free, least, least * MORE):
                yield (
                    f"{free:.0f} MB of {what} are free; learning goes on with {least * MORE:.0f} MB"
                    f" (limits.min_free_{what}_mb)"
                )

    def _comforting(self, reading: BoardReading) -> Iterator[str]:
        config = self._config
        if self._above("load", reading.load, config.max_load, config.max_load * CALMER):
            yield (
                f"the load is {reading.load:.1f} by core; learning goes on below {config.max_load * CALMER:.1f}"
                " (limits.max_load)"
            )
        drained = config.on_battery == "wait" and bool(reading.on_battery)
        if self._lately("battery", reading.moment, now=drained):
            yield "the board runs on its battery; learning waits for the mains (limits.on_battery)"
        if self._quiet and reading.minute is not None and _within(reading.minute, self._quiet):
            yield f"these are quiet hours, {config.quiet_hours} (limits.quiet_hours)"

    def _above(self, name: str, value: float | None, limit: float, well: float) -> bool:
        if not limit or value is None:
            return self._note(name, reached=False)
        return self._note(name, reached=value > (well if name in self._reached else limit))

    def _below(self, name: str, value: float | None, limit: float, well: float) -> bool:
        if not limit or value is None:
            return self._note(name, reached=False)
        return self._note(name, reached=value < (well if name in self._reached else limit))

    def _lately(self, name: str, moment: float, *, now: bool) -> bool:
        if now:
            self._seen[name] = moment
        return now or (name in self._seen and moment - self._seen[name] < STEADY_SECONDS)

    def _note(self, name: str, *, reached: bool) -> bool:
        (self._reached.add if reached else self._reached.discard)(name)
        return reached


def _within(minute: int, hours: tuple[int, int]) -> bool:
    begin, end = hours
    return begin <= minute < end if begin < end else minute >= begin or minute < end
