"""This is where it is decided how many pictures are looked at side by side: by the cores, and what others need of them.

One thread for each picture never is slower than one thread for all. There are as many as cores that others leave free,
and one more, which gets its share of a core that others use; more would only take turns.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.config import ExtractorConfig

MOST = 4
"""Without a setting: each thread costs the memory of an interpreter."""

LOOK_SECONDS = 0.5
"""For so long the processor is watched before what is found counts."""

REST_SECONDS = 0.2
"""Where nothing was looked at for longer, others may have begun or ended: what was found until then says nothing."""

LEAST_DEPTH, MOST_DEPTH = 4, 16
"""So many pictures are with the engine at once, in work or waiting for it: few, so that a question does not wait for
many others, unless they take so little time that the engine would wait for the agent, which also has to store them."""

AHEAD_SECONDS = 0.15
"""How long the engine is to have work while the agent does something else."""

_BUSY = (1, 2, 3, 6, 7, 8)
"""Of a core's line in /proc/stat: user, nice, system, interrupts, soft interrupts, what a hypervisor took."""


def most_abreast(config: ExtractorConfig) -> int:
    """How many pictures may be looked at at once: as `threads` says, or one for each core, up to `MOST`."""
    return config.threads or min(len(os.sched_getaffinity(0)), MOST)


class Abreast:
    """How many pictures to look at at once just now.

    `busy` gives the seconds that the processor has worked so far, and those of them for the process `pid` and this
    one; it may raise `OSError` where the system does not say.
    """

    def __init__(
        self,
        config: ExtractorConfig,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        cores: int | None = None,
        busy: Callable[[int], tuple[float, float]] | None = None,
    ) -> None:
        self._cores = cores or len(os.sched_getaffinity(0))
        self._fixed = config.threads > 0
        self._most = most_abreast(config) if self._fixed or cores is None else min(cores, MOST)
        self._monotonic = monotonic
        self._busy = busy or busy_seconds
        self._pid = 0
        self._looked_at = 0.0
        self._seconds: tuple[float, float] | None = None
        self._each_seconds = AHEAD_SECONDS
        self._rests_since: float | None = None
        self.now = self._most
        """What was decided last."""

    @property
    def depth(self) -> int:
        """How many pictures may be with the engine: more, the less time each takes."""
        enough = math.ceil(self.now * AHEAD_SECONDS / max(self._each_seconds, 1e-3))
        return min(MOST_DEPTH, max(LEAST_DEPTH, self.now + 2, enough))

    def answered(self, seconds: float, *, rests: bool = False) -> None:
        """A picture took so long in the engine, which `rests` until the next `look` where no other is with it."""
        self._each_seconds += (seconds - self._each_seconds) / 8
        if rests:
            self._rests_since = self._monotonic()

    def look(self, pid: int) -> int:
        """Decide anew if it is time; `pid` is the process that looks at pictures."""
        if self._fixed or self._most == 1:
            return self.now
        at = self._monotonic()
        since, self._rests_since = self._rests_since, None
        if since is not None and at - since > REST_SECONDS:
            self._pid, self._looked_at, self._seconds = pid, at, None  # a single picture costs no look
            return self.now
        elapsed = at - self._looked_at
        if pid == self._pid and elapsed < LOOK_SECONDS:
            return self.now
        before = self._seconds if pid == self._pid else None
        self._pid, self._looked_at, self._seconds = pid, at, None
        try:
            self._seconds = whole, own = self._busy(pid)
        except (OSError, ValueError, IndexError):
            return self.now
        if before is not None:
            others = (whole - before[0] - (own - before[1])) / elapsed
            free = int(self._cores - others + 0.5)
            self.now = max(1, min(self._most, free + 1))
        return self.now


def busy_seconds(pid: int) -> tuple[float, float]:
    """Seconds that the cores that may be used have worked, and those for process `pid` and this one.

    Raises `OSError`, and `ValueError` or `IndexError` where /proc says it in another way.
    """
    tick = os.sysconf("SC_CLK_TCK")
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    lines = (line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines())
    whole = sum(int(line[place]) for line in lines if line and line[0] in ours for place in _BUSY) / tick
    times = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    mine = os.times()
    return whole, (int(times[11]) + int(times[12])) / tick + mine.user + mine.system
