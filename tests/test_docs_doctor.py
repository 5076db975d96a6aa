"""Every command of docs/doctor.md is run, one after the other, where somebody has put a wrong label in."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.cli.pictures import write_pictures

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)).splitlines()
DIGEST, LABEL = "54f95c912a96", "lemon"
"""What the guide writes for a picture and its right label."""


def agent(home: Path, *arguments: str, cwd: Path | None = None) -> str:
    """Run one command; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.cli", *arguments],
        env={**os.environ, "EDGE_AGENT_HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_commands_of_the_guide_run(tmp_path):
    """A key among the mugs is found by the first commands; the one that is printed puts it right."""
    home = tmp_path / "home"
    pictures = write_pictures(home / "drop", per_label=12, seed=3, labels=["mug", "key"])
    shutil.move(pictures["key"][0], home / "drop" / "mug" / "stray.jpg")
    write_pictures(tmp_path / "pictures" / "test", per_label=2, seed=4, labels=["mug", "key"])
    write_pictures(tmp_path / "pictures" / "unseen", per_label=4, seed=5, labels=["mug", "key"])
    (home / "edge-agent.toml").write_text("[drop_folder]\nsettle_seconds = 0\n")
    agent(home, "run", "--once")
    told = json.loads(agent(home, "doctor", "--json"))
    [found] = [one for one in told["findings"] if one["kind"] == "label-errors"]
    assert [one["source"] for one in found["samples"]] == ["stray.jpg"]
    assert found["command"] == f"edge-agent samples relabel {found['samples'][0]['digest'][:12]} key"

    assert {command.split()[1] for command in COMMANDS} == {"doctor", "samples", "review", "evaluate"}
    for command in COMMANDS:
        words = [
            {DIGEST: found["samples"][0]["digest"][:12], LABEL: "key"}.get(word, word)
            for word in command.split()
        ]
        agent(home, *words[1:], cwd=tmp_path)

    told = json.loads(agent(home, "doctor", "--json"))
    assert not [one for one in told["findings"] if one["kind"] == "label-errors"]


def test_every_kind_of_finding_is_in_the_table():
    """A kind that is written in the code is explained in the guide."""
    sources = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "edge_agent" / "doctor").glob("*.py")
    )
    kinds = set(re.findall(r'Finding\(\s*"([a-z-]+)"', sources))
    assert len(kinds) > 8

    assert sorted(kind for kind in kinds if f"`{kind}`" not in GUIDE and not kind.startswith("setup-")) == []
