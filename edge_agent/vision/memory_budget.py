"""This is where it is noticed that an engine's process has grown too large, and that it does so again and again."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

LOOKS = 8
"""The memory of the process is looked at after so many pictures."""

ROOM = 1.5
"""A process may have so many times what it had when it was fresh, whatever the limit: a large extractor is no leak."""

SOON = 200
"""A process that was too large after fewer pictures than this leaks badly; the second in a row is said aloud."""

ROOM_SHARE = 0.75
"""Of the memory it may have, so much may be in use where something is to be added: pictures need some, too."""

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


class OwnRoom:
    """Whether a process that is to stay below a limit in MB has room for something more; 0: no limit.

    Made while it may still open files, and when it is fresh: it is then judged as `MemoryBudget` judges it.
    """

    def __init__(self, max_mb: float) -> None:
        self._file: int | None = None
        self._bytes = 0.0
        if max_mb:
            with suppress(OSError):
                self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
                self._bytes = ROOM_SHARE * max(max_mb * (1 << 20), ROOM * self._now())

    def __call__(self) -> bool:
        """Whether there is; also where the system does not say how much there is."""
        return self._file is None or self._now() < self._bytes

    def _now(self) -> int:
        assert self._file is not None
        return int(os.pread(self._file, 256, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """Memory of a process, pages shared with others included; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")
