"""This is where a daemon is watched: while it does nothing, and while it takes in photographs."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.living import EVERY_SECONDS, Daemon
from benchmarks.memory import Watch
from benchmarks.setting import Setting
from benchmarks.table import Row

STILL_SECONDS = 6.0
"""At rest is what has written nothing for so long, and learns nothing: the agent looks around every five."""
PATIENCE_SECONDS = 60.0
"""One that is not at rest after that is measured as it is."""
PROMISED_IDLE_MB = 110.0
PROMISED_PEAK_MB = 160.0
"""While pictures are taken in, and while it learns."""
NOTHING_PER_CENT = 0.05
"""What rounds to 0.0 %."""


def at_rest(setting: Setting, daemon: Daemon) -> Iterator[Row]:
    """Rows of memory, processor and disk when nobody asks for anything, then of memory at intake."""
    rest(daemon)
    watch = Watch(daemon.process.pid)
    used, wrote, begin = daemon.thread_seconds(), daemon.written(), time.perf_counter()
    time.sleep(setting.sizes.idle_seconds)
    seconds = time.perf_counter() - begin
    used, wrote = daemon.thread_seconds() - used, daemon.written() - wrote
    watch.look()
    yield memory("idle memory", watch, PROMISED_IDLE_MB)
    share, note = 100.0 * used / seconds, f"in {seconds:.0f} s"
    yield Row("idle processor", "%", [share], "promised", [0.0], tolerance=NOTHING_PER_CENT, note=note)
    yield Row("idle, written", "bytes", [float(wrote)], "promised", [0.0])

    watch = Watch(daemon.process.pid)
    drop = daemon.home / "drop" / "photograph"
    drop.mkdir(parents=True, exist_ok=True)
    count = setting.sizes.large_pictures
    paths = setting.photographs(setting.place("photographs"), count, setting.sizes.large)
    for path in paths:
        path.rename(drop / path.name)

    def gone() -> bool:
        watch.look()
        time.sleep(EVERY_SECONDS)
        return not any(drop.iterdir())

    daemon.until(gone, "take in the photographs")
    yield memory("peak memory, large intake", watch, PROMISED_PEAK_MB)


def rest(daemon: Daemon) -> None:
    """Wait until what follows the last work is over: another update, the status, what memory is given back."""
    end = time.monotonic() + PATIENCE_SECONDS
    still, wrote = time.monotonic(), daemon.written()
    while time.monotonic() < min(end, still + STILL_SECONDS):
        time.sleep(0.2)
        facts = daemon.facts()
        now = daemon.written()
        if now != wrote or facts["updating"] or facts["pending"]:
            still, wrote = time.monotonic(), now


def memory(name: str, watch: Watch, promised_mb: float) -> Row:
    """The highest memory of both processes, with the pages that both map counted once, beside what was promised.

    PSS would count less where other programs run Python too; the sum of RSS counts libraries twice.
    """
    rss, pss = (watch.peak[kind] / 1024 for kind in ("Rss", "Pss"))
    both = watch.peak["Once"] / 1024
    note = f"sum of RSS {rss:.0f} MB, of PSS {pss:.0f} MB"
    return Row(name, "MB", [both], "promised, for both processes", [promised_mb], 1.0, note=note)
