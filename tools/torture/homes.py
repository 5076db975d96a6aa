"""This is where the small homes are made that everything is tried on, and where commands are run."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLUGIN = HERE / "plugin"

COLOURS = {"red": (200, 40, 40), "green": (40, 190, 60), "blue": (50, 60, 200)}
LONG_AGO = 1_600_000_000


@dataclass
class Given:
    """What a home was given: pictures by their digest with their labels, and what is to become of them."""

    labels: dict[str, str] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    """Those in the drop folder."""
    delivered: set[str] = field(default_factory=set)
    """Those that the operation puts there: stored if it says so, and else perhaps."""
    bad: set[str] = field(default_factory=set)
    """Files that are no pictures."""
    victims: set[str] = field(default_factory=set)
    """Those that the operation is to forget."""
    relabelled: dict[str, str] = field(default_factory=dict)
    """Those that it gives another label."""
    versions: set[int] = field(default_factory=set)


def environment(compiled: Path, *, compile_more: bool = False) -> dict[str, str]:
    """What commands run in: this checkout, the plugin, compiled modules in a folder of their own.

    `compile_more`: also write modules there that are not compiled yet, which is none of the agent's own writes.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("EDGE_AGENT", "PYTEST"))}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGIN)]),
        "PYTHONPYCACHEPREFIX": str(compiled),
        "PYTHONDONTWRITEBYTECODE": "" if compile_more else "1",
        "OPENBLAS_NUM_THREADS": "1",
        "COLUMNS": "200",
    }


def edge_agent(
    home: Path,
    *arguments: str,
    before: tuple[str, ...] = (),
    timeout: float = 300.0,
    compile_more: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run one command on a home to its end; `before` is put in front of it."""
    return subprocess.run(
        [*before, sys.executable, "-m", "edge_agent.cli", "--home", str(home), *arguments],
        env=environment(home.parents[1] / "compiled", compile_more=compile_more),
        cwd=home.parent,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def copy_home(source: Path, target: Path) -> None:
    """A copy of a home with times of change, without sharing anything with it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def picture(path: Path, label: str, seed: int, side: int = 16) -> str:
    """Draw a small PNG of a label's colour and say its digest."""
    rng = random.Random(f"{label}/{seed}")
    image = Image.new("RGB", (side, side))
    image.putdata(
        [
            tuple(max(0, min(255, one + rng.randint(-30, 30))) for one in COLOURS[label])
            for _ in range(side * side)
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def settings(*, learn: bool, real: bool) -> str:
    """A configuration; `real` looks with the embedded extractor."""
    name = "" if real else 'name = "torture-eyes"\n'
    return (
        f"[drop_folder]\nsettle_seconds = 0\n[extractor]\n{name}timeout_seconds = 30\n"
        "[learning]\nheld_out_fraction = 0.0\n[update]\nquiet_seconds = 0\nkeep_versions = 2\n"
        f"[plugins.torture-eyes]\nlearn = {str(learn).lower()}\n"
    )


def make_home(home: Path, *, real: bool) -> Given:
    """A home with twelve samples of three labels and two versions, and nothing that waits."""
    given = Given()
    (home / "drop").mkdir(parents=True)
    (home / "edge-agent.toml").write_text(settings(learn=True, real=real))
    for numbers in (range(3), range(3, 4)):
        for label in COLOURS:
            for number in numbers:
                digest = picture(home / "drop" / label / f"{label}{number}.png", label, number)
                given.labels[digest] = label
        done = edge_agent(home, "run", "--once", compile_more=True)
        if done.returncode or "version" not in done.stdout:
            raise SystemExit(f"torture: the home cannot be made: {done.stdout}{done.stderr}")
    given.versions = {1, 2}
    return given
