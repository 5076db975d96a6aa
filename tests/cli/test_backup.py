"""`edge-agent backup` and `restore`: beside a running agent, with messages that say what to do."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from .conftest import Shell


def test_backup_beside_a_running_agent_and_restore(running: Shell, tmp_path: Path) -> None:
    """What is saved while an agent runs is brought back elsewhere, pictures and versions."""
    file = tmp_path / "b.tar"
    facts = running.ask("backup", file)

    assert (facts["samples"], facts["pictures"], facts["versions"], facts["left_out"]) == (12, 12, [1, 2], 0)
    assert facts["path"] == str(file)
    assert facts["size_bytes"] == file.stat().st_size
    other = Shell(tmp_path / "other", running._capsys)
    assert other.ask("restore", file) == {"home": str(other.home), "samples": 12, "version": 2}
    assert [row["version"] for row in other.ask("versions")] == [2, 1]
    assert other.ask("status")["labels"] == {"cat": 4, "dog": 4, "fox": 4}


def test_what_people_read(learned: Shell, tmp_path: Path) -> None:
    """One line each, and a warning that names what is missing."""
    (learned.home / "edge-agent.toml").write_text("# mine\n")
    next((learned.home / "archive" / "fox").iterdir()).unlink()
    done = learned.run("backup", tmp_path / "b.tar")

    assert done.status == 0
    assert "b.tar: 12 samples, 11 pictures, 2 versions, 0." in done.out
    assert "damaged or missing, so not in it: 1 (archive/fox/" in done.err
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert "edge-agent.toml" in tar.getnames()
    done = learned.run("restore", "--force", tmp_path / "b.tar")
    assert done.out.endswith("12 samples, version 2 answers\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["backup", "{tmp}/nowhere/b.tar"], "there is no such folder; make it first"),
        (["backup", "{tmp}"], "is a folder; name a file in it"),
        (["restore", "{tmp}/b.tar"], "there is no such file"),
    ],
)
def test_mistakes_are_told(learned: Shell, tmp_path: Path, arguments: list[str], words: str) -> None:
    """One line on standard error, and the exit status of a user's mistake."""
    extra = ["--force"] if arguments[0] == "restore" else []
    done = learned.run(*(one.format(tmp=tmp_path) for one in arguments), *extra)

    assert (done.status, done.err.count("\n")) == (2, 1)
    assert words in done.err


def test_backup_makes_no_state_directory(shell: Shell, tmp_path: Path) -> None:
    """Where nothing was set up there is nothing to save."""
    done = shell.run("backup", tmp_path / "b.tar")

    assert done.status == 2
    assert not shell.home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can restore what belongs to another user")
def test_root_does_not_write_into_a_services_home(learned: Shell, tmp_path: Path) -> None:
    """The service could not read files of root; the message says as whom to say it."""
    file = tmp_path / "b.tar"
    learned.run("backup", file)
    os.chown(learned.home, 1, -1)
    done = learned.run("restore", "--force", file)

    assert done.status == 2
    assert "sudo -u " in done.err
