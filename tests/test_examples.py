"""The examples run as their readers would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNKNOWN = ["unknown"] * 3


def run(folder: Path) -> list[tuple[str, dict[str, list[str]]]]:
    """The program in a process of its own: each line it prints, with the answers listed below it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "stickers.py", "--folder", folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: list[tuple[str, dict[str, list[str]]]] = []
    for line in done.stdout.splitlines():
        if line.startswith(" "):
            name, *answers = line.split()
            told[-1][1][name] = answers
        else:
            told.append((line, {}))
    return told


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.timeout(300)
def test_checklist_88_stickers_are_learned_saved_known_after_a_restart_and_reset(tmp_path):
    """Everything is unknown; three drawings and an update, and others of it are recognised; so is a second sticker;
    a new process still knows both; reset to the factory, all is unknown again, and figures never shown always are."""
    folder = tmp_path / "stickers"
    nothing = dict.fromkeys(("star", "heart", "house", "wave"), UNKNOWN)
    star = {**nothing, "star": ["star"] * 3}
    both = {**star, "heart": ["heart"] * 3}

    first = run(folder)
    factory = content(folder / "factory")
    assert [answers for _, answers in first] == [nothing, star, both, {}]
    assert "knows nothing yet" in first[0][0]
    assert "three drawings of a star; generation 1" in first[1][0]
    assert "three drawings of a heart; generation 2" in first[2][0]

    restarted = run(folder)
    assert [answers for _, answers in restarted] == [both, nothing]
    assert restarted[0][0] == "Restarted: generation 2 knows star and heart:"
    assert "Reset" in restarted[1][0]
    assert content(folder / "factory") == factory


@pytest.mark.timeout(300)
def test_checklist_88_the_model_and_its_updates_weigh_kilobytes(tmp_path):
    """The factory model is linked to its extractor: less than 5 kB; every generation less than 50 kB."""
    folder = tmp_path / "stickers"
    told = run(folder)
    generations = sorted((folder / "mine" / "versions").iterdir())

    assert re.match(r"A factory model of \d\.\d kB, linked", told[0][0])
    assert sum(map(len, content(folder / "factory").values())) < 5_000
    assert len(generations) == 2
    assert all(sum(map(len, content(one).values())) < 50_000 for one in generations)
    # Not a folder of this machine: the link survives that edge_agent is installed elsewhere.
    assert all(b"$BUNDLE_IDENTIFIER(edge_agent)" in content(one)["model/model.json"] for one in generations)
