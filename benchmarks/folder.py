"""This is where a folder of pictures becomes a published version, against a plain script that does what it must."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.setting import Setting
from benchmarks.table import Row
from edge_agent.cli.pictures import LABELS, write_pictures
from edge_agent.config import DropFolderConfig

SCRIPT = Path(__file__).with_name("plain_script.py")


def seconds(command: list[str]) -> float:
    """How long a command takes that must succeed."""
    begin = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{command[1:]}: {(done.stderr.strip() or done.stdout).splitlines()[-1]}")
    return time.perf_counter() - begin


def folder(setting: Setting) -> Iterator[Row]:
    """From nothing to a version, each turn in a new home; and ten pictures more by the same means."""
    place = setting.place("folder")
    count = math.ceil(setting.sizes.folder / len(LABELS))
    write_pictures(place / "pictures", count, seed=5)
    ours, plain, again, plain_again = [], [], [], []
    for turn in range(setting.sizes.turns):
        home, drop = place / f"home-{turn}", place / f"drop-{turn}"
        shutil.copytree(place / "pictures", drop)
        once = [
            *setting.python,
            "-m",
            "edge_agent.cli",
            "--home",
            str(home),
            "run",
            "--once",
            "--drop",
            str(drop),
        ]
        script = [*setting.python, str(SCRIPT), str(place / "pictures"), str(place / "plain.npz")]
        ours.append(seconds(once))
        plain.append(seconds(script))
        write_pictures(drop, 2, seed=100 + turn)
        again.append(seconds(once))
        plain_again.append(seconds(script))
    samples = count * len(LABELS)
    settling = f"{DropFolderConfig().settle_seconds:g} s of it until the files have settled"
    yield Row(
        f"folder of {samples} to a version", "s", ours, "plain script of scikit-learn", plain, note=settling
    )
    yield Row(
        f"ten more than {samples}, a command",
        "s",
        again,
        "plain script, everything again",
        plain_again,
        note=settling,
    )
