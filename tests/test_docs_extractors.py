"""Every command of docs/extractors.md is run, one after the other, by an owner who has some pictures."""

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
from edge_agent.default_plugins.extractors import CARD_PATH

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "extractors.md").read_text(encoding="utf-8")
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)).splitlines()
MODEL = "tm_mobilenet_v2_0.35_224_quant_cls4.tflite"


def agent(home: Path, *arguments: str) -> str:
    """Run one command beside the home; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.cli", *arguments],
        env={**os.environ, "EDGE_AGENT_HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=home.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_commands_of_the_guide_run(tmp_path: Path, testdata: Path) -> None:
    """Afterwards the next run publishes a version of the extractor that was added."""
    home = tmp_path / "home"
    write_pictures(home / "drop", per_label=8, seed=3, labels=["mug", "key"])
    write_pictures(tmp_path / "pictures", per_label=4, seed=4, labels=["mug", "key"])
    (home / "edge-agent.toml").write_text("[drop_folder]\nsettle_seconds = 0\n")
    shutil.copy(testdata / "models" / MODEL, tmp_path / "mobilenet.tflite")
    agent(home, "run", "--once")

    old = home / "extractors" / "old"
    shutil.copytree(CARD_PATH.parent, old)
    card = json.loads((old / CARD_PATH.name).read_bytes())
    (old / "old.json").write_text(json.dumps({**card, "name": "old"}))
    said = {command: agent(home, *command.split()[1:]) for command in COMMANDS}

    assert {command.split()[2] for command in COMMANDS} == {
        "list",
        "inspect",
        "add",
        "compare",
        "use",
        "remove",
    }
    assert "of your own" in said["edge-agent extractors compare"]
    assert "mine is used from now on" in said["edge-agent extractors use mine"]
    assert not old.exists()
    agent(home, "run", "--once")
    assert '"extractor": "mine"' in agent(home, "versions", "--json")
