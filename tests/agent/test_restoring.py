"""Restoring: all of a backup or nothing of it, also when the power goes in the middle."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.agent.backup import back_up
from edge_agent.agent.home import Home
from edge_agent.agent.restoring import finish_restore, restore
from edge_agent.errors import (
    DamagedError,
    DiskFullError,
    EdgeAgentError,
    HomeError,
    HomeLockedError,
    NotFoundError,
    StoreError,
    UserError,
)
from edge_agent.store.lock import ProcessLock
from edge_agent.store.samples import SampleStore
from edge_agent.store.tarball import Packer

from .conftest import Bench

ROOT = Path(__file__).resolve().parents[2]

STAYS = {"status.json", "agent.db-reserve", "agent.db-reserve-2", "delegates.json", "rejected", "drop"}
"""What a restore does not touch."""


@pytest.fixture(name="backup")
def _backup(bench: Bench, tmp_path: Path) -> Path:
    """A backup of four samples, a version and a configuration; no agent is open."""
    bench.open()
    for label in ("cat", "dog"):
        bench.show(label, *(f"{label} {i}" for i in range(2)))
    bench.agent.start()
    bench.settle()
    bench.close()
    config = tmp_path / "saved.toml"
    config.write_text("# saved\n")
    back_up(Home(bench.home), tmp_path / "b.tar", config)
    return tmp_path / "b.tar"


def content(home: Path) -> dict[str, str]:
    """Every file but the lock, by its hash."""
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_a_restored_agent_goes_on_where_it_was(bench: Bench, backup: Path, tmp_path: Path) -> None:
    """On another board: the same samples, the same answers, and it goes on learning."""
    report = restore(Home(tmp_path / "other"), backup)
    bench.home = tmp_path / "other"
    bench.open()
    bench.agent.start()

    assert (report.samples, report.version) == (4, 1)
    assert bench.predict(tmp_path, "cat 9")["label"] == "cat"
    assert bench.ask("status")["labels"] == {"cat": 2, "dog": 2}
    assert (tmp_path / "other" / "edge-agent.toml").read_text() == "# saved\n"
    bench.show("fox", "fox 1", "fox 2", "fox 3")
    bench.settle()
    assert bench.ask("status")["version"] == 2


def test_a_home_with_something_in_it_is_refused(backup: Path, bench: Bench) -> None:
    """What is there is named, and stays."""
    before = content(bench.home)
    with pytest.raises(HomeError, match=r"is not empty \(.*agent.db.*--force"):
        restore(Home(bench.home), backup)

    assert content(bench.home) == before


def test_force_replaces_what_is_there(bench: Bench, backup: Path, tmp_path: Path) -> None:
    """Samples and versions made since are gone; what waits and what was refused stays."""
    home = Home(bench.home)
    saved = content(home.path)
    bench.open()
    bench.show("fox", "fox 1", "fox 2", "fox 3")
    bench.agent.start()
    bench.settle()
    bench.close()
    refused = home.rejected_folder / "cat" / "no.jpg"
    refused.parent.mkdir(parents=True)
    refused.write_text("no picture")
    (home.path / "edge-agent.toml").write_text("# newer\n")
    restore(home, backup, force=True)

    now = content(home.path)
    assert refused.exists()
    assert not [name for name in now if "fox" in name]
    assert {name: now[name] for name in saved if name.startswith(("archive", "models/versions"))} == {
        name: saved[name] for name in saved if name.startswith(("archive", "models/versions"))
    }
    assert (home.path / "edge-agent.toml").read_text() == "# saved\n"
    with SampleStore(home.database_path, read_only=True) as store:
        assert store.count() == 4


def test_a_configuration_stays_where_the_backup_has_none(bench: Bench, backup: Path, tmp_path: Path) -> None:
    """It is its owner's, and belongs to this board."""
    back_up(Home(bench.home), tmp_path / "without.tar")
    config = bench.home / "edge-agent.toml"
    config.write_text("# this board's\n")
    restore(Home(bench.home), tmp_path / "without.tar", force=True)

    assert config.read_text() == "# this board's\n"


