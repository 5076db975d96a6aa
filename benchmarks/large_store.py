"""This is where an agent with very many samples is measured: start, status, prediction, ten more pictures, memory.

    OPENBLAS_NUM_THREADS=1 python benchmarks/large_store.py [--samples 1000 10000 100000] [--json FILE] [--profile]

The samples are made from numbers, not from pictures: features of 1280 numbers around the means of ten labels, as an
extractor gives them. The agent is the real one, with its store, its judging and its evidence, in a process of its own;
only its engine is faked, so that what is measured is what grows with the number of samples. An engine of its own needs
its memory besides, which does not.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.agent import Agent
from edge_agent.agent.delivery import deliver
from edge_agent.agent.heap import give_memory_back
from edge_agent.agent.home import Home
from edge_agent.agent.requests import Request
from edge_agent.config import Config, DropFolderConfig, LimitsConfig, UpdateConfig
from edge_agent.default_plugins import built_in_plugins
from edge_agent.plugins import load_plugins
from edge_agent.store.samples import NewSample, SampleStore
from edge_agent.testing import FakeEngine
from edge_agent.vision.engine import EngineFacts, Extraction

N_FEATURES = 1280
LABELS = tuple(f"label {number}" for number in range(10))
BATCH = 500
MORE = 10
PATIENCE_SECONDS = 3600
ROUNDS = 3

_MEANS = np.abs(np.random.default_rng(1).normal(size=(len(LABELS), N_FEATURES))).astype(np.float32)


def features(digest: bytes, label: int) -> NDArray[np.float32]:
    """What a picture of a label looks like: the mean of its label and as much of its own, float32 [1280]."""
    own = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return np.asarray(_MEANS[label] + np.abs(own.normal(size=N_FEATURES)), dtype=np.float32)


class Numbers(FakeEngine):
    """An engine whose pictures are texts such as `3 a name`, of the label with that number."""

    def __init__(self, *arguments: Any, monotonic: Callable[[], float]) -> None:
        super().__init__(*arguments, monotonic=monotonic)
        self.facts = self._fake_facts = EngineFacts("numbers", "numbers:1", N_FEATURES, "none", "cpu", 0)

    def _look(self, key: object, data: bytes, variant: str = "") -> Extraction:  # noqa: ARG002 - as its parent's
        digest = hashlib.sha256(data)
        row = features(digest.digest(), int(data.split()[0]))
        return Extraction(key, digest.hexdigest(), row, 4, 3, None, permanent=True, seconds=0.0)


def fill(home: Path, count: int) -> None:
    """Put `count` samples into the store of a home, whose pictures were not archived."""
    place = Home(home)
    place.make()
    with SampleStore(place.database_path) as store:
        for start in range(0, count, BATCH):
            store.add(
                [sample(number) for number in range(start, min(start + BATCH, count))],
                "numbers:1",
            )


def sample(number: int) -> NewSample:
    """One of the samples that were there before."""
    digest, label = hashlib.sha256(f"sample {number}".encode()), number % len(LABELS)
    return NewSample(
        digest.hexdigest(),
        LABELS[label],
        f"{number}.jpg",
        "",
        30_000,
        640,
        480,
        features(digest.digest(), label),
    )


def mark(name: str) -> float:
    """A figure of this process in /proc/self/status, in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {name}")


