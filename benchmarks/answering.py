"""This is where one prediction by the running daemon is measured against decoding and inference in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bare import Bare
from benchmarks.living import Daemon
from benchmarks.setting import VGA, Setting
from benchmarks.table import Row


def taken(work: Callable[[Path], object], path: Path) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    work(path)
    return 1e3 * (time.perf_counter() - begin)


def answering(setting: Setting, daemon: Daemon) -> Iterator[Row]:
    """Rows of VGA and of 12 megapixels: the two take turns, picture by picture."""
    bare, client = Bare("draft"), daemon.client()
    sizes = setting.sizes
    for size, count in ((VGA, sizes.questions), (sizes.large, max(2, sizes.questions // 5))):
        folder = setting.place(f"questions-{size[0]}")
        paths = setting.photographs(folder, min(count, 12), size)
        for path in paths[:2]:
            bare.look(path)
            client.predict(path)
        asked, limit = [], []
        for turn in range(count):
            path = paths[turn % len(paths)]
            if turn % 2:
                limit.append(taken(bare.look, path))
            asked.append(taken(client.predict, path))
            if not turn % 2:
                limit.append(taken(bare.look, path))
        name = "one prediction, VGA" if size == VGA else "one prediction, 12 megapixels"
        yield Row(name, "ms", asked, "decode + invoke in process", limit, 1.15)
