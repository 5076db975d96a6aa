"""This is where the board is asked how it is: warm, short of power, busy, full."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

FRESH_SECONDS = 1.0
"""A reading is good for this long; a dozen small files are read for each."""

FIND_SECONDS = 600.0
"""Where those files are is looked for this often: a sensor or a battery may be plugged in, but seldom is."""

PROCESSOR_ZONES = ("cpu", "soc", "pkg", "core")
"""In the type of a thermal zone; other zones (a battery, a radio) say nothing about the processor."""

NOW_THROTTLED = {0: "too little voltage", 1: "slowed down", 2: "slowed down", 3: "slowed down for its heat"}
"""The bits of `get_throttled` that are about now, as Raspberry Pi's documentation gives them; 16 and above are about
the time since the start."""

_GLOBS_OF_THROTTLED = (
    "sys/devices/platform/*/*firmware*/get_throttled",
    "sys/devices/platform/*firmware*/get_throttled",
)
_BEFORE_ANY_CLOCK = (
    1_577_836_800.0  # 2020: a board without a clock begins in 1970, or when its image was made
)


@dataclass(frozen=True)
class BoardReading:
    """How a board is; what could not be read is None, and none of it is an error."""

    celsius: float | None = None
    """Of the hottest part of the processor."""
    throttled: str = ""
    """What the firmware does about power or heat now; empty when nothing, or when it says nothing."""
    load: float | None = None
    """Of the last minute, by core."""
    free_memory_mb: float | None = None
    """What programs could still have (`MemAvailable`)."""
    free_disk_mb: float | None = None
    """Where the state directory lies."""
    on_battery: bool | None = None
    """None where there is no battery."""
    minute: int | None = None
    """Of the day, by the board's time zone; None while its clock is not set."""
    moment: float = 0.0
    """When it was read, in seconds of the monotonic clock."""


UNKNOWN_BOARD = BoardReading()


class Board:
    """The board below `root`, whose `sys` and `proc` are read, with the disk that `home` lies on."""

    def __init__(
        self,
        home: Path,
        root: Path = Path("/"),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._root = root
        self._monotonic = monotonic
        self._wall = wall
        self._read_at: float | None = None
        self._reading = UNKNOWN_BOARD
        self._places: dict[str, list[Path]] = {}
        self._placed_at = -math.inf

    def reading(self) -> BoardReading:
        """How it is now, or was within the last second."""
        now = self._monotonic()
        if self._read_at is None or now - self._read_at >= FRESH_SECONDS:
            self._read_at = now
            if now - self._placed_at >= FIND_SECONDS:
                self._places, self._placed_at = {}, now
            self._reading = BoardReading(
                celsius=self._celsius(),
                throttled=self._throttled(),
                load=self._load(),
                free_memory_mb=self._free_memory_mb(),
                free_disk_mb=self._free_disk_mb(),
                on_battery=self._on_battery(),
                minute=self._minute(),
                moment=now,
            )
        return self._reading

    def _celsius(self) -> float | None:
        named: list[float] = []
        others: list[float] = []
        for zone in self._found("sys/class/thermal/thermal_zone*"):
            value = _number(_text(zone / "temp"))
            if value is None or not -40_000 < value < 200_000:  # a sensor that is off says such things
                continue
            kind = _text(zone / "type").lower()
            (named if any(part in kind for part in PROCESSOR_ZONES) else others).append(value / 1000)
        return max(named or others, default=None)

    def _throttled(self) -> str:
        found: list[str] = []
        for pattern in _GLOBS_OF_THROTTLED:
            for path in self._found(pattern):
                try:
                    bits = int(_text(path), 16)
                except ValueError:
                    continue
                found += [words for bit, words in NOW_THROTTLED.items() if bits >> bit & 1]
        for sensor in self._found("sys/class/hwmon/hwmon*"):
            if _text(sensor / "name") == "rpi_volt" and _text(sensor / "in0_lcrit_alarm") == "1":
                found.append(NOW_THROTTLED[0])
        return " and ".join(dict.fromkeys(found))

    def _load(self) -> float | None:
        value = _number((_text(self._root / "proc/loadavg").split() or [""])[0])
        return None if value is None else value / (os.cpu_count() or 1)

    def _free_memory_mb(self) -> float | None:
        for line in _text(self._root / "proc/meminfo").splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                value = _number((rest.split() or [""])[0])
                return None if value is None else value / 1024
        return None

    def _free_disk_mb(self) -> float | None:
        try:
            room = os.statvfs(self._home)
        except OSError:
            return None
        return room.f_bavail * room.f_frsize / 1e6

    def _on_battery(self) -> bool | None:
        batteries, mains = [], []
        for supply in self._found("sys/class/power_supply/*"):
            if _text(supply / "scope") == "Device":  # of a mouse or a headset
                continue
            if _text(supply / "type") == "Battery":
                if _text(supply / "present") != "0":
                    batteries.append(_text(supply / "status"))
            elif (online := _text(supply / "online")) != "":
                mains.append(online != "0")
        if not batteries:
            return None
        # A battery that supplies the board says so; its adapter is asked only where none does.
        return "Discharging" in batteries or (bool(mains) and not any(mains))

    def _minute(self) -> int | None:
        now = self._wall()
        if now < _BEFORE_ANY_CLOCK:
            return None
        try:
            local = datetime.fromtimestamp(now).astimezone()
        except (OverflowError, ValueError, OSError):  # a clock beyond what this system can tell the time of
            return None
        return local.hour * 60 + local.minute

    def _found(self, pattern: str) -> list[Path]:
        if pattern not in self._places:
            try:
                self._places[pattern] = sorted(self._root.glob(pattern))
            except OSError:
                return []
        return self._places[pattern]


def _text(path: Path) -> str:
    """What a small file says; empty when it cannot be read: drivers answer with many errors."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
