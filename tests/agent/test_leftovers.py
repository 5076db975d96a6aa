"""What a killed process left half-written goes at the next start, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent.agent.home import Home
from edge_agent.agent.leftovers import OLD_SECONDS, YOUNG_SECONDS, remove_leftovers, remove_old_leftovers

GONE = 2**22 + 1
"""A number that no process has."""


def half(folder: Path, pid: int, number: int = 0) -> Path:
    """A file as a process of that number leaves it when it is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".edge-agent-{pid}-{number}"
    path.write_bytes(b"half")
    return path


def left(folder: Path) -> list[str]:
    """What is left below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_of_processes_that_ended_go(tmp_path: Path) -> None:
    """A3: In the state directory, beside refused files and in the drop folder; those of our own number, too."""
    home, drop = Home(tmp_path / "home"), tmp_path / "drop"
    for folder in (home.path, home.rejected_folder / "cat", drop / "cat", drop):
        half(folder, GONE)
        half(folder, os.getpid(), 1)
    (home.path / "status.json").write_text("{}")
    (drop / "cat" / "1.jpg").write_bytes(b"cat")
    now = (drop / "cat" / "1.jpg").stat().st_mtime + YOUNG_SECONDS + 1
    remove_leftovers(home, drop, lambda: now)

    assert left(tmp_path) == ["drop/cat/1.jpg", "home/status.json"]


def test_files_that_are_being_written_stay(tmp_path: Path) -> None:
    """Those of a process that runs, and young ones in the drop folder, which others may share with us."""
    home, drop = Home(tmp_path / "home"), tmp_path / "drop"
    written = [half(home.path, os.getppid()), half(drop / "cat", os.getppid())]
    young = half(drop / "dog", GONE)
    remove_leftovers(home, drop, lambda: young.stat().st_mtime + 1)

    assert all(path.exists() for path in (*written, young))


def test_what_killed_backups_left_goes_after_a_while(tmp_path: Path) -> None:
    """Half a backup and the copy of a database, by their names alone: the folder may be anybody's."""
    (tmp_path / f".edge-agent-{GONE}-x").mkdir()
    copy = half(tmp_path / f".edge-agent-{GONE}-x", GONE)
    old = half(tmp_path, GONE)
    kept = [half(tmp_path, os.getppid()), tmp_path / ".edge-agent-old-notes", tmp_path / "edge-agent-1-1"]
    for path in kept[1:]:
        path.write_bytes(b"of somebody")
    (tmp_path / f".edge-agent-{GONE}-7").symlink_to(kept[1])

    remove_old_leftovers(tmp_path, lambda: old.stat().st_mtime + OLD_SECONDS - 60)
    assert old.exists()
    remove_old_leftovers(tmp_path, lambda: old.stat().st_mtime + OLD_SECONDS + 60)

    assert not old.exists()
    assert not copy.parent.exists()
    assert all(path.exists() for path in kept)
    assert (tmp_path / f".edge-agent-{GONE}-7").is_symlink()


def test_links_are_left_alone(tmp_path: Path) -> None:
    """Neither a link that has such a name nor what lies behind a linked folder is touched."""
    home, drop = Home(tmp_path / "home"), tmp_path / "drop"
    elsewhere = half(tmp_path / "elsewhere", GONE)
    drop.mkdir()
    home.path.mkdir()
    (drop / "linked").symlink_to(elsewhere.parent)
    (home.path / elsewhere.name).symlink_to(elsewhere)
    remove_leftovers(home, drop, lambda: elsewhere.stat().st_mtime + 1000)

    assert elsewhere.exists()
    assert (home.path / elsewhere.name).is_symlink()
