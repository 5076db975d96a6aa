"""Files, moves and directories that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import stat
import subprocess
import sys

import pytest

from edge_agent.errors import DiskFailedError, DiskFullError, HomeError, HomeLockedError, StoreError
from edge_agent.store.atomic import (
    TEMPORARY_PREFIX,
    copy_file,
    make_folder,
    move_file,
    move_files,
    publish_directory,
    remove_file,
    remove_tree,
    store_error,
    write_file,
    write_json,
)
from edge_agent.store.lock import ProcessLock


def mode(path):
    """The permission bits of a path."""
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


class TestWriteFile:
    def test_replaces_the_content_and_leaves_nothing_else(self, tmp_path):
        """The new bytes are there, private, and no temporary file is."""
        path = tmp_path / "current"
        write_file(path, b"old")

        write_file(path, b"new")

        assert path.read_bytes() == b"new"
        assert mode(path) == 0o600
        assert names(tmp_path) == ["current"]

    def test_makes_missing_folders_private(self, tmp_path):
        """Folders on the way are created for their owner only."""
        write_file(tmp_path / "a" / "b" / "c", b"")

        assert mode(tmp_path / "a") == 0o700
        assert mode(tmp_path / "a" / "b") == 0o700

    def test_umask_does_not_count(self, tmp_path):
        """The mode is the one asked for, whatever the umask."""
        old = os.umask(0o777)
        try:
            write_file(tmp_path / "x" / "y", b"", mode=0o640)
        finally:
            os.umask(old)

        assert mode(tmp_path / "x" / "y") == 0o640
        assert mode(tmp_path / "x") == 0o700

    def test_dead_at_any_step_leaves_old_or_new(self, tmp_path, child):
        """A process that dies at any step of a write leaves the whole old content or the whole new one."""
        path = tmp_path / "file"
        code = """
