"""This is where it is measured what the engine's sandbox costs: how many pictures are looked at with it and without.

    OPENBLAS_NUM_THREADS=1 python benchmarks/sandbox.py [--quick] [--json FILE]

Two engines run at once, one in its sandbox. They take turns at the same pictures, a few at a time, and who begins
changes from turn to turn: whatever else the machine does hits both alike. What is compared is the processor time of
the two processes and the time that passed, each turn of one with its turn of the other. Small pictures are the hard
case: the smaller one is, the more of its time are calls to the kernel.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.vision.engine import Engine
from edge_agent.vision.preprocessing import load_card

SIZES = {"small": (160, 120), "camera": (1600, 1200)}
PICTURES = 20
"""So many in a turn."""
STARTS = 5


def written(folder: Path, size: tuple[int, int]) -> list[Path]:
    """JPEG files of clouds, all different."""
    rng = np.random.default_rng(7)
    paths = []
    for at in range(PICTURES):
        clouds = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size)
        file = io.BytesIO()
        clouds.save(file, "JPEG", quality=90)
        paths.append(folder / f"{size[0]}-{at}.jpg")
        paths[-1].write_bytes(file.getvalue())
    return paths


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used, in steps of a nanosecond."""
    return sum(
        int(task.joinpath("schedstat").read_text(encoding="ascii").split()[0]) / 1e9
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def turn(engine: Engine, paths: list[Path]) -> tuple[float, float]:
    """Milliseconds of processor time and of time for each picture."""
    pid = engine.start().pid
    used, begin = processor_seconds(pid), time.perf_counter()
    for seen in engine.extract((path, os.open(path, os.O_RDONLY)) for path in paths):
        if seen.error is not None:
            raise RuntimeError(f"{seen.key}: {seen.error}")
    passed = time.perf_counter() - begin
    scale = 1e3 / len(paths)
    return (processor_seconds(pid) - used) * scale, passed * scale


def compared(engines: dict[str, Engine], paths: list[Path], turns: int) -> dict[str, Any]:
    """Medians of each engine, and the median of the quotients of their turns."""
    found: dict[str, list[tuple[float, float]]] = {mode: [] for mode in engines}
    for at in range(turns + 1):
        for mode in sorted(engines, reverse=bool(at % 2)):
            figures = turn(engines[mode], paths)
            if at:  # the first turn fills the caches
                found[mode].append(figures)
    row: dict[str, Any] = {}
    for column, name in enumerate(("processor", "passed")):
        for mode, figures in found.items():
            row[f"{name}_{mode}_ms"] = statistics.median(one[column] for one in figures)
        quotients = [
            shut[column] / free[column] for free, shut in zip(found["off"], found["auto"], strict=True)
        ]
        row[f"{name}_cost"] = statistics.median(quotients) - 1
    return row


def starts(count: int) -> dict[str, float]:
    """Seconds until an engine is ready."""
    found: dict[str, list[float]] = {"off": [], "auto": []}
    for _ in range(count):
        for mode, seconds in found.items():
            begin = time.perf_counter()
            with contextlib.closing(made(mode)) as engine:
                engine.start()
                seconds.append(time.perf_counter() - begin)
    return {mode: statistics.median(seconds) for mode, seconds in found.items()}


def made(mode: Any) -> Engine:
    """An engine with the built-in extractor."""
    return Engine(load_card(CARD_PATH), PicturesConfig(), ExtractorConfig(sandbox=mode))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few turns, to see that it works")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    turns = 2 if options.quick else 40
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as open_engines:
        engines = {
            mode: open_engines.enter_context(contextlib.closing(made(mode))) for mode in ("off", "auto")
        }
        facts = engines["auto"].start()
        print(f"{facts.runtime}; sandbox: {facts.sandbox}")
        rows = {name: compared(engines, written(Path(folder), size), turns) for name, size in SIZES.items()}
    ready = starts(1 if options.quick else STARTS)
    for name, row in rows.items():
        print(
            f"{name} pictures: {row['processor_off_ms']:.2f} ms of processor time without,"
            f" {row['processor_auto_ms']:.2f} ms with it ({row['processor_cost']:+.1%}); passed:"
            f" {row['passed_off_ms']:.2f} and {row['passed_auto_ms']:.2f} ms ({row['passed_cost']:+.1%})"
        )
    print(f"ready after {ready['off']:.2f} s without, {ready['auto']:.2f} s with it")
    if options.json:
        document = {"turns": turns, "sandbox": str(facts.sandbox), "rows": rows, "ready": ready}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
