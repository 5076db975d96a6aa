"""This is where peak memory is measured while photographs of twelve megapixels are taken in.

    python benchmarks/memory.py [--pictures 60] [--before 500] [--keep DIR]

Both processes of the daemon are watched from outside.  RSS counts the pages of libraries that both use twice, "shared
once" does not, and PSS shares them out, also among other programs; VmHWM is each process's own highest mark, which
need not have been at the same moment.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageFilter

LIMIT_MB = 160
SIZE = (4000, 3000)
LABELS = ("beach", "forest", "kitchen", "market", "street")
SHARED_SECONDS = 1.0
EVERY_SECONDS = 0.02
PATIENCE_SECONDS = 1800


def photograph(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    """A JPEG, of 12 megapixels, with detail at every scale, three to five megabytes as cameras write them."""
    rng = random.Random(seed)
    picture = Image.new("RGB", size, (128, 128, 128))
    for cell in (500, 120, 30, 8, 3):
        small = (size[0] // cell + 1, size[1] // cell + 1)
        texture = Image.frombytes("RGB", small, rng.randbytes(small[0] * small[1] * 3))
        picture = Image.blend(
            picture, texture.resize(size, Image.Resampling.BICUBIC), 0.3 if cell > 8 else 0.1
        )
    grain = Image.frombytes("L", size, rng.randbytes(size[0] * size[1])).filter(ImageFilter.BoxBlur(0.6))
    picture = Image.blend(picture, grain.convert("RGB"), 0.07)
    with tempfile.TemporaryFile() as file:
        picture.save(file, "JPEG", quality=93)
        file.seek(0)
        return file.read()


def with_density(jpeg: bytes, number: int) -> bytes:
    """The same picture in other bytes: so many dots an inch, in the header that every JPEG of Pillow begins with."""
    assert jpeg[6:11] == b"JFIF\0"
    return jpeg[:14] + (number + 1).to_bytes(4, "big") + jpeg[18:]


def fill(drop: Path, count: int) -> int:
    """Put `count` photographs into the drop folder; returns their bytes."""
    originals = [photograph(seed) for seed in range(min(count, len(LABELS)))]
    total = 0
    for number in range(count):
        folder = drop / LABELS[number % len(LABELS)]
        folder.mkdir(parents=True, exist_ok=True)
        data = with_density(originals[number % len(originals)], number)
        (folder / f"{number:05}.jpg").write_bytes(data)
        total += len(data)
    return total


def fill_small(drop: Path, count: int) -> None:
    """Put `count` pictures of 640 x 480 into the drop folder, parts of the same photographs."""
    for column, label in enumerate(LABELS):
        (drop / label).mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(photograph(column))) as picture:
            for number in range(column, count, len(LABELS)):
                rng = random.Random(number)
                width = rng.randrange(1600, 4000)
                left, upper = rng.randrange(SIZE[0] - width + 1), rng.randrange(SIZE[1] - width * 3 // 4 + 1)
                part = picture.resize((640, 480), box=(left, upper, left + width, upper + width * 3 // 4))
                part.save(drop / label / f"small-{number:05}.jpg")


def kilobytes(path: Path, *names: str) -> dict[str, int]:
    """Named figures of a file below /proc, in KB; nothing when the process has gone."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    fields = (line.partition(":") for line in lines)
    return {name: int(value.split()[0]) for name, _, value in fields if name in names}


