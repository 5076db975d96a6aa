"""This is where the threads that the engine chooses are measured against one thread, in quiet and under load."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.setting import VGA, Setting
from benchmarks.table import Row
from edge_agent.config import Config, ExtractorConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.vision.engine import Engine
from edge_agent.vision.preprocessing import load_card

NOISE = 0.95
"""Nothing slower than this is called slower: two runs of the same differ by as much."""


def rate(engine: Engine, paths: list[Path]) -> float:
    """Pictures a second."""
    begin = time.perf_counter()
    for seen in engine.extract((path, os.open(path, os.O_RDONLY)) for path in paths):
        if seen.features is None:
            raise RuntimeError(f"{seen.key}: {seen.error}")
    return len(paths) / (time.perf_counter() - begin)


@contextlib.contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many other programs that compute without end."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def threads(setting: Setting) -> Iterator[Row]:
    """Rows of a quiet machine, and of one where another program wants a core, or all of them."""
    config, card = Config(), load_card(CARD_PATH)
    paths = setting.photographs(setting.place("threads"), setting.sizes.pictures, VGA)
    one = Engine(card, config.pictures, ExtractorConfig(threads=1))
    chosen = Engine(card, config.pictures, ExtractorConfig())
    try:
        for engine in (one, chosen):
            rate(engine, paths[: max(1, len(paths) // 4)])
        for load in sorted({0, 1, setting.cores}):
            with busy_cores(load):
                rate(chosen, paths)  # it has to see what others do first
                ours, single = [], []
                for turn in range(setting.sizes.turns):
                    if turn % 2:
                        single.append(rate(one, paths))
                    ours.append(rate(chosen, paths))
                    if not turn % 2:
                        single.append(rate(one, paths))
            name = f"engine's own threads, {load or 'no'} busy core{'s' if load != 1 else ''}"
            yield Row(name, "/s", ours, "one thread", single, NOISE, at_least=True, note="never slower")
    finally:
        one.close()
        chosen.close()
