"""This is where it is noticed that an engine's process has grown too large, and that it does so again and again."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

LOOKS = 8
"""The memory of the process is looked at after so many pictures."""

ROOM = 1.5
"""A process may have so many times what it had when it was fresh, whatever the limit: a large extractor is no leak."""

SOON = 200
"""A process that was too large after fewer pictures than this leaks badly; the second in a row is said aloud."""

GROWN_BYTES = 256 << 20
"""A process with a vendor's library that has grown by this much leaks; it is ended before the board suffers."""


class MemoryBudget:
    """What one engine's process after the other takes, held against a limit in MB; 0: no limit.

    While a picture is decoded a process is larger than before and after, so one that is found too large is suspected
    first, and judged when nothing is with it.
    """

    def __init__(self, max_mb: float) -> None:
        self._max_bytes = int(max_mb * (1 << 20))
        self._fresh_bytes = 0
        self._pictures = 0
        self._in_a_row = 0
        self._accelerated = False
        self.suspected = False
        """Nothing more is to be sent until it is judged."""

    def begin(self, pid: int, *, accelerated: bool = False) -> None:
        """A fresh process is ready; one with an accelerator is never suspected, because that has a rule of its own."""
        self._accelerated = accelerated
        self._fresh_bytes = resident_bytes(pid)
        self._pictures = 0
        self.suspected = False

    def answered(self, pid: int) -> int:
        """A picture was answered; by how many bytes the process has grown, or 0 when it was not looked at."""
        self._pictures += 1
        if self._pictures % LOOKS:
            return 0
        now = resident_bytes(pid)
        self.suspected = not self._accelerated and self._is_over(now)
        return now - self._fresh_bytes

    def is_spent(self, pid: int) -> bool:
        """Whether a suspected process, which nothing is with, is too large, which is said; it must be replaced then."""
        if not self.suspected:
            return False
        self.suspected = False
        now = resident_bytes(pid)
        if not self._is_over(now):
            return False
        self._in_a_row = self._in_a_row + 1 if self._pictures < SOON else 0
        level = logging.WARNING if self._in_a_row > 1 else logging.INFO
        log.log(
            level,
            "the engine has %d MB after %d pictures, had %d MB at first, and is replaced%s",
            now >> 20,
            self._pictures,
            self._fresh_bytes >> 20,
            "; it leaks: another extractor, or a higher extractor.max_memory_mb, would help"
            if level == logging.WARNING
            else "",
        )
        return True

    def _is_over(self, now: int) -> bool:
        return self._max_bytes > 0 and now > max(self._max_bytes, ROOM * self._fresh_bytes)


def resident_bytes(pid: int) -> int:
    """Memory of a process, pages shared with others included; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")