def family(pid: int) -> list[int]:
    """A process and everything it started."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text(encoding="ascii").split()
        ]
    except OSError:
        return [pid]
    return [pid, *(member for child in children for member in family(child))]


def shared_twice(pids: list[int]) -> int:
    """KB that the RSS of processes count more than once: pages of files, as libraries, that several of them map."""
    shared: dict[str, list[int]] = {}
    for pid in pids:
        own: dict[str, int] = {}
        try:
            lines = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        file = ""
        for line in lines:
            name, _, value = line.partition(":")
            if name in ("Shared_Clean", "Shared_Dirty"):
                if file:
                    own[file] = own.get(file, 0) + int(value.split()[0])
            elif "-" in name.partition(" ")[0]:
                file = line.partition("/")[1] + line.partition("/")[2]
        for file, kilobytes_of_it in own.items():
            shared.setdefault(file, []).append(kilobytes_of_it)
    return sum(sum(parts) - max(parts) for parts in shared.values())


class Watch:
    """The highest marks of a process and its children."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = {"Rss": 0, "Pss": 0, "Once": 0}
        self._shared, self._looked_at = 0, -math.inf
        self.alone = {"Rss": {}, "Pss": {}, "VmHWM": {}}

    def look(self) -> None:
        """Read everybody's figures once."""
        total = {"Rss": 0, "Pss": 0}
        for pid in family(self.pid):
            figures = kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Rss", "Pss")
            figures |= kilobytes(Path(f"/proc/{pid}/status"), "VmHWM")
            for name, value in figures.items():
                self.alone[name][pid] = max(value, self.alone[name].get(pid, 0))
                if name in total:
                    total[name] += value
        if (
            time.monotonic() - self._looked_at > SHARED_SECONDS
        ):  # it takes long to find out and hardly changes
            self._shared, self._looked_at = shared_twice(family(self.pid)), time.monotonic()
        total["Once"] = total["Rss"] - self._shared
        for name, value in total.items():
            self.peak[name] = max(self.peak[name], value)


def measure(home: Path, drop: Path) -> tuple[Watch, float]:
    """Run the agent once on the drop folder and watch it."""
    command = [
        sys.executable,
        "-m",
        "edge_agent.cli",
        "--home",
        str(home),
        "run",
        "--once",
        "--drop",
        str(drop),
    ]
    begin = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        watch = Watch(process.pid)
        while process.poll() is None:
            watch.look()
            if time.monotonic() - begin > PATIENCE_SECONDS:
                process.kill()
                sys.exit(f"gave up after {PATIENCE_SECONDS} s")
            time.sleep(EVERY_SECONDS)
    if process.returncode != 0:
        sys.exit(f"edge-agent ended with {process.returncode}")
    return watch, time.monotonic() - begin


def told(watch: Watch) -> None:
    """Print the highest marks."""
    print(f"{'MB':<22}{'agent':>8}{'children':>10}{'together':>10}{'limit':>8}")
    for name, meaning in (
        ("Pss", "PSS, shared in part"),
        ("Once", "RSS, shared once"),
        ("Rss", "RSS, shared twice"),
        ("VmHWM", "VmHWM, any moment"),
    ):
        alone = {pid: value / 1024 for pid, value in watch.alone.get(name, {}).items()}
        agent = alone.pop(watch.pid, 0.0)
        together = watch.peak[name] / 1024 if name in watch.peak else agent + sum(alone.values())
        each = f"{agent:>8.1f}{sum(alone.values()):>10.1f}" if name in watch.alone else f"{'':18}"
        print(f"{meaning:<22}{each}{together:>10.1f}{LIMIT_MB:>8}")


def main() -> int:
    """Measure, print the table, and say by the exit status whether the limit held."""
    parser = argparse.ArgumentParser(
        description="Peak memory of the agent and its engine with large photographs."
    )
    parser.add_argument("--pictures", type=int, default=60, metavar="N", help="how many (default 60)")
    parser.add_argument(
        "--before", type=int, default=0, metavar="N", help="learn so many small pictures first"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work here and leave everything there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-agent-memory-") as temporary:
        folder = arguments.keep or Path(temporary)
        if arguments.before:
            fill_small(folder / "drop", arguments.before)
            small, _ = measure(folder / "home", folder / "drop")
            print(f"while {arguments.before} small pictures were learned:")
            told(small)
        size = fill(folder / "drop", arguments.pictures)
        watch, seconds = measure(folder / "home", folder / "drop")

    mean_mb = size / arguments.pictures / 1e6
    print(f"{arguments.pictures} JPEG of {SIZE[0]} x {SIZE[1]}, {mean_mb:.1f} MB each, in {seconds:.1f} s")
    told(watch)
    held = watch.peak["Once"] / 1024 <= LIMIT_MB
    print("the limit holds" if held else "OVER THE LIMIT")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
