"""This is where commands are timed from a cold start: a shell that asks for help, one picture predicted."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.setting import VGA, Setting
from benchmarks.table import Row

PROMISED_HELP_SECONDS = 0.15
PROMISED_PREDICT_SECONDS = 0.8


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds that passed and seconds of the processor, of a command and all it started."""
    before = os.times()
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    passed, after = time.perf_counter() - begin, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return passed, used


def commands(setting: Setting, home: Path) -> Iterator[Row]:
    """Rows of `--help` and of a prediction without a daemon, by the version in a home."""
    (picture,) = setting.photographs(setting.place("commands"), 1, VGA)
    base = [*setting.python, "-m", "edge_agent.cli"]
    for name, command, promised in (
        ("edge-agent --help", [*base, "--help"], PROMISED_HELP_SECONDS),
        (
            "cold predict, one picture",
            [*base, "--home", str(home), "predict", str(picture)],
            PROMISED_PREDICT_SECONDS,
        ),
    ):
        timed(command)
        passed, used = zip(*(timed(command) for _ in range(setting.sizes.commands)), strict=True)
        note = f"of the processor {statistics.median(used):.2f} s"
        yield Row(name, "s", passed, "promised", [promised], 1.0, note=note)
    nothing = [timed([*setting.python, "-c", "pass"])[0] for _ in range(setting.sizes.commands)]
    yield Row("python -c pass", "s", nothing, note="what no command of this kind can be below")
