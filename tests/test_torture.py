"""The agent interrupted as real processes: the short form of `scripts/torture`, and what its checks are worth."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.asking import is_running

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "torture"

PATIENCE_SECONDS = 500.0

strace_needed = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def torture(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tool."""
    return subprocess.run(
        [sys.executable, str(TOOL), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@strace_needed
def test_interrupted_anywhere_nothing_is_lost_twice_or_left_over(tmp_path: Path) -> None:
    """A1, A3: Faults of each kind in intake, learning and forgetting leave what a restart finds in order."""
    done = torture(
        "--points", "9", "--operations", "intake,learn,forget", "--journal", str(tmp_path / "journal")
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 points, 0 bad" in done.stdout
    assert len((tmp_path / "journal").read_text().splitlines()) == 9


@pytest.fixture(name="tool")
def _tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The tool's own rooms, which are no package."""
    monkeypatch.syspath_prepend(str(TOOL))
    import faults
    import homes
    import invariants
    import operations

    yield {"faults": faults, "homes": homes, "invariants": invariants, "operations": operations}
    for name in ("faults", "homes", "invariants", "operations"):
        sys.modules.pop(name, None)


def test_a_point_is_named_as_it_is_repeated(tool: Any) -> None:
    """What is printed can be given to `--only`."""
    point = tool["faults"].Point("learn", "fsync", "EIO+", 6)

    assert tool["faults"].Point.parse(str(point)) == point
    for text in ("learn:fsync:EIO", "learn:sneeze:EIO:1", "learn:fsync:ETIRED:1"):
        with pytest.raises(ValueError, match=r"unpack|learn:"):
            tool["faults"].Point.parse(text)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_checks_see_what_is_wrong(tool: Any, tmp_path: Path) -> None:
    """A home in order passes; each thing that may go wrong is named."""
    homes, invariants = tool["homes"], tool["invariants"]
    base = tmp_path / "base" / "home"
    given = homes.make_home(base, real=False)

    def found(damage: str) -> str:
        home = tmp_path / "copy" / "home"
        homes.copy_home(base, home)
        subprocess.run(["sh", "-c", damage], cwd=home, check=True)
        lines = [*invariants.wrecked(home, given)]
        lines += invariants.settled(home, given, acknowledged=True, operation="publish")
        return "; ".join(lines)

    assert found("true") == ""
    for damage, words in {
        "rm archive/red/red0*": "not in the archive",
        "cp archive/red/red0* archive/blue/": "of no sample",
        "touch .edge-agent-1-1": "left over: .edge-agent-1-1",
        "mkdir models/staging/000009": "left over: models/staging/000009",
        "touch drop/red/late.png": "still waits",
        "rm -r models/versions/000002": "version 1 answers instead",
        "echo x >> models/versions/000002/samples.bin": "not what was written",
        "mkdir -p rejected/red; cp archive/red/red0* rejected/red/": "was put aside",
        "echo '{}' > status.json": "status.json",
        "truncate -s 5000 agent.db": "the database is damaged",
    }.items():
        assert words in found(damage), damage


@pytest.mark.slow
@pytest.mark.timeout(600)
@strace_needed
def test_a_daemon_whose_disk_fails_answers_and_takes_nothing_in(tool: Any, tmp_path: Path) -> None:
    """A4: From the moment writing fails predictions go on, status says why, and what arrives stays where it is."""
    homes = tool["homes"]
    home = tmp_path / "base" / "home"
    homes.make_home(home, real=False)
    log = (tmp_path / "log").open("wb")
    daemon = subprocess.Popen(
        [sys.executable, "-m", "edge_agent.cli", "--home", str(home), "run"],
        env=homes.environment(tmp_path / "compiled"),
        stderr=log,
    )
    strace: subprocess.Popen[bytes] | None = None
    try:
        until(lambda: '"state": "ok"' in homes.edge_agent(home, "status", "--json").stdout)
        calls = "pwrite64,fsync,fdatasync,rename,ftruncate"
        strace = subprocess.Popen(
            ["strace", "-f", "-p", str(daemon.pid), "-o", os.devnull, "-e", f"inject={calls}:error=EIO"],
            stderr=subprocess.PIPE,
        )
        assert strace.stderr is not None
        if b"attached" not in strace.stderr.readline():
            pytest.skip("another process may not be traced here")
        homes.picture(home / "drop" / "red" / "late.png", "red", 900)
        until(lambda: "nothing more is stored" in homes.edge_agent(home, "status", "--json").stdout)
        homes.picture(tmp_path / "question.png", "blue", 901)
        answer = homes.edge_agent(home, "predict", str(tmp_path / "question.png"), "--json")
        rolled = homes.edge_agent(home, "rollback")
    finally:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        if strace is not None:
            strace.kill()
            strace.communicate()
        log.close()

    assert '"label": "blue"' in answer.stdout, answer.stderr
    assert rolled.returncode == 1
    assert (home / "drop" / "red" / "late.png").exists()
    assert homes.edge_agent(home, "run", "--once").returncode == 0
    assert not (home / "drop" / "red" / "late.png").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_daemon_with_a_damaged_database_is_up_and_makes_it_again(tool: Any, tmp_path: Path) -> None:
    """A2: It answers at once, says what it does, and has every sample again; the damaged files are kept aside."""
    homes = tool["homes"]
    home = tmp_path / "base" / "home"
    given = homes.make_home(home, real=False)
    with (home / "agent.db").open("r+b") as file:
        file.seek(2048)
        file.write(b"\xa5" * 4096)
    (home / "agent.db-wal").write_bytes(b"half a log")
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "edge_agent.cli", "--home", str(home), "run"],
            env=homes.environment(tmp_path / "compiled"),
            stderr=log,
        )
    try:
        homes.picture(tmp_path / "question.png", "blue", 901)
        until(lambda: is_running(home))  # before that a command would do the work itself
        until(
            lambda: (
                '"label": "blue"'
                in homes.edge_agent(home, "predict", str(tmp_path / "question.png"), "--json").stdout
            )
        )
        until(lambda: f'"samples": {len(given.labels)}' in homes.edge_agent(home, "status", "--json").stdout)
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0

    assert (home / "agent.db.damaged-1").exists()


def until(true: Any) -> None:
    """Ask again and again, each time by a process of its own, which takes its time."""
    pause = threading.Event()
    for _ in range(600):
        if true():
            return
        pause.wait(0.1)
    raise AssertionError((true, "never came true"))
