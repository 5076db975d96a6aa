"""This is where the time from a new picture to a new version is measured, on a running daemon.

    python benchmarks/reaction.py [--data DIR] [--samples 300] [--rounds 5]

The daemon knows 300 samples; then `edge-agent add kiwi x.jpg` delivers one of a thing it has never seen.  The
clock runs from the end of that command to the moment the pointer to the current version has moved.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from edge_agent.cli.pictures import LABELS, write_pictures

LIMIT_SECONDS = 3.0
PATIENCE_SECONDS = 120.0
EVERY_SECONDS = 0.005
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def kiwi(path: Path, rng: random.Random) -> Path:
    """A cut kiwi on a table."""
    picture = Image.new("RGB", (640, 480), tuple(rng.randint(120, 230) for _ in range(3)))
    pen = ImageDraw.Draw(picture)
    x, y, r = rng.randint(240, 400), rng.randint(200, 280), rng.randint(120, 180)
    for part, colour in ((1.0, (110, 80, 45)), (0.92, (120, 170, 50)), (0.3, (225, 230, 180))):
        pen.ellipse((x - r * part, y - r * part, x + r * part, y + r * part), fill=colour)
    for step in range(40):
        turn, reach = step * math.tau / 40, r * rng.uniform(0.36, 0.55)
        at = (x + reach * math.cos(turn), y + reach * math.sin(turn))
        pen.ellipse((at[0] - 4, at[1] - 4, at[0] + 4, at[1] + 4), fill=(25, 25, 15))
    picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5))).save(path, quality=90)
    return path


def fill(drop: Path, data: Path | None, count: int) -> int:
    """Put `count` labelled pictures into a drop folder, from every label in turn; returns how many."""
    if data is None:
        return sum(map(len, write_pictures(drop, math.ceil(count / len(LABELS)), seed=1).values()))
    by_label = [
        sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
        for folder in sorted(data.iterdir())
        if folder.is_dir()
    ]
    in_turns = (path for row in itertools.zip_longest(*by_label) for path in row if path is not None)
    chosen = list(itertools.islice(in_turns, count))
    for path in chosen:
        (drop / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, drop / path.parent.name)
    return len(chosen)


def edge_agent(home: Path, *arguments: str) -> list[str]:
    """The command line of one command on a home."""
    return [sys.executable, "-m", "edge_agent.cli", "--home", str(home), *arguments]


def wait_until(holds: Callable[[], bool], what: str, daemon: subprocess.Popen[bytes]) -> float:
    """Look again and again until something holds; returns the seconds that took."""
    begin = time.monotonic()
    while not holds():
        if daemon.poll() is not None:
            sys.exit(f"the daemon ended with {daemon.returncode} while waiting for {what}")
        if time.monotonic() - begin > PATIENCE_SECONDS:
            sys.exit(f"waited {PATIENCE_SECONDS:.0f} s for {what}")
        time.sleep(EVERY_SECONDS)
    return time.monotonic() - begin


def read(path: Path) -> str:
    """The text of a file that may not be there yet."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def react(home: Path, folder: Path, rounds: int) -> list[float]:
    """Start the daemon, add one picture after the other, and take the time of each."""
    pointer, status = home / "models" / "current", home / "status.json"
    rng = random.Random(7)
    status.unlink(missing_ok=True)
    daemon = subprocess.Popen(edge_agent(home, "run"), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: '"ok"' in read(status), "the daemon to be ready", daemon)
        seconds = []
        for number in range(rounds):
            picture = kiwi(folder / f"kiwi{number}.jpg", rng)
            before = read(pointer)
            subprocess.run(
                edge_agent(home, "add", "kiwi", str(picture)), check=True, stdout=subprocess.DEVNULL
            )
            seconds.append(wait_until(lambda: read(pointer) != before, "a new version", daemon))  # noqa: B023
        question = edge_agent(home, "predict", "--json", str(kiwi(folder / "unseen.jpg", rng)))
        answer = json.loads(subprocess.run(question, check=True, stdout=subprocess.PIPE).stdout)[0]
        print(f"an unseen kiwi is called {answer['label']} ({answer['probability']:.0%})")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
    return seconds


def main() -> int:
    """Measure, print, and say by the exit status whether the limit held."""
    parser = argparse.ArgumentParser(description="Seconds from `edge-agent add` to the new version.")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="a folder of labelled folders (default: drawn)"
    )
    parser.add_argument(
        "--samples", type=int, default=300, metavar="N", help="known beforehand (default 300)"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="pictures added, one by one (default 5)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-agent-reaction-") as temporary:
        home, folder = Path(temporary, "home"), Path(temporary)
        known = fill(folder / "known", arguments.data, arguments.samples)
        subprocess.run(edge_agent(home, "run", "--once", "--drop", str(folder / "known")), check=True)
        seconds = react(home, folder, arguments.rounds)

    print(f"{known} samples known, {len(seconds)} times one more of a new label")
    print("each    " + "  ".join(f"{value:.2f}" for value in seconds) + " s")
    middle, longest = statistics.median(seconds), max(seconds)
    print(f"median  {middle:.2f} s   longest {longest:.2f} s   limit {LIMIT_SECONDS:.0f} s")
    held = longest <= LIMIT_SECONDS
    print("the limit holds" if held else "OVER THE LIMIT")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