def test_nothing_is_restored_under_a_running_agent(bench: Bench, backup: Path) -> None:
    """It holds the lock, and the message says which process it is."""
    bench.open()
    with pytest.raises(HomeLockedError, match=str(os.getpid())):
        restore(Home(bench.home), backup, force=True)


def damaged(backup: Path) -> bytes:
    """One bit of a picture is another."""
    data = bytearray(backup.read_bytes())
    data[data.rindex(b"cat 1")] ^= 1  # in a picture
    return bytes(data)


def hostile(backup: Path) -> bytes:
    """A backup with a file more, which wants out."""
    buffer = io.BytesIO()
    with tarfile.open(backup) as old, tarfile.open(fileobj=buffer, mode="w") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
            if member.name == "backup.json":
                more = tarfile.TarInfo("archive/../../escaped")
                new.addfile(more, io.BytesIO())
    return buffer.getvalue()


def other_files(backup: Path) -> bytes:
    """A whole archive of ours with a file that no backup has."""
    buffer = io.BytesIO()
    with Packer(buffer) as packer:
        packer.add("backup.json", io.BytesIO(b'{"format":1,"edge_agent":"1"}'), 29)
        packer.add(".ssh/authorized_keys", io.BytesIO(), 0)
    return buffer.getvalue()


def without_database(backup: Path) -> bytes:
    """A whole archive of ours with nothing in it."""
    buffer = io.BytesIO()
    with Packer(buffer) as packer:
        packer.add("backup.json", io.BytesIO(b'{"format":1,"edge_agent":"1"}'), 29)
    return buffer.getvalue()


def newer(backup: Path) -> bytes:
    """What a later program writes."""
    buffer = io.BytesIO()
    with Packer(buffer) as packer:
        packer.add("backup.json", io.BytesIO(b'{"format":9,"edge_agent":"7"}'), 29)
    return buffer.getvalue()


def some_tar(backup: Path) -> bytes:
    """Somebody's archive."""
    buffer = io.BytesIO()
    with Packer(buffer) as packer:
        packer.add("holiday.jpg", io.BytesIO(), 0)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (damaged, DamagedError, "damaged: 'archive/cat/.*' is not what was written; nothing was restored"),
        (lambda backup: backup.read_bytes()[:-12_000], DamagedError, "damaged"),
        (hostile, DamagedError, "leads out"),
        (other_files, DamagedError, "does not belong there"),
        (without_database, DamagedError, "no database"),
        (newer, StoreError, r"made by edge_agent 7 \(format 9, known is 1\)"),
        (some_tar, UserError, "is not a backup"),
        (lambda backup: b"", UserError, "is not a backup"),
        (lambda backup: os.urandom(5000), UserError, "is not a backup"),
    ],
    ids=["bit", "cut", "hostile", "other", "no-database", "newer", "tar", "empty", "noise"],
)
@pytest.mark.parametrize("there", [False, True], ids=["empty-home", "force"])
def test_a_bad_backup_changes_nothing(
    bench: Bench,
    backup: Path,
    tmp_path: Path,
    spoil: Callable[[Path], bytes],
    error: type[EdgeAgentError],
    words: str,
    there: bool,
) -> None:
    """One line says what is wrong; the state directory is what it was, to the byte, and nothing is left over."""
    bad = tmp_path / "bad.tar"
    bad.write_bytes(spoil(backup))
    home = Home(bench.home if there else tmp_path / "new")
    home.make()
    before = content(home.path)
    with pytest.raises(error, match=words):
        restore(home, bad, force=there)

    assert content(home.path) == before
    assert not (tmp_path / "escaped").exists()
    assert not [path for path in home.path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["nothing.tar", "."])
def test_a_file_that_is_none_is_a_users_mistake(tmp_path: Path, name: str) -> None:
    """Not there, or a folder."""
    with pytest.raises((NotFoundError, UserError)):
        restore(Home(tmp_path / "new"), tmp_path / name)


