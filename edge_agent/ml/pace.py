"""This is where work is spread out, so that it takes no more than its share of the time."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

from edge_agent.errors import MLModelError, MLModelErrorCode


class Pace:
    """Rests between pieces of work so that work / (work + rest) is `duty`, the whole of a share of 0 to 1.

    One thread works, so this also bounds the share of one processor; what a numerical library starts beside it
    is for that library to bound. The shortest rest follows the longest piece: there is no rest within one.

    Raises `MLModelError` GENERIC for a share that is not above 0 and at most 1.
    """

    def __init__(self, duty: float, clock: Callable[[], float], wait: Callable[[float], object]) -> None:
        number = isinstance(duty, Real) and not isinstance(duty, bool)
        if not number or not 0.0 < duty <= 1.0:
            raise MLModelError(MLModelErrorCode.GENERIC, f"duty is above 0 and at most 1, not {duty!r}")
        self._rest_for_work = 1.0 / float(duty) - 1.0
        self._clock = clock
        self._wait = wait
        self._since = 0.0

    def begin(self) -> None:
        """A piece of work begins."""
        if self._rest_for_work:
            self._since = self._clock()

    def rest(self) -> None:
        """A piece of work is done; wait as long as it costs, then the next begins."""
        if self._rest_for_work:
            self._wait(max(self._clock() - self._since, 0.0) * self._rest_for_work)
            self.begin()