def written() -> int:
    """Bytes that this process had the kernel write so far."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


class Living:
    """An open agent that is driven until something holds."""

    def __init__(self, home: Path, drop: Path) -> None:
        config = Config(
            drop_folder=DropFolderConfig(path=str(drop), after_intake="delete"),
            update=UpdateConfig(min_new_samples=MORE),
            limits=LimitsConfig(max_celsius=0.0, on_battery="work"),
        )
        plugins = load_plugins(config.plugins, built_in=built_in_plugins(config), entry_points=[])
        self.agent = Agent(home, config, plugins, drop_folder=drop, make_engine=Numbers)
        self.drop = drop

    def until(self, holds: Callable[[], bool]) -> float:
        """Step as the daemon does; the seconds that took."""
        begin = time.monotonic()
        while not holds():
            self.agent.step_when_due()
            if time.monotonic() - begin > PATIENCE_SECONDS:
                sys.exit(f"gave up after {PATIENCE_SECONDS} s: {self.agent.facts()}")
        return time.monotonic() - begin

    def ask(self, name: str, fds: tuple[int, ...] = (), **arguments: Any) -> tuple[float, Any]:
        """The seconds an answer took, and the answer."""
        request = Request(name, arguments, list(fds))
        self.agent.ask(request)
        return self.until(request.reply.done), request.reply.result()

    def add(self, first: int) -> tuple[float, float, float]:
        """Deliver some pictures: seconds until a version of them is published, those of the processor, MB written."""
        sources = self.drop.parent / "sources"
        sources.mkdir(exist_ok=True)
        before, bytes_before, processor = self.agent.facts()["version"], written(), time.process_time()
        for number in range(first, first + MORE):
            picture = sources / f"{number}.jpg"
            picture.write_text(f"{number % len(LABELS)} picture {number}")
            deliver(self.drop, LABELS[number % len(LABELS)], [picture])
        seconds = self.until(lambda: self.agent.facts()["version"] != before and not self.agent.updating)
        return seconds, time.process_time() - processor, (written() - bytes_before) / 1e6


def child(folder: Path, phase: str, *, profile: bool) -> dict[str, float]:
    """The figures of one life of the agent: the first, which learns everything, or the next."""
    drop = folder / "drop"
    for label in LABELS:
        (drop / label).mkdir(parents=True, exist_ok=True)
    give_memory_back()
    begin, processor = time.monotonic(), time.process_time()
    living = Living(folder / "home", drop)
    if phase == "next":
        # The watch of a folder that somebody needs begins with the agent; nothing is due yet.
        living.agent.open()
        living.agent.start()
        found = {"start s": time.monotonic() - begin, "start, processor s": time.process_time() - processor}
    else:
        living.agent.open()
        living.agent.start()
        found = {"first update s": living.until(lambda: living.agent.facts()["version"] is not None)}
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    if phase == "next":
        living.agent.step()
        found["status ms"] = statistics.median(1000 * living.ask("status")[0] for _ in range(5))
        picture = folder / "question.jpg"
        picture.write_text("3 a question")
        taken = []
        for _ in range(5):
            seconds, (answer,) = living.ask(
                "predict", (os.open(picture, os.O_RDONLY),), names=["question.jpg"]
            )
            assert answer["label"] == LABELS[3], answer
            taken.append(1000 * seconds)
        found |= {"first predict ms": taken[0], "predict ms": statistics.median(taken[1:])}
        added = [living.add(round_ * MORE) for round_ in range(ROUNDS)]
        found |= {
            "ten more, first s": added[0][0],
            "ten more s": statistics.median(seconds for seconds, _, _ in added[1:]),
            "ten more, processor s": statistics.median(seconds for _, seconds, _ in added[1:]),
            "ten more, MB written": statistics.median(size for _, _, size in added),
        }
        found["samples"] = living.agent.facts()["samples"]
    profiler.disable()
    found["VmHWM MB"] = mark("VmHWM")
    found["VmRSS MB"] = mark("VmRSS")
    living.agent.close()
    if profile:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(60)
    return found


def in_child(folder: Path, phase: str, *, profile: bool) -> dict[str, float]:
    """As `child`, in a process of its own."""
    command = [sys.executable, __file__, "--child", str(folder), phase, *(["--profile"] if profile else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return dict(json.loads(done.stdout))


def main() -> int:
    """Measure every number of samples and print the table."""
    parser = argparse.ArgumentParser(description="What grows with the number of samples an agent holds.")
    parser.add_argument("--samples", type=int, nargs="+", default=[1_000, 10_000, 100_000], metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--profile", action="store_true", help="say where the time goes, on stderr")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "PHASE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(Path(arguments.child[0]), arguments.child[1], profile=arguments.profile)))
        return 0
    table: dict[int, dict[str, float]] = {}
    for count in arguments.samples:
        with tempfile.TemporaryDirectory(prefix="edge-agent-large-") as temporary:
            folder = Path(temporary)
            fill(folder / "home", count)
            first = in_child(folder, "first", profile=False)
            then = in_child(folder, "next", profile=arguments.profile)
            size = sum(path.stat().st_size for path in (folder / "home").rglob("*") if path.is_file())
        table[count] = {
            "first update s": first["first update s"],
            "first update, VmHWM MB": first["VmHWM MB"],
            **then,
            "home MB": size / 1e6,
        }
    print(f"{'samples':<24}" + "".join(f"{count:>12,}" for count in table))
    for name in next(iter(table.values())):
        print(f"{name:<24}" + "".join(f"{found[name]:>12.2f}" for found in table.values()))
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
