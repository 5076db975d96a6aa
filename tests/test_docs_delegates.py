"""The page about accelerators: its commands run, its settings are taken, its table of reasons is whole."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from edge_agent.config import parse_config
from edge_agent.vision.delegate_verdict import Code
from edge_agent.vision.vouching import EVERY_PICTURES, EVERY_SECONDS, GROUP

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "delegates.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|toml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
PATIENCE = 300
"""Seconds until a test gives up on a child process; trying a delegate may take one minute."""


def run(arguments: list[str], folder: Path) -> str:
    """What a command prints, run in a folder of its own with this environment's Python."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    environment.pop("EDGE_AGENT_HOME", None)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_commands_are_known_here():
    """Another one needs a test of its own."""
    assert [shlex.split(line)[:2] for line in COMMANDS] == [
        ["edge-agent", "delegates"],
        ["edge-agent", "delegates"],
        ["python", "benchmarks/delegates.py"],
    ]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("edge-agent")])
def test_its_commands_run(command, tmp_path):
    """Each prints the table, with the CPU in it."""
    out = run(["-m", "edge_agent.cli", *shlex.split(command)[1:]], tmp_path)

    assert out.splitlines()[0].startswith("NAME ")
    assert out.splitlines()[1].startswith("cpu ")


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_its_measurement_runs(tmp_path):
    """As it stands, but for fewer predictions and one fault that needs no trial."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed, so no delegate can be built")
    [line] = [line for line in COMMANDS if line.startswith("python")]
    _python, script, *options = shlex.split(line)
    options[options.index("--predictions") + 1] = "3"

    out = run([str(ROOT / script), *options, "--only", "library missing"], tmp_path)

    assert "answered 3 of 3, 100.000%" in out
    assert (tmp_path / options[options.index("--json") + 1]).exists()


def test_its_settings_are_taken():
    """Each block is a configuration without a problem."""
    for language, text in BLOCKS:
        if language == "toml":
            parse_config(tomllib.loads(text))


def test_every_reason_is_explained():
    """The table has what `edge-agent delegates` may say, in its words, and nothing else."""
    table = PAGE.partition("| reason | what it means |\n|---|---|\n")[2].partition("\n\n")[0]
    told = {name.strip() for row in table.splitlines() for name in row.split("|")[1].split(",")}

    assert told == {code.replace("-", " ") for code in get_args(Code)} - {"ok", "untried"}


def test_how_often_it_is_compared_is_what_it_says():
    """The figures of the text are those of the code."""
    text = " ".join(PAGE.split())

    assert (EVERY_PICTURES, EVERY_SECONDS, GROUP) == (50, 60.0, 16)
    assert "at the first one, then at one in fifty, and at the next one after a minute" in text
    assert "in groups of up to 16" in text
