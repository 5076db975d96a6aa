"""Every command of the README is run, in the order a newcomer would run it, in a copy of the project."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.cli.pictures import write_pictures

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
BLOCK = re.compile(r"^```sh(?: (?P<mark>\S+))?\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """The mark and the commands of each block of shell commands."""
    return [(match["mark"] or "", match["commands"].strip()) for match in BLOCK.finditer(README)]


def test_the_two_commands_and_the_linters_are_what_ci_runs() -> None:
    """scripts/demo comes first, scripts/test second; CI runs the marked ones, and all exist and can be executed."""
    marks = {mark: commands for mark, commands in blocks() if mark.startswith("name=")}
    ci = (PROJECT / ".ci" / "run").read_text()

    assert blocks()[0][1] == "scripts/demo"
    assert blocks()[1][1] == "scripts/test"
    assert marks == {"name=test": "scripts/test", "name=lint": "scripts/lint"}
    for script in (*marks.values(), "scripts/demo"):
        assert os.access(PROJECT / script, os.X_OK)
    assert all(script in ci for script in marks.values())


def test_the_readme_follows_its_order() -> None:
    """The sections come in the order a newcomer needs them."""
    titles = re.findall(r"^## (.+)$", README, re.MULTILINE)

    assert titles == [
        "Two commands",
        "Sixty seconds to your own first version",
        "Train from a folder",
        "What happens when things go wrong",
        "Plugins",
        "Deploy",
        "Figures",
        "Development",
    ]


def test_every_local_link_leads_somewhere() -> None:
    """No link of the README or of the documents points to a file that is not there."""
    for document in (
        PROJECT / "README.md",
        *sorted((PROJECT / "docs").glob("*.md")),
        PROJECT / "deploy" / "README.md",
    ):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixty_seconds_to_a_first_version(tmp_path: Path) -> None:
    """The commands between the demo and the section on trouble run one after the other without an error."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("run once, in the environment with LiteRT: it makes an environment of its own")
    project = tmp_path / "edge_agent"
    shutil.copytree(
        PROJECT, project, ignore=shutil.ignore_patterns(".git", ".venv*", "build", "*.egg-info", ".*_cache")
    )
    write_pictures(project / "pictures", per_label=6, seed=3, labels=["mug", "key", "umbrella"])
    write_pictures(project / "pictures" / "test", per_label=2, seed=4, labels=["mug", "key"])
    write_pictures(project / "pictures" / "train", per_label=6, seed=3, labels=["mug", "key"])
    (project / "pictures" / "unseen").mkdir()
    for label, paths in write_pictures(
        tmp_path / "drawn", per_label=2, seed=5, labels=["mug", "key", "umbrella"]
    ).items():
        for i, path in enumerate(paths):
            path.rename(project / "pictures" / "unseen" / f"{label}-{i}.jpg")
    script = ["set -e"]
    for mark, commands in blocks():
        if mark == "background":
            script.append(f"{commands} >daemon.log 2>&1 & echo $! >daemon.pid")
            script.append('until edge-agent status --json | grep -q \'"state": "ok"\'; do :; done')
        elif not mark and commands != "scripts/demo":
            script.append(commands)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("EDGE_AGENT_HOME", None)
    try:
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        pid = project / "daemon.pid"
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGTERM)
    if "No matching distribution" in done.stderr or "Could not find a version" in done.stderr:
        pytest.skip("the package registry is not reachable, so nothing can be installed")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "version 1 published: knows 2 labels, learned from 12 pictures" in done.stdout
    assert "learned 2 labels from 12 pictures" in done.stdout
    assert "imported from" in done.stdout