from edge_agent.store.atomic import write_file
write_file(pathlib.Path(sys.argv[2]), b"new" * 1000)
"""
        seen = set()
        for step in range(1, 50):
            write_file(path, b"old" * 1000)
            if child(code, path, die_at=step).returncode == 0:
                break
            seen.add(path.read_bytes())
        else:
            pytest.fail("the write never came to its end")

        assert seen == {b"old" * 1000, b"new" * 1000}
        assert step > 6

    def test_left_over_temporary_name_is_no_obstacle(self, tmp_path):
        """A file left by an earlier process of the same number is stepped over, not overwritten."""
        for number in range(2000):
            (tmp_path / f"{TEMPORARY_PREFIX}{os.getpid()}-{number}").touch()

        write_file(tmp_path / "file", b"x")

        assert (tmp_path / "file").read_bytes() == b"x"

    def test_failure_names_the_path_and_leaves_the_old_content(self, tmp_path):
        """A folder in the way of the rename is a `StoreError`, and no temporary file remains."""
        (tmp_path / "busy").mkdir()

        with pytest.raises(StoreError, match="busy: cannot write the file"):
            write_file(tmp_path / "busy", b"x")

        assert names(tmp_path) == ["busy"]

    def test_json_is_readable_and_refuses_nan(self, tmp_path):
        """Text stays text, and a number that JSON does not have is refused before anything is written."""
        write_json(tmp_path / "a.json", {"label": "Kätzchen"})
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", float("nan"))

        assert "Kätzchen" in (tmp_path / "a.json").read_text()
        assert json.loads((tmp_path / "a.json").read_text()) == {"label": "Kätzchen"}


class TestFullDisk:
    def test_is_told_apart_and_leaves_everything_as_it_was(self, small_disk, fill_disk):
        """No room is a `DiskFullError`; the old content stays, and it works again when there is room."""
        path = small_disk / "file"
        write_file(path, b"old")
        ballast = fill_disk(small_disk)

        with pytest.raises(DiskFullError, match=r"file: cannot write the file.*free some space"):
            write_file(path, b"x" * 10_000)
        assert path.read_bytes() == b"old"
        assert names(small_disk) == ["ballast", "file"]
        ballast.unlink()
        write_file(path, b"x" * 10_000)

        assert path.stat().st_size == 10_000

    def test_no_inodes_is_a_full_disk_too(self, small_disk):
        """When no more files can be created the error is the same."""
        with contextlib.suppress(DiskFullError):
            for number in range(100):
                write_file(small_disk / str(number), b"")

        assert number < 64
        with pytest.raises(DiskFullError):
            write_file(small_disk / "more", b"")

    def test_copy_and_move_to_a_full_disk_keep_the_original(self, tmp_path, small_disk, fill_disk):
        """A move to a full disk leaves the source where it was; a copy leaves no half file."""
        source = tmp_path / "p.jpg"
        source.write_bytes(b"x" * 10_000)
        fill_disk(small_disk)

        with pytest.raises(DiskFullError, match=r"p\.jpg"):
            move_file(source, small_disk / "p.jpg")
        with pytest.raises(DiskFullError):
            copy_file(io.BytesIO(b"x" * 10_000), small_disk / "p.jpg")

        assert source.read_bytes() == b"x" * 10_000
        assert names(small_disk) == ["ballast"]

    @pytest.mark.parametrize(
        ("code", "kind", "advice"),
        [
            (errno.ENOSPC, DiskFullError, "free some space"),
            (errno.EDQUOT, DiskFullError, "quota"),
            (errno.EROFS, DiskFailedError, "remount"),
            (errno.EIO, DiskFailedError, "dmesg"),
            (errno.EACCES, StoreError, "right to write"),
            (errno.EMFILE, StoreError, "LimitNOFILE"),
        ],
    )
    def test_every_error_says_what_to_do(self, tmp_path, code, kind, advice):
        """The error has the right class, the path and a piece of advice."""
        error = store_error(OSError(code, os.strerror(code)), tmp_path / "x", "write the file")

        assert type(error) is kind
        assert str(tmp_path / "x") in str(error)
        assert advice in str(error)


class TestCopyFile:
    def test_never_overwrites(self, tmp_path):
        """A name that is taken is left alone and the copy gets the next number before its suffix."""
        (tmp_path / "p.jpg").write_bytes(b"mine")

        paths = [copy_file(io.BytesIO(content), tmp_path / "p.jpg") for content in (b"1", b"2")]

        assert [path.name for path in paths] == ["p-2.jpg", "p-3.jpg"]
        assert [path.read_bytes() for path in paths] == [b"1", b"2"]
        assert (tmp_path / "p.jpg").read_bytes() == b"mine"

    def test_a_dangling_link_is_a_taken_name(self, tmp_path):
        """A link to nowhere is not written through."""
        (tmp_path / "p.jpg").symlink_to(tmp_path / "elsewhere")

        assert copy_file(io.BytesIO(b"x"), tmp_path / "p.jpg").name == "p-2.jpg"
        assert not (tmp_path / "elsewhere").exists()


class TestMove:
    def test_moves_and_makes_private(self, tmp_path):
        """The file is at its new place, in a new folder, readable by its owner only."""
        source = tmp_path / "p.jpg"
        source.write_bytes(b"x")
        source.chmod(0o644)

        move_file(source, tmp_path / "archive" / "cat" / "p.jpg")

        assert not source.exists()
        assert (tmp_path / "archive" / "cat" / "p.jpg").read_bytes() == b"x"
        assert mode(tmp_path / "archive" / "cat" / "p.jpg") == 0o600

    def test_leaves_the_mode_of_a_file_with_another_name(self, tmp_path):
        """A file that somebody also has elsewhere keeps the mode its owner gave it."""
        (tmp_path / "mine.jpg").write_bytes(b"x")
        (tmp_path / "mine.jpg").chmod(0o644)
        os.link(tmp_path / "mine.jpg", tmp_path / "dropped.jpg")

        move_file(tmp_path / "dropped.jpg", tmp_path / "kept.jpg")

        assert mode(tmp_path / "mine.jpg") == 0o644

    def test_across_file_systems(self, tmp_path, small_disk):
        """A rename that is not possible becomes a copy, after which the original is gone."""
        (tmp_path / "p.jpg").write_bytes(b"x" * 5000)

        move_file(tmp_path / "p.jpg", small_disk / "cat" / "p.jpg")

        assert (small_disk / "cat" / "p.jpg").read_bytes() == b"x" * 5000
        assert not (tmp_path / "p.jpg").exists()
        assert names(small_disk / "cat") == ["p.jpg"]

    def test_dead_at_any_step_across_file_systems_loses_nothing(self, tmp_path, small_disk, child):
        """At every step the bytes are whole at the old place, at the new one or at both."""
        code = """
