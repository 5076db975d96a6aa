"""This is where it is held what all rows share: how large they are, the folder they work in, their pictures."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.memory import photograph, with_density

VGA = (640, 480)
LARGE = (4000, 3000)
ORIGINALS = 4
"""So many different pictures are drawn; the others are these with another number in their header."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything; the whole ends in five minutes on two quiet cores."""

    turns: int = 3
    pictures: int = 200
    """VGA, taken in at a turn."""
    large_pictures: int = 24
    """12 megapixels, taken in at a turn."""
    large: tuple[int, int] = LARGE
    questions: int = 60
    folder: int = 300
    samples: tuple[int, ...] = (1_000, 10_000, 100_000)
    retrained: tuple[int, ...] = (1_000, 10_000)
    starts: int = 3
    commands: int = 7
    idle_seconds: float = 30.0
    predictions: int = 10_000
    """At least so many while versions change."""
    publishes: int = 20


WHOLE = Sizes()
QUICK = Sizes(
    turns=2,
    pictures=100,
    large_pictures=8,
    questions=20,
    folder=60,
    samples=(1_000, 10_000),
    retrained=(1_000,),
    starts=2,
    commands=3,
    idle_seconds=12.0,
    predictions=1_000,
    publishes=4,
)


class Setting:
    """A folder to work in, the cores, and pictures that no agent has seen."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder = folder
        self.sizes = sizes
        self.cores = len(os.sched_getaffinity(0))
        self._used = 0
        self._drawn: dict[tuple[int, int], list[bytes]] = {}

    def place(self, name: str) -> Path:
        """A folder of a row's own, which is made."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def photographs(self, folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
        """Write so many JPEG files, each with a digest of its own, into a folder that is made."""
        if size not in self._drawn:
            self._drawn[size] = [photograph(seed, size) for seed in range(ORIGINALS)]
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for _ in range(count):
            self._used += 1
            data = with_density(self._drawn[size][self._used % ORIGINALS], self._used)
            paths.append(folder / f"{self._used:07}.jpg")
            paths[-1].write_bytes(data)
        return paths

    @cached_property
    def python(self) -> list[str]:
        """What starts Python as this one was started."""
        return [sys.executable]
