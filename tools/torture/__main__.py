"""This is where an agent is tortured: `scripts/torture --help`.

Every operation that changes something runs as a real `edge-agent` process under strace, again and again, and each
time another of its writes, syncs, renames or removals is the last one, or fails. Then it is looked at what is left,
an agent is started as after a power cut, and it is looked again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import Value, get_context
from pathlib import Path
from shutil import which
from typing import Any

from faults import CALLS, KINDS, LASTING, Point, count_calls, strike
from homes import LONG_AGO, Given, edge_agent, make_home
from invariants import TEMPORARY, settled, wrecked
from operations import OPERATIONS, prepare
from starting import run_once

REALLY = 7
"""Of so many faults one is followed by a real command, the others by a copy of this process."""

CRASHED = ("Traceback", "unexpected ")
"""What no command says that only met a disk that failed."""


class Rack:
    """Tries one point after the other in a folder of its own."""

    def __init__(self, base: Path, given: Given, folder: Path, *, real: bool) -> None:
        self._base = base
        self._given = given
        self._folder = folder
        self._real = real
        folder.mkdir(parents=True, exist_ok=True)

    def count(self, operation: str) -> dict[str, int]:
        """How many faults each kind of call offers."""
        for name in ("rehearsal", "home"):
            scene, arguments = prepare(
                operation, self._base, self._given, self._folder / name, real=self._real
            )
        return count_calls(scene.home, arguments)

    def try_point(self, point: Point) -> tuple[bool, list[str]]:
        """Whether the fault was met, and what was found wrong."""
        scene, arguments = prepare(
            point.operation, self._base, self._given, self._folder / "home", real=self._real
        )
        try:
            hit, done = strike(scene.home, arguments, point)
        except subprocess.TimeoutExpired:
            return True, ["it hangs"]
        problems = [f"it says {word!r}: {done.stderr}" for word in CRASHED if word in done.stderr]
        problems += [
            f"after the fault: {one}"
            for one in wrecked(scene.home, scene.given, damaged=point.operation == "rebuild")
        ]
        age_leftovers(scene.home / "drop")
        problems += self._start_again(scene.home, really=self._real or point.number % REALLY == 1)
        acknowledged = done.returncode == 0
        problems += [
            f"after the next start: {one}"
            for one in settled(scene.home, scene.given, acknowledged=acknowledged, operation=point.operation)
        ]
        return hit, problems

    def _start_again(self, home: Path, *, really: bool) -> list[str]:
        """Take in what waits and learn from it, as the next start does; what goes wrong.

        `really`: as a command like any other. Else in a copy of this process, which looks at pictures by itself: that
        is ten times as fast.
        """
        said = home.parent / "said"
        if really:
            done = edge_agent(home, "run", "--once")
            status = done.returncode
            said.write_text(done.stdout + done.stderr)
        else:
            status = run_once(home, said)
        return [f"the next start fails: {said.read_text()}"] if status else []


def age_leftovers(drop: Path) -> None:
    """Let a minute pass: an agent leaves young half-written files in its drop folder to whoever may write them."""
    for path in drop.rglob(f"{TEMPORARY}*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


def spread(points: list[Point], most: int) -> list[Point]:
    """At most so many of them, evenly over all."""
    if most <= 0 or most >= len(points):
        return points
    return [points[index * len(points) // most] for index in range(most)]


def points_of(counts: dict[str, dict[str, int]], kinds: list[str]) -> list[Point]:
    """Every fault that the operations offer, in a fixed order."""
    return [
        Point(operation, call, kind, number)
        for operation, calls in counts.items()
        for call in CALLS
        for kind in kinds
        for number in range(1, calls.get(call, 0) + 1)
    ]


def remembered(path: Path | None) -> set[str]:
    """The points that an earlier run found in order."""
    if path is None or not path.exists():
        return set()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["point"] for line in lines if not line["problems"]}


def parse() -> argparse.Namespace:
    """What is to be done."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--points", type=int, default=0, metavar="N", help="at most N faults, evenly spread; 0: all"
    )
    parser.add_argument("--minutes", type=float, default=0, metavar="M", help="stop after M minutes")
    parser.add_argument(
        "--only", metavar="OPERATION:CALL:KIND:N", help="repeat this one, and say all about it"
    )
    parser.add_argument("--operations", default=",".join(OPERATIONS), help="of " + ", ".join(OPERATIONS))
    parser.add_argument(
        "--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}; {LASTING} behind one: it lasts"
    )
    parser.add_argument(
        "--real", action="store_true", help="look with the embedded extractor, which is slower"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="so many at once")
    parser.add_argument(
        "--journal", type=Path, metavar="FILE", help="write results there, and pass over what it has"
    )
    return parser.parse_args()


def main() -> int:
    """0 when nothing bad was found."""
    options = parse()
    if which("strace") is None:
        print("torture: strace is not installed; on Debian: apt install strace", file=sys.stderr)
        return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        base = Path(folder, "base", "home")
        given = make_home(base, real=options.real)
        racks = [Rack(base, given, Path(folder, str(job)), real=options.real) for job in range(options.jobs)]
        if options.only:
            points = [Point.parse(options.only)]
        else:
            counts = {name: racks[0].count(name) for name in options.operations.split(",")}
            every = points_of(counts, options.kinds.split(","))
            print(f"{len(every)} faults are there to be tried", flush=True)
            points = spread(every, options.points)
        known = remembered(options.journal)
        points = [point for point in points if str(point) not in known]
        return report(points, racks, options, started)


_mine: list[Rack] = []
"""The rack of this worker."""


def take_rack(racks: list[Rack], taken: Any) -> None:
    """Give each worker a rack of its own."""
    with taken.get_lock():
        _mine.append(racks[taken.value])
        taken.value += 1


def attempt(task: tuple[Point, float]) -> tuple[Point, bool, list[str]] | None:
    """Try one point, unless it is too late."""
    point, end = task
    return None if time.monotonic() > end else (point, *_mine[0].try_point(point))


def report(points: list[Point], racks: list[Rack], options: argparse.Namespace, started: float) -> int:
    """Try the points, say what is bad, and at last how it went."""
    end = started + 60 * options.minutes if options.minutes else float("inf")
    tried = hits = bad = 0
    attempts = [(point, end) for point in points]
    with get_context("fork").Pool(len(racks), take_rack, (racks, Value("i", 0))) as pool:
        for outcome in pool.imap(attempt, attempts):
            if outcome is None:
                continue
            point, hit, problems = outcome
            tried, hits, bad = tried + 1, hits + hit, bad + bool(problems)
            if problems or options.only:
                print(point, *(problems or ["in order"]), sep="\n  ", flush=True)
            if options.journal:
                with options.journal.open("a") as file:
                    file.write(json.dumps({"point": str(point), "hit": hit, "problems": problems}) + "\n")
    print(f"{hits} points, {bad} bad ({tried - hits} were not met; {time.monotonic() - started:.0f} s)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