from edge_agent.store.atomic import move_file
move_file(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
"""
        source, target = tmp_path / "p.jpg", small_disk / "p.jpg"
        for step in range(1, 60):
            source.write_bytes(b"x" * 5000)
            target.unlink(missing_ok=True)
            done = child(code, source, target, die_at=step).returncode
            assert [path.read_bytes() for path in (source, target) if path.exists()][:1] == [b"x" * 5000]
            if done == 0:
                break

        assert 10 < step < 59
        assert not source.exists()

    def test_some_of_many_fail(self, tmp_path):
        """A file that vanished is a `StoreError` with its path; those before it are moved."""
        (tmp_path / "a").write_bytes(b"a")

        with pytest.raises(StoreError, match="gone"):
            move_files([(tmp_path / "a", tmp_path / "b"), (tmp_path / "gone", tmp_path / "c")])

        assert (tmp_path / "b").read_bytes() == b"a"


class TestDirectories:
    def test_publish_is_one_rename(self, tmp_path):
        """What was staged appears whole under its final name."""
        (tmp_path / "staging" / "deep").mkdir(parents=True)
        (tmp_path / "staging" / "deep" / "file").write_bytes(b"x")

        publish_directory(tmp_path / "staging", tmp_path / "final")

        assert (tmp_path / "final" / "deep" / "file").read_bytes() == b"x"
        assert not (tmp_path / "staging").exists()

    def test_publish_never_replaces(self, tmp_path):
        """Even an empty directory of that name is left alone."""
        (tmp_path / "staging").mkdir()
        (tmp_path / "final").mkdir()

        with pytest.raises(StoreError, match="final: cannot publish"):
            publish_directory(tmp_path / "staging", tmp_path / "final")

        assert (tmp_path / "staging").is_dir()

    def test_removing_does_not_follow_links(self, tmp_path):
        """A link inside a removed directory goes, what it leads to stays; removing what is gone is fine."""
        (tmp_path / "mine").write_bytes(b"x")
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "link").symlink_to(tmp_path / "mine")

        remove_tree(tmp_path / "old")
        remove_tree(tmp_path / "old")
        remove_file(tmp_path / "nothing")

        assert names(tmp_path) == ["mine"]

    def test_a_file_in_the_way_of_a_folder(self, tmp_path):
        """A folder cannot be made where a file is; the error names the path."""
        (tmp_path / "file").touch()

        with pytest.raises(StoreError, match="file"):
            make_folder(tmp_path / "file" / "folder")


class TestOrder:
    """A power cut keeps what was synced; what was not may be lost or empty, so the order is the promise."""

    LOG = """
from edge_agent.store import atomic

def noted(name, function):
    def wrapper(*arguments, **more):
        what = arguments[0]
        path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.fspath(what)
        print(name, pathlib.Path(path).relative_to(sys.argv[2]), flush=True)
        return function(*arguments, **more)
    return wrapper

for name in ("fsync", "replace", "rename", "unlink"):
    setattr(os, name, noted(name, getattr(os, name)))
home = pathlib.Path(sys.argv[2])
"""

    def log(self, child, home, code):
        """What reaches the disk, in order; temporary names become `*`."""
        done = child(self.LOG + code, home)
        assert done.stderr == ""
        return [re.sub(r"\.edge-agent-[\d-]+", "*", line) for line in done.stdout.splitlines()]

    def test_of_a_write(self, tmp_path, child):
        """The bytes, then the name, then the folder."""
        assert self.log(child, tmp_path, "atomic.write_file(home / 'file', b'x')") == [
            "fsync *",
            "replace *",
            "fsync .",
        ]

    def test_of_a_copy(self, tmp_path, child):
        """The same for a copy under a free name."""
        assert self.log(child, tmp_path, "atomic.copy_file(open(sys.executable, 'rb'), home / 'file')")[
            -3:
        ] == [
            "fsync *",
            "replace *",
            "fsync .",
        ]

    def test_of_moves(self, tmp_path, child):
        """Each file is synced before its rename, and every folder once after the last one."""
        (tmp_path / "in").mkdir()
        (tmp_path / "out").mkdir()
        for name in "ab":
            (tmp_path / "in" / name).touch()

        assert self.log(
            child, tmp_path, "atomic.move_files([(home / 'in' / n, home / 'out' / n) for n in 'ab'])"
        ) == ["fsync in/a", "replace in/a", "fsync in/b", "replace in/b", "fsync out", "fsync in"]

    def test_of_a_move_across_file_systems(self, tmp_path, small_disk, child):
        """The copy is durable, under its name, before the original goes."""
        (tmp_path / "p").touch()

        assert self.log(child, tmp_path, "atomic.move_file(home / 'p', home / 'small' / 'q')") == [
            "fsync p",
            "replace p",
            "fsync small/*",
            "replace small/*",
            "fsync small",
            "unlink p",
            "fsync small",
            "fsync .",
        ]

    def test_of_publishing(self, tmp_path, child):
        """Every file and folder is durable before the one rename, both parents after it."""
        (tmp_path / "staging" / "1" / "deep").mkdir(parents=True)
        (tmp_path / "staging" / "1" / "deep" / "file").touch()
        (tmp_path / "versions").mkdir()

        assert self.log(
            child, tmp_path, "atomic.publish_directory(home / 'staging' / '1', home / 'versions' / '1')"
        ) == [
            "fsync staging/1",
            "fsync staging/1/deep/file",
            "fsync staging/1/deep",
            "rename staging/1",
            "fsync versions",
            "fsync staging",
        ]


class TestProcessLock:
    HOLD = "import sys, pathlib; from edge_agent.store.lock import ProcessLock\n"

    def test_second_process_is_refused_with_the_number_of_the_first(self, tmp_path):
        """A5: A lock held by another process names it, and is free when that process is killed."""
        path = tmp_path / "lock"
        code = (
            self.HOLD
            + "ProcessLock(pathlib.Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(HomeLockedError, match=f"process {holder.pid}"):
                ProcessLock(path).acquire()
            holder.kill()

        with ProcessLock(path):
            assert path.read_text() == f"{os.getpid()}\n"

    def test_is_given_back(self, tmp_path):
        """After `release` another object may take it; taking and releasing twice is fine."""
        first, second = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
        first.acquire()
        first.acquire()
        first.release()
        first.release()

        second.acquire()
        with pytest.raises(HomeLockedError):
            first.acquire()
        second.release()

    def test_cannot_be_opened(self, tmp_path):
        """A home that is not there is a `HomeError` with the path, not a traceback."""
        with pytest.raises(HomeError, match="nowhere"):
            ProcessLock(tmp_path / "nowhere" / "lock").acquire()
