"""This is where work that failed rests before it is tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 30.0
"""A rest doubles while trouble lasts, so that it costs little, but not beyond what a person who mended it
would wait."""


@dataclass(frozen=True)
class _Pause:
    until: float
    trouble: str
    seconds: float


class Pauses:
    """Kinds of work, by name, that rest after a failure; each is logged when its trouble is new."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._pauses: dict[str, _Pause] = {}

    def rest(self, name: str, trouble: str) -> None:
        """Let one kind of work rest."""
        before = self._pauses.get(name)
        seconds = REST_SECONDS
        if before is not None:
            seconds = min(2 * before.seconds, LONGEST_REST_SECONDS)
        if before is None or before.trouble != trouble:
            log.error("%s pauses: %s", name, trouble)
        self._pauses[name] = _Pause(self._monotonic() + seconds, trouble, seconds)

    def rests(self, name: str) -> bool:
        """Whether a kind of work rests now."""
        pause = self._pauses.get(name)
        return pause is not None and self._monotonic() < pause.until

    def well(self, name: str) -> None:
        """Note that a kind of work succeeded."""
        if self._pauses.pop(name, None):
            log.info("%s goes on", name)

    def trouble(self, name: str) -> str:
        """What a kind of work failed with last, until it succeeds; empty when it is well."""
        pause = self._pauses.get(name)
        return pause.trouble if pause else ""

    @property
    def troubles(self) -> list[str]:
        """What is wrong now, in words."""
        return [pause.trouble for pause in self._pauses.values()]

    @property
    def ends(self) -> list[float]:
        """The monotonic times at which something is tried again."""
        return [pause.until for pause in self._pauses.values()]
