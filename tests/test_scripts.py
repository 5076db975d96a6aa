"""The scripts that start on a bare machine: they find a sound Python, and say in one line what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["cat", "cksum", "dirname", "grep", "ls", "mkdir", "readlink", "sh", "tail", "tr"]


@pytest.fixture(name="tools")
def _tools(tmp_path: Path) -> Path:
    """A folder for PATH with the tools of any Unix and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name) or pytest.fail(f"{name} is missing"))
    return folder


def program(path: Path, text: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def run(
    *command: str | Path, path: Path | str, cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a script with nothing in its environment but PATH and what is named here."""
    return subprocess.run(
        [str(part) for part in command],
        env={"PATH": str(path), **variables},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )


def found(path: str, *versions: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Which interpreter the scripts take."""
    text = f'here=scripts; . scripts/environment; find_python {" ".join(versions)}; echo "$python"'
    return run("sh", "-c", text, path=path, **variables)


@pytest.mark.parametrize("script", ["demo", "test", "lint"])
def test_without_python_one_line_says_so(script, tools: Path, tmp_path: Path):
    """No interpreter at all: one line names the versions and the way out, and nothing is made."""
    done = run(ROOT / "scripts" / script, path=tools, EDGE_AGENT_VENV=str(tmp_path / "venv"))

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"{script}: no Python (3.11 3.12 3.13) found; install one, or name one with PYTHON=/path/to/python3\n"
    )
    assert not (tmp_path / "venv").exists()


def test_a_shim_that_fails_is_passed_over(tools: Path, tmp_path: Path):
    """An interpreter that is there but does not run, as pyenv's shims may be, does not hide a sound one."""
    program(tmp_path / "shims" / "python3", "echo 'pyenv: command not found' >&2; exit 127")
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound" / "python3").symlink_to(sys.executable)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = found(f"{tmp_path}/shims:{tmp_path}/sound:{tools}", version)

    assert done.stdout.strip() == f"{tmp_path}/sound/python3", done.stderr


def test_pyenv_is_asked_for_its_interpreters(tools: Path, tmp_path: Path):
    """What pyenv has installed is found although nothing of it is on PATH; another version is passed over."""
    program(tmp_path / "bin" / "pyenv", f"echo '{tmp_path}/py env'")
    for version in ("2.7", "3.12"):
        program(
            tmp_path / "py env" / "versions" / version / "bin" / "python3",
            f'case $2 in *argv*) for v; do [ "$v" != {version} ] || exit 0; done; exit 1;; esac',
        )

    assert (
        found(f"{tmp_path}/bin:{tools}", "3.12").stdout.strip().endswith("py env/versions/3.12/bin/python3")
    )
    assert found(f"{tmp_path}/bin:{tools}", "3.13").returncode == 1


def test_missing_venv_module_is_named(tools: Path, tmp_path: Path):
    """Debian's Python without python3-venv: the message says what to install."""
    program(tmp_path / "bin" / "python3", 'case "$*" in *ensurepip*) exit 1;; esac')
    done = found(f"{tmp_path}/bin:{tools}", "3.11")

    assert done.returncode == 1
    assert done.stderr.endswith(
        "python3 lacks the venv module; on Debian or Ubuntu: apt install python3-venv\n"
    )
    assert len(done.stderr.splitlines()) == 1


def test_a_python_named_by_the_user_is_the_only_one_tried(tools: Path):
    """PYTHON that does not run is an error, not a reason to take another one."""
    done = found(f"{Path(sys.executable).parent}:{tools}", "3.11", "3.12", PYTHON="/nowhere/python3")

    assert done.returncode == 1
    assert "PYTHON=/nowhere/python3 is not a Python (3.11 3.12) that runs" in done.stderr


def test_somebodys_folder_is_not_taken_for_an_environment(tools: Path, tmp_path: Path):
    """EDGE_AGENT_VENV that names a folder with other things in it is refused, and they stay."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    done = run(
        ROOT / "scripts" / "demo", path=tools, PYTHON=sys.executable, EDGE_AGENT_VENV=str(tmp_path / "photos")
    )

    assert done.returncode == 1
    assert "is not a virtual environment" in done.stderr
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_folder_that_cannot_be_written_is_named(tools: Path):
    """A place where no environment can be made: the message names it and the way out."""
    done = run(ROOT / "scripts" / "demo", path=tools, PYTHON=sys.executable, EDGE_AGENT_VENV="/proc/venv")

    assert (done.returncode, done.stderr) == (
        1,
        "demo: /proc/venv cannot be written; set EDGE_AGENT_VENV to a folder that can\n",
    )


@pytest.mark.slow
def test_an_unreachable_registry_is_named(tmp_path: Path):
    """Nobody answers at the registry's address: the last line says that, and the next run starts afresh."""
    variables = {
        "PYTHON": sys.executable,
        "EDGE_AGENT_VENV": str(tmp_path / "venv"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "1",
        "HOME": str(tmp_path),
    }
    for _ in range(2):
        done = run(ROOT / "scripts" / "demo", path=os.environ["PATH"], **variables)

        assert done.returncode == 1
        assert "making" in done.stderr.splitlines()[0]
        assert done.stderr.splitlines()[-1].startswith("demo: the package registry cannot be reached")


def test_works_by_a_link_and_with_spaces_in_the_path(tools: Path, tmp_path: Path):
    """A checkout in a folder with spaces, called through a link from elsewhere, finds its files."""
    copy = tmp_path / "my checkout"
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    (tmp_path / "link").symlink_to(copy / "scripts" / "demo")
    done = run(tmp_path / "link", path=tools, cwd=tmp_path)

    assert done.stderr.startswith("link: no Python")