def test_a_backup_of_a_newer_database_is_refused(bench: Bench, backup: Path, tmp_path: Path) -> None:
    """Before anything gives way to it."""
    import sqlite3

    with sqlite3.connect(bench.home / "agent.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    buffer = io.BytesIO()
    with Packer(buffer) as packer:
        for name, data in (
            ("backup.json", b'{"format":1,"edge_agent":"1"}'),
            ("agent.db", (bench.home / "agent.db").read_bytes()),
        ):
            packer.add(name, io.BytesIO(data), len(data))
    (tmp_path / "new.tar").write_bytes(buffer.getvalue())
    with pytest.raises(StoreError, match="written by a newer edge_agent"):
        restore(Home(tmp_path / "other"), tmp_path / "new.tar")

    assert content(tmp_path / "other") == {}


def test_a_disk_without_room_is_noticed_before(tmp_path: Path) -> None:
    """A backup larger than the disk is not even begun; the message says what is missing."""
    with (tmp_path / "huge.tar").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(DiskFullError, match="MB are free"):
        restore(Home(tmp_path / "new"), tmp_path / "huge.tar")


KILLED = """
import itertools, json, os, shutil, sys
from pathlib import Path

steps, die_at = 0, 0

def step():
    global steps
    steps += 1
    if steps == die_at:
        os._exit(9)

def dying(function):
    def wrapper(*arguments, **more):
        step()
        return function(*arguments, **more)
    return wrapper

for name in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir"):
    setattr(os, name, dying(getattr(os, name)))

from edge_agent.agent.home import Home
from edge_agent.agent.restoring import finish_restore, restore
from edge_agent.store.lock import ProcessLock
sys.path.insert(0, str(Path(sys.argv[1]).parent))
import hashlib

def content(home):
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*") if path.is_file() and path.name != "lock"
    }

backup, old = Path(sys.argv[1]), Path(sys.argv[2])
for number in itertools.count(1):
    home = Home(Path(sys.argv[3], str(number)))
    shutil.copytree(old, home.path)
    pid = os.fork()
    if not pid:
        steps, die_at = 0, number
        restore(home, backup, force=True)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    with ProcessLock(home.lock_path):
        finished = finish_restore(home)
    left = [path.name for path in home.path.iterdir() if path.name.startswith(".")]
    print(json.dumps([os.waitstatus_to_exitcode(status), finished, left, content(home.path)]), flush=True)
    shutil.rmtree(home.path)
    if not status:
        break
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_restore_that_is_killed_leaves_the_old_or_the_new(
    bench: Bench, backup: Path, tmp_path: Path
) -> None:
    """Killed before each rename, fsync, unlink and mkdir: after the next start it is one of the two."""
    new = tmp_path / "new"
    restore(Home(new), backup)
    saved = content(new)
    bench.open()
    bench.show("fox", "fox 1", "fox 2", "fox 3")
    bench.agent.start()
    bench.settle()
    bench.close()
    (bench.home / "edge-agent.toml").write_text("# newer\n")
    old = content(bench.home)
    stays = {name: digest for name, digest in old.items() if name.partition("/")[0] in STAYS}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(backup), str(bench.home), str(tmp_path / "killed")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    ends = [json.loads(line) for line in done.stdout.splitlines()]

    assert len(ends) > 60
    assert [status for status, *_ in ends] == [9] * (len(ends) - 1) + [0]
    assert {tuple(left) for _, _, left, _ in ends} == {()}
    outcomes = [
        "old" if found == old else "new" if found == {**saved, **stays} else found for *_, found in ends
    ]
    assert outcomes == sorted(outcomes, key=["old", "new"].index)
    assert {"old", "new"} == set(outcomes)
    assert any(finished for _, finished, *_ in ends)


def test_a_start_finishes_what_was_interrupted(bench: Bench, backup: Path, tmp_path: Path) -> None:
    """Nobody has to know that there was a restore: the agent opens what was restored."""
    home = Home(tmp_path / "other")
    restore(home, backup)
    ready = home.path / ".edge-agent-restored"
    ready.mkdir()
    parts = ["agent.db", "archive", "edge-agent.toml", "models"]
    for name in parts:
        (home.path / name).rename(ready / name)
    (ready / "parts.json").write_text(json.dumps(parts))
    (home.path / ".edge-agent-restore").mkdir()
    bench.home = home.path
    bench.open()

    assert bench.ask("status")["samples"] == 4
    assert not [path for path in home.path.iterdir() if path.name.startswith(".")]
    bench.close()
    with ProcessLock(home.lock_path):
        assert not finish_restore(home)
