"""The drop folder: what is ready, when, and how often."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    FileClosedEvent,
    FileClosedNoWriteEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
)
from watchdog.observers import Observer

from edge_agent.agent.dropfolder import DropFolder, deliver
from edge_agent.agent.listing import FolderListing, Signature, is_ignored
from edge_agent.agent.settling import Settling
from edge_agent.agent.watch import Watch, remote_file_system
from edge_agent.config import DropFolderConfig
from edge_agent.errors import LabelError, StoreError, UserError
from edge_agent.testing import FakeClock

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 20.0


def date_2050(path):
    """Date a file as a camera with a wrong clock does; Python refuses to where seconds have 32 bits."""
    when = 2_524_608_000
    if sys.maxsize > 2**32:
        os.utime(path, (when, when))
        return
    at_fdcwd, utimensat_time64 = -100, 412
    times = (ctypes.c_int64 * 4)(when, 0, when, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(utimensat_time64, at_fdcwd, os.fsencode(path), times, 0):
        pytest.skip(f"no file can be dated 2050 here: {os.strerror(ctypes.get_errno())}")


class Bench:
    """A drop folder with a clock that moves when told, and a doorbell that can be waited for."""

    def __init__(self, path, clock, **more):
        self.path = path
        self.clock = clock
        self.bell = threading.Event()
        watch = more.pop("watch_events", False)
        arguments = {name: more.pop(name) for name in ("mounts", "make_watch") if name in more}
        self.folder = DropFolder(
            DropFolderConfig(**{"settle_seconds": 2.0, "poll_seconds": 5.0, "rescan_seconds": 300.0, **more}),
            path,
            doorbell=self.bell.set,
            monotonic=clock,
            **arguments,
        )
        self.folder.open(watch=watch)

    def put(self, name, content=b"x", mtime=None):
        """Write a file in place."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if mtime is not None:
            os.utime(path, (mtime, mtime))
        return path

    def names(self, limit=100):
        """Label and name of what is ready."""
        return [f"{arrival.label}/{arrival.name}" for arrival in self.folder.ready(limit)]

    def wait_for(self, condition):
        """Wait until the bell was rung often enough for `condition` to hold; False when it never did."""
        while not condition():
            if not self.bell.wait(PATIENCE_SECONDS):
                return False
            self.bell.clear()
        return True


@pytest.fixture
def clock():
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def bench(tmp_path, clock):
    """Makes a bench on `tmp_path/drop`, which is closed at the end."""
    made = []

    def make(**more):
        made.append(Bench(tmp_path / "drop", clock, **more))
        return made[-1]

    yield make
    for one in made:
        one.folder.close()


def in_place(drop, outside):
    """Written where it belongs."""
    (drop / "cat" / "p.jpg").write_bytes(b"picture")


def moved_in(drop, outside):
    """Moved from another folder."""
    (outside / "p.jpg").write_bytes(b"picture")
    (outside / "p.jpg").rename(drop / "cat" / "p.jpg")


def renamed(drop, outside):
    """Written under a temporary name and renamed."""
    (drop / "cat" / ".p.jpg.Xy12").write_bytes(b"picture")
    (drop / "cat" / ".p.jpg.Xy12").rename(drop / "cat" / "p.jpg")


def linked(drop, outside):
    """A second name for a file elsewhere."""
    (outside / "p.jpg").write_bytes(b"picture")
    os.link(outside / "p.jpg", drop / "cat" / "p.jpg")


def whole_folder(drop, outside):
    """A folder moved in with what is in it."""
    (outside / "dog").mkdir()
    (outside / "dog" / "p.jpg").write_bytes(b"picture")
    (outside / "dog").rename(drop / "dog")


def new_folder(drop, outside):
    """A folder made and written to at once."""
    (drop / "dog").mkdir()
    (drop / "dog" / "p.jpg").write_bytes(b"picture")


WAYS = [in_place, moved_in, renamed, linked, whole_folder, new_folder]


class TestEveryWayToArrive:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("watch", ["events", "polling"])
    def test_ends_in_exactly_one_arrival(self, bench, clock, tmp_path, way, watch):
        """B2: however a file gets there, it is handed out once; with events, the bell is what leads to it."""
        (tmp_path / "outside").mkdir()
        (tmp_path / "drop" / "cat").mkdir(parents=True)
        one = bench(watch=watch, watch_events=True)
        assert one.names() == []
        clock.advance(1.0)

        way(one.path, tmp_path / "outside")
        if watch == "events":
            assert one.wait_for(lambda: (one.folder.ready(0), one.folder.pending)[1] == 1)
        else:
            clock.advance(5.0)
            assert one.names() == []
        clock.advance(2.0)

        [arrival] = one.folder.ready(100)
        assert arrival.name == "p.jpg"
        assert arrival.problem == ""
        descriptor = one.folder.open_arrival(arrival)
        assert descriptor is not None
        assert os.read(descriptor, 100) == b"picture"
        assert one.folder.still_same(arrival, descriptor)
        os.close(descriptor)
        arrival.path.unlink()
        for _ in range(5):
            clock.advance(400.0)
            assert one.names() == []
        assert one.folder.pending == 0


class TestSettling:
    def test_two_looks_apart(self, bench, clock):
        """B2: a file is ready after two looks, two seconds apart; `next_look` says when the second is due."""
        one = bench()
        one.put("cat/p.jpg")

        assert one.names() == []
        assert one.folder.pending == 1
        assert one.folder.next_look() == clock.now + 2.0
        clock.advance(1.9)
        assert one.names() == []
        clock.advance(0.1)
        assert one.names() == ["cat/p.jpg"]

    @pytest.mark.parametrize("change", ["grow", "touch", "replace"])
    def test_a_change_starts_anew(self, bench, clock, change):
        """Whatever changes between the looks, size, time or the file itself, the wait begins again."""
        one = bench()
        path = one.put("cat/p.jpg", mtime=100)
        one.names()
        clock.advance(1.5)
        if change == "grow":
            one.put("cat/p.jpg", b"xx", mtime=100)
        elif change == "touch":
            os.utime(path, (100, 101))
        else:
            (one.path / "cat" / "other").write_bytes(b"x")
            os.utime(one.path / "cat" / "other", (100, 100))
            (one.path / "cat" / "other").rename(path)

        clock.advance(0.5)
        assert one.names() == []
        clock.advance(1.9)
        assert one.names() == []
        clock.advance(0.1)
        assert one.names() == ["cat/p.jpg"]

    def test_reserved_size_does_not_deceive(self, bench, clock):
        """B2: a file of its final size that is still being written, as Samba does it, is not ready while it is."""
        one = bench()
        path = one.put("cat/p.jpg", bytes(1000))
        for second in range(10):
            with path.open("r+b") as file:
                file.seek(100 * second)
                file.write(b"x" * 100)
            os.utime(path, (second, second))
            assert one.names() == []
            clock.advance(1.0)
        one.names()
        clock.advance(2.0)

        assert one.names() == ["cat/p.jpg"]

    def test_no_wait_wanted(self, bench):
        """With `settle_seconds = 0` the first look is enough."""
        one = bench(settle_seconds=0.0)
        one.put("cat/p.jpg")

        assert one.names() == ["cat/p.jpg"]

    def test_vanished_before_it_was_ready(self, bench, clock):
        """A file that goes away again is never handed out, nor is one in a folder that goes."""
        one = bench()
        one.put("cat/p.jpg").unlink()
        path = one.put("dog/p.jpg")
        one.names()
        path.unlink()
        path.parent.rmdir()
        clock.advance(2.0)

        assert one.names() == []
        assert one.folder.pending == 0

    def test_wall_clock_does_not_count(self, bench, clock):
        """B2, E7: files from the future and from 1970 settle in the same time."""
        one = bench()
        one.put("cat/future.jpg", mtime=2_100_000_000)
        one.put("cat/past.jpg", mtime=0)
        one.names()
        clock.advance(2.0)

        assert one.names() == ["cat/past.jpg", "cat/future.jpg"]


class TestHandingOut:
    def test_oldest_first_and_no_more_than_asked_for(self, bench, clock):
        """Thousands of files come in portions, the oldest first, each once, without a listing for each portion."""
        one = bench()
        for number in range(1000):
            one.put(f"cat/{number}.jpg", mtime=10_000 - number)
        one.names()
        clock.advance(2.0)

        got = []
        while portion := one.folder.ready(64):
            assert len(portion) <= 64
            got += portion
            for arrival in portion:
                arrival.path.unlink()
        assert [arrival.name for arrival in got] == [f"{number}.jpg" for number in reversed(range(1000))]
        assert one.folder.pending == 0

    def test_next_look_is_now_while_some_are_ready(self, bench, clock):
        """Files that were not taken yet need no waiting."""
        one = bench()
        one.put("cat/1.jpg")
        one.put("cat/2.jpg")
        one.names()
        clock.advance(2.0)

        assert len(one.names(1)) == 1
        assert one.folder.next_look() == clock.now
        assert len(one.names(1)) == 1

    def test_what_stays_comes_again(self, bench, clock):
        """A file that was not taken away is handed out again after the settle time, not at once."""
        one = bench()
        one.put("cat/p.jpg")
        one.names()
        clock.advance(2.0)
        assert one.names() == ["cat/p.jpg"]

        assert one.names() == []
        assert one.folder.pending == 1
        assert one.folder.next_look() == clock.now + 2.0
        clock.advance(2.0)
        assert one.names() == ["cat/p.jpg"]

    def test_not_again_while_it_is_worked_on(self, bench, clock):
        """A listing in between does not hand out again what was handed out just now."""
        one = bench()
        one.put("cat/p.jpg")
        one.names()
        clock.advance(2.0)
        assert one.names() == ["cat/p.jpg"]

        one.put("cat/other.jpg")
        clock.advance(1.0)
        one.folder._watch.ring()
        assert one.names() == []
        assert one.folder.pending == 2

    def test_put_back_for_longer(self, bench, clock):
        """A file can be put off for as long as the caller wants."""
        one = bench()
        one.put("cat/p.jpg")
        one.names()
        clock.advance(2.0)
        [arrival] = one.folder.ready(1)

        one.folder.put_back(arrival, 60.0)

        clock.advance(59.0)
        assert one.names() == []
        clock.advance(1.0)
        assert one.names() == ["cat/p.jpg"]

    def test_same_name_again_is_a_new_file(self, bench, clock):
        """After a file was taken away another one of the same name, size and time arrives on its own."""
        one = bench()
        one.put("cat/p.jpg", mtime=5)
        one.names()
        clock.advance(2.0)
        [arrival] = one.folder.ready(1)
        arrival.path.unlink()
        one.put("cat/p.jpg", mtime=5)

        clock.advance(10.0)
        one.names()
        clock.advance(10.0)
        assert one.names() == ["cat/p.jpg"]


class TestFolderThatCannotBeRead:
    def test_what_is_known_is_kept(self):
        """A folder that cannot be read for once loses nothing: its files need not settle again."""
        settling = Settling(2.0)
        listing = FolderListing("cat", files=[("p.jpg", Signature(1, 2, 3))])
        settling.see([listing], 0.0, lambda: 0.0)

        settling.see([FolderListing("cat", error="closed")], 1.0, lambda: 1.0)
        assert len(settling) == 1
        settling.see([listing], 2.0, lambda: 2.0)

        assert [key for key, _, _ in settling.take(9, 2.0)] == [("cat", "p.jpg")]

    def test_a_look_is_as_late_as_its_listing(self):
        """The wait begins when the first listing ends, however long it took."""
        settling = Settling(2.0)
        listing = FolderListing("cat", files=[("p.jpg", Signature(1, 2, 3))])
        settling.see([listing], 0.0, lambda: 5.0)

        settling.see([listing], 6.0, lambda: 6.0)
        assert settling.take(9, 6.0) == []
        settling.see([listing], 7.0, lambda: 7.0)

        assert len(settling.take(9, 7.0)) == 1


class TestOpening:
    @pytest.fixture
    def ready(self, bench, clock):
        """A bench with one arrival."""
        one = bench()
        one.put("cat/p.jpg", mtime=5)
        one.names()
        clock.advance(2.0)
        [arrival] = one.folder.ready(1)
        return one, arrival

    @pytest.mark.parametrize("how", ["gone", "rewritten", "link", "folder", "pipe", "folder is a link"])
    def test_what_changed_is_not_opened(self, ready, tmp_path, how):
        """B6: a file that is not the one that lay still is None, without waiting for a writer or following a link."""
        one, arrival = ready
        secret = tmp_path / "secret"
        secret.mkdir()
        os.link(arrival.path, secret / "p.jpg")  # so that only the link gives it away
        arrival.path.unlink()
        if how == "rewritten":
            arrival.path.write_bytes(b"xy")
        elif how == "link":
            arrival.path.symlink_to(secret / "p.jpg")
        elif how == "folder":
            arrival.path.mkdir()
        elif how == "pipe":
            os.mkfifo(arrival.path)
        elif how == "folder is a link":
            arrival.path.parent.rmdir()
            arrival.path.parent.symlink_to(secret)

        assert one.folder.open_arrival(arrival) is None
        assert not one.folder.still_same(arrival)

    def test_a_changed_file_settles_anew(self, ready, clock):
        """A file that changed under our hands is handed out again when it has settled."""
        one, arrival = ready
        one.put("cat/p.jpg", b"longer")

        assert one.folder.open_arrival(arrival) is None

        clock.advance(1.0)
        one.names()
        clock.advance(2.0)
        [again] = one.folder.ready(1)
        assert again.signature.size == 6

    def test_change_after_opening(self, ready):
        """B6: what is written while the file is read is noticed before it counts."""
        one, arrival = ready
        descriptor = one.folder.open_arrival(arrival)
        assert one.folder.still_same(arrival, descriptor)

        one.put("cat/p.jpg", b"longer")

        assert not one.folder.still_same(arrival, descriptor)
        os.close(descriptor)

    def test_out_of_descriptors(self, ready):
        """When no file can be opened at all that is a `StoreError`, not the file's fault."""
        one, arrival = ready
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(StoreError, match="too many files"):
                one.folder.open_arrival(arrival)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class TestWhatIsNotRead:
    @pytest.mark.parametrize(
        "name",
        [
            ".hidden",
            ".p.jpg.Ab12xy",
            "p.jpg~",
            "p.tmp",
            "P.TMP",
            "p.part",
            "p.crdownload",
            ".syncthing.p.jpg.tmp",
            ".goutputstream-X",
            "._p.jpg",
            "Thumbs.db",
            "~$p.docx",
            "desktop.ini",
            ".edge-agent-12-3",
        ],
    )
    def test_ignored_names(self, bench, clock, name):
        """B5: hidden, temporary and half-written names are as if they were not there."""
        one = bench(settle_seconds=0.0)
        one.put(f"cat/{name}")
        one.put(name)
        (one.path / ".folder").mkdir()
        (one.path / ".folder" / "p.jpg").write_bytes(b"x")

        assert one.names() == []
        assert one.folder.pending == 0
        assert one.folder.oddities == []

    @pytest.mark.parametrize("name", ["p.jpg", "tmp", "part.jpg", "a~b", "thumbs.dbx", "p.tmp.jpg"])
    def test_names_that_only_look_alike(self, name):
        """B5: ordinary names are not ignored."""
        assert not is_ignored(name)

    def test_links_pipes_and_deeper_folders(self, bench, clock, tmp_path):
        """B6: none of them is ever read; each is reported once, with its reason, for as long as it is there."""
        one = bench(settle_seconds=0.0)
        (tmp_path / "secret.jpg").write_bytes(b"x")
        cat = one.path / "cat"
        cat.mkdir()
        (cat / "link.jpg").symlink_to(tmp_path / "secret.jpg")
        os.mkfifo(cat / "pipe.jpg")
        (cat / "deeper").mkdir()
        (cat / "deeper" / "p.jpg").write_bytes(b"x")
        (one.path / "dog").symlink_to(tmp_path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(cat / "socket"))

        assert one.names() == []

        found = {oddity.path.name: oddity.reason for oddity in one.folder.new_oddities()}
        assert sorted(found) == ["deeper", "dog", "link.jpg", "pipe.jpg", "socket"]
        assert "a link" in found["link.jpg"]
        assert "a link" in found["dog"]
        assert "not a regular file" in found["pipe.jpg"]
        clock.advance(10.0)
        one.names()
        assert one.folder.new_oddities() == []
        assert len(one.folder.oddities) == 5
        (cat / "link.jpg").unlink()
        clock.advance(10.0)
        one.names()
        assert len(one.folder.oddities) == 4

    def test_a_date_the_system_cannot_hold(self, bench, clock):
        """A picture dated 2050 hides no other; where seconds have 32 bits, it is pointed out."""
        one = bench(settle_seconds=0.0)
        late = one.put("cat/late.jpg")
        one.put("cat/other.jpg")
        date_2050(late)

        names = one.names()

        if sys.maxsize > 2**32:
            assert sorted(names) == ["cat/late.jpg", "cat/other.jpg"]
        else:
            assert names == ["cat/other.jpg"]
            (oddity,) = one.folder.oddities
            assert oddity.path == late
            assert "32-bit" in oddity.reason
            subprocess.run(["touch", late], check=True)
            clock.advance(10.0)
            assert "cat/late.jpg" in one.names()

    def test_without_a_label(self, bench):
        """A file directly in the drop folder is handed out with the reason why it must be rejected."""
        one = bench(settle_seconds=0.0)
        one.put("p.jpg")

        [arrival] = one.folder.ready(1)

        assert (arrival.label, arrival.name, arrival.safe_folder) == ("", "p.jpg", "unlabelled")
        assert "directly in the drop folder" in arrival.problem

    @pytest.mark.parametrize(
        ("folder", "safe"), [("a\nb", r"a\x0ab"), (" cat", "cat"), ("x" * 65, "x" * 64), ("a:b", "a:b")]
    )
    def test_folder_that_cannot_be_a_label(self, bench, folder, safe):
        """Its files are handed out with the reason, and with a name under which they can be put aside."""
        one = bench(settle_seconds=0.0)
        one.put(f"{folder}/p.jpg")

        [arrival] = one.folder.ready(1)

        assert "cannot be a label" in arrival.problem
        assert arrival.safe_folder == safe
        assert arrival.path.read_bytes() == b"x"

    def test_names_that_are_not_text(self, bench):
        """B6: folders and files whose names are not UTF-8 are found, and can be opened."""
        one = bench(settle_seconds=0.0)
        (one.path / os.fsdecode(b"c\xfft")).mkdir()
        (one.path / os.fsdecode(b"c\xfft/p\xfe.jpg")).write_bytes(b"x")
        one.put(os.fsdecode(b"cat/p\xfe.jpg"))

        arrivals = {arrival.label: arrival for arrival in one.folder.ready(10)}

        assert arrivals["cat"].problem == ""
        assert r"c\xfft" in arrivals[os.fsdecode(b"c\xfft")].problem
        for arrival in arrivals.values():
            descriptor = one.folder.open_arrival(arrival)
            assert descriptor is not None
            os.close(descriptor)

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
    def test_what_may_not_be_read(self, tmp_path):
        """As another user: a closed folder is an oddity, a closed file comes with that as its problem."""
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents:  # those of this run; what lies above is not ours
            if parent.name.startswith(("pytest-", "popen-")):
                parent.chmod(0o755)
        drop = tmp_path / "drop"
        (drop / "closed").mkdir(parents=True)
        (drop / "closed").chmod(0o700)
        (drop / "cat").mkdir()
        (drop / "cat" / "p.jpg").write_bytes(b"x")
        (drop / "cat" / "p.jpg").chmod(0o600)
        code = """
import os, sys, pathlib
from edge_agent.agent.dropfolder import DropFolder
from edge_agent.config import DropFolderConfig
os.setgid(65534); os.setuid(65534)
now = [0.0]
folder = DropFolder(DropFolderConfig(settle_seconds=0), pathlib.Path(sys.argv[1]), doorbell=print,
                    monotonic=lambda: now[0])
folder.open(watch=False)
[first] = folder.ready(10)
print(repr(first.problem), folder.open_arrival(first))
now[0] = 1.0
[again] = folder.ready(10)
print(again.problem)
print([(oddity.path.name, oddity.reason) for oddity in folder.new_oddities()])
folder.close()
"""
        done = subprocess.run(
            [sys.executable, "-c", code, str(drop)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        if "edge_agent" in done.stderr and "No module" in done.stderr:
            pytest.skip("another user may not read this checkout")

        assert done.stderr == ""
        first, again, odd = done.stdout.splitlines()
        assert first == "'' None"
        assert again.startswith("the file cannot be read: Permission denied")
        assert odd == "[('closed', 'the folder cannot be read: Permission denied')]"


class TestDegrading:
    def test_cannot_be_used(self, tmp_path, clock):
        """A file in the place of the drop folder is a `UserError` with the path and what to do."""
        (tmp_path / "drop").write_bytes(b"")

        with pytest.raises(UserError, match=r"drop: the drop folder cannot be used.*drop_folder\.path"):
            Bench(tmp_path / "drop", clock)

    def test_folder_removed_and_made_again(self, bench, clock):
        """B3: without its folder it says so and goes on; when the folder is back files arrive and events return."""
        one = bench(watch_events=True)
        one.names()
        assert one.folder.watching == "events"
        one.path.rmdir()

        clock.advance(6.0)
        assert one.names() == []
        assert one.folder.watching.startswith("nothing: the drop folder cannot be read")
        next_look = one.folder.next_look()
        assert next_look is not None
        assert clock.now < next_look <= clock.now + 5.0
        clock.advance(60.0)
        one.names()
        next_look = one.folder.next_look()
        assert next_look is not None
        assert clock.now < next_look <= clock.now + 5.0

        one.put("cat/p.jpg")
        clock.advance(5.0)
        one.names()
        clock.advance(2.0)
        assert one.names() == ["cat/p.jpg"]
        assert one.folder.watching == "events"

    def test_folder_replaced(self, bench, clock, tmp_path):
        """B3: another folder of the same name is noticed within ten seconds, and what lies in it is found."""
        one = bench(watch_events=True)
        one.names()
        one.path.rename(tmp_path / "old")
        one.put("cat/p.jpg")
        one.folder._watch.answer()

        clock.advance(5.0)
        one.names()
        assert one.folder.watching == "polling: the drop folder was replaced"
        clock.advance(5.0)
        assert one.names() == ["cat/p.jpg"]
        clock.advance(30.0)
        one.names()
        assert one.folder.watching == "events"

    def test_folder_unmounted(self, bench, clock, tmp_path):
        """B3: a disk that is pulled out and put in again: what lies below is not mistaken for it for long."""
        (tmp_path / "drop").mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "drop")]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a file system can only be mounted by root")
        try:
            one = bench(watch_events=True)
            one.names()
            assert one.folder.watching == "events"
            subprocess.run(["umount", "--lazy", str(one.path)], check=True)
            clock.advance(5.0)
            one.names()
            assert one.folder.watching.startswith("polling: ")

            subprocess.run(mount, check=True, capture_output=True)
            one.put("cat/p.jpg")
            for _ in range(10):
                clock.advance(5.0)
                if one.names() == ["cat/p.jpg"]:
                    break
            else:
                pytest.fail("what lies on the disk that came back was not found")
            clock.advance(30.0)
            one.names()
            assert one.folder.watching == "events"
        finally:
            one.folder.close()
            subprocess.run(["umount", "--lazy", str(tmp_path / "drop")], capture_output=True, check=False)

    def test_deaf_watch(self, bench, clock):
        """B3: files that no event tells of are found within ten seconds, and the watch is replaced by polling."""

        class Deaf(Watch):
            def __init__(self, root, doorbell):
                super().__init__(root, doorbell, make_observer=lambda: DeafObserver())

        one = bench(watch_events=True, make_watch=Deaf)
        one.names()
        clock.advance(1.0)
        one.put("cat/1.jpg")
        clock.advance(4.0)
        one.names()
        clock.advance(2.0)
        assert one.names() == ["cat/1.jpg"]
        assert one.folder.watching == "events"

        one.put("cat/2.jpg")
        clock.advance(3.0)
        one.names()
        assert one.folder.watching == "polling: files changed and no event told of it"
        clock.advance(30.0)
        one.names()
        assert one.folder.watching == "events"

    def test_dead_watch(self, bench, clock):
        """B3: a watch whose thread ended is noticed at the next check."""
        one = bench(watch_events=True)
        one.names()
        observer = one.folder._watch._observer
        observer.stop()
        observer.join()

        clock.advance(5.0)
        one.names()

        assert one.folder.watching == "polling: the watch ended by itself"

    def test_limit_of_watches(self, tmp_path):
        """B3: where no more watchers may be made it polls, says why, and still finds what arrives."""
        code = """
import pathlib, sys
from edge_agent.agent.dropfolder import DropFolder
from edge_agent.config import DropFolderConfig
pathlib.Path("/proc/sys/user/max_inotify_instances").write_text("0")
now = [0.0]
folder = DropFolder(DropFolderConfig(), pathlib.Path(sys.argv[1]), doorbell=lambda: None, monotonic=lambda: now[0])
folder.open()
print(folder.watching)
(folder.path / "cat").mkdir()
(folder.path / "cat" / "p.jpg").write_bytes(b"x")
folder.ready(1); now[0] = 5.0
print(len(folder.ready(1)))
pathlib.Path("/proc/sys/user/max_inotify_instances").write_text("100"); now[0] = 31.0
folder.ready(0)
print(folder.watching)
folder.close()
"""
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", sys.executable, "-c", code, str(tmp_path / "drop")],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        if "unshare" in done.stderr or "max_inotify" in done.stderr:
            pytest.skip(f"no user namespace with limits of its own here: {done.stderr.strip()[-100:]}")

        assert done.stderr == ""
        why, found, again = done.stdout.splitlines()
        assert why == "polling: the limit of watchers is reached; raise fs.inotify.max_user_instances"
        assert found == "1"
        assert again == "events"

    def test_closed_or_never_opened(self, tmp_path):
        """Closing is safe at any time, and no thread is left."""
        before = threading.active_count()
        folder = DropFolder(DropFolderConfig(), tmp_path / "drop", doorbell=lambda: None)
        folder.close()
        assert folder.next_look() is None
        folder.open()
        assert folder.watching == "events"
        folder.close()
        folder.close()

        assert folder.next_look() is None
        assert threading.active_count() == before


class DeafObserver(Observer):
    """An observer that runs and never reports anything."""

    def schedule(self, event_handler, path, **more):
        """Watch nothing."""
        return


class TestWhenToLook:
    def test_rescans_however_quiet_it_is(self, bench, clock):
        """With events the folder is listed every five minutes all the same, and checked every five seconds."""
        one = bench(watch_events=True)
        one.names()
        assert one.folder.next_look() == clock.now + 5.0

    def test_polls(self, bench, clock):
        """Without events it is listed every `poll_seconds`."""
        one = bench(poll_seconds=7.0)
        one.names()

        assert one.folder.next_look() == clock.now + 7.0
        assert one.folder.watching == "polling: nobody waits for events"

    def test_a_bell_without_end_does_not_list_without_end(self, bench, clock):
        """However often the bell rings, a listing is made at most four times a second."""
        one = bench()
        one.names()
        one.put("cat/p.jpg")
        one.folder._watch.ring()

        one.names()
        assert one.folder.pending == 0
        assert one.folder.next_look() == clock.now + 0.25
        clock.advance(0.25)
        one.names()
        assert one.folder.pending == 1

    @pytest.mark.parametrize(
        ("event", "rings"),
        [
            (FileCreatedEvent("drop/cat/p.jpg"), True),
            (FileModifiedEvent("drop/cat/p.jpg"), True),
            (FileClosedEvent("drop/cat/p.jpg"), True),
            (FileMovedEvent("drop/cat/.p.jpg.tmp", "drop/cat/p.jpg"), True),
            (DirCreatedEvent("drop/cat"), True),
            (DirDeletedEvent("drop"), True),
            (FileCreatedEvent("drop/cat/p.part"), False),
            (FileMovedEvent("drop/cat/p.jpg", "drop/cat/.hidden"), False),
            (FileDeletedEvent("drop/cat/p.jpg"), False),
            (FileOpenedEvent("drop/cat/p.jpg"), False),
            (FileClosedNoWriteEvent("drop/cat/p.jpg"), False),
            (DirModifiedEvent("drop/cat"), False),
        ],
        ids=lambda value: (
            f"{value.event_type} {value.src_path}" if isinstance(value, FileSystemEvent) else str(value)
        ),
    )
    def test_what_rings(self, event, rings):
        """What may be an arrival rings; our own reading and taking away does not, or it would never be quiet."""
        rung = []
        watch = Watch(Path("drop"), lambda: rung.append(1))

        watch.handler().dispatch(event)

        assert (len(rung), watch.rang.is_set()) == ((1, True) if rings else (0, False))
        assert watch.heard.is_set()

    def test_watch_that_cannot_begin_leaves_no_thread(self, tmp_path):
        """A folder that is not there is a reason, and whatever was started by then has ended."""
        before = threading.active_count()

        assert "cannot be watched" in Watch(tmp_path / "nothing", lambda: None).start()

        assert threading.active_count() == before

    def test_polling_by_configuration(self, bench):
        """The configuration can ask for polling, and nothing is watched then."""
        assert (
            bench(watch="polling", watch_events=True).folder.watching == "polling: drop_folder.watch says so"
        )


class TestMounts:
    MOUNTS = """\
/dev/root / ext4 rw 0 0
server:/pictures {drop} nfs4 rw 0 0
//nas/share {drop}\\040two cifs rw 0 0
sshfs {drop}3/cat fuse.sshfs rw 0 0
short line
/dev/sda1 {drop}4 vfat rw 0 0
tmpfs {drop}/local tmpfs rw 0 0
"""

    @pytest.fixture
    def mounts(self, tmp_path):
        """A list of mounts as the kernel writes it."""
        path = tmp_path / "mounts"
        path.write_text(self.MOUNTS.format(drop=tmp_path / "drop"))
        return path

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("drop", "nfs4"),
            ("drop/deeper", "nfs4"),
            ("drop two", "cifs"),
            ("drop3", "fuse.sshfs"),
            ("drop4", None),
            ("drop/local", None),
            ("elsewhere", None),
        ],
    )
    def test_kind_of_file_system(self, tmp_path, mounts, name, kind):
        """B4: the innermost mount counts, and so does a remote one below the folder."""
        assert remote_file_system(tmp_path / name, mounts) == kind

    def test_remote_folder_is_polled(self, bench, mounts):
        """B4: a drop folder on a network file system is polled unless the configuration insists on events."""
        assert bench(mounts=mounts, watch_events=True).folder.watching == (
            "polling: nfs4 tells nothing about what others write"
        )
        assert bench(mounts=mounts, watch_events=True, watch="events").folder.watching == "events"

    def test_no_list_of_mounts(self, tmp_path):
        """Without /proc nothing is known and events are tried."""
        assert remote_file_system(tmp_path, tmp_path / "nothing") is None


class TestDeliver:
    @pytest.fixture
    def pictures(self, tmp_path):
        """Two files of one name in two folders."""
        paths = [tmp_path / folder / "p.jpg" for folder in ("a", "b")]
        for path in paths:
            path.parent.mkdir()
            path.write_bytes(path.parent.name.encode())
        return paths

    def test_copies_under_free_names(self, tmp_path, pictures):
        """Both files are there, whole, under names of their own; the originals stay."""
        placed = deliver(tmp_path / "drop", "cat", pictures)

        assert placed == [tmp_path / "drop" / "cat" / "p.jpg", tmp_path / "drop" / "cat" / "p-2.jpg"]
        assert [path.read_bytes() for path in placed] == [b"a", b"b"]
        assert all(path.exists() for path in pictures)
        assert sorted(path.name for path in (tmp_path / "drop" / "cat").iterdir()) == ["p-2.jpg", "p.jpg"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
    def test_what_root_adds_belongs_to_the_owner_of_the_folder(self, pictures):
        """Root adds pictures that only root can read, and the service's user can read and remove what came."""
        with tempfile.TemporaryDirectory() as place:  # others may not look into pytest's folders
            Path(place).chmod(0o755)
            drop = Path(place, "drop")
            drop.mkdir()
            os.chown(drop, 4321, 4322)
            placed = deliver(drop, "cat", pictures)
            owners = {(path.stat().st_uid, path.stat().st_gid) for path in [drop / "cat", *placed]}

        assert owners == {(4321, 4322)}
        assert (os.geteuid(), os.getegid()) == (0, 0)

    def test_taken_in_without_the_wait(self, bench, clock, pictures, tmp_path):
        """B7: a watching agent knows from the rename that the file is whole."""
        # Of a folder that is made at the same moment events may begin too late.
        (tmp_path / "drop" / "cat").mkdir(parents=True)
        one = bench(watch_events=True)
        one.names()
        clock.advance(1.0)
        deliver(one.path, "cat", pictures)

        got = []

        def all_there():
            clock.advance(0.001)
            got.extend(one.folder.ready(10))
            one.folder._gap = 0.0
            return len(got) == 2

        assert one.wait_for(all_there)
        assert clock.now < 1000.0 + 1.0 + 2.0

    def test_unreadable_sources(self, tmp_path, pictures):
        """One source that cannot be read is named, and nothing at all is copied."""
        for bad in (tmp_path / "nothing.jpg", tmp_path):
            with pytest.raises(UserError, match=str(bad)):
                deliver(tmp_path / "drop", "cat", [*pictures, bad])

        assert not (tmp_path / "drop").exists()

    def test_bad_label(self, tmp_path, pictures):
        """A label that cannot be a folder is refused before anything happens."""
        with pytest.raises(LabelError):
            deliver(tmp_path / "drop", "../cat", pictures)

        assert not (tmp_path / "drop").exists()

    def test_folder_under_another_spelling(self, tmp_path, pictures):
        """A folder that macOS made for the same label is used, not doubled."""
        (tmp_path / "drop" / "Ka\u0308tzchen").mkdir(parents=True)

        [placed] = deliver(tmp_path / "drop", "K\u00e4tzchen", pictures[:1])

        assert placed.parent.name == "Ka\u0308tzchen"

    def test_link_in_the_place_of_the_label(self, tmp_path, pictures):
        """Nothing is written through a link; the error says what to do."""
        (tmp_path / "drop").mkdir()
        (tmp_path / "drop" / "cat").symlink_to(tmp_path / "a")

        with pytest.raises(UserError, match="not a folder; remove it"):
            deliver(tmp_path / "drop", "cat", pictures)

    def test_shared_folder_gets_shared_files(self, tmp_path, pictures):
        """In a private drop folder copies are private; in a group's they are readable by the group."""
        [private] = deliver(tmp_path / "private", "cat", pictures[:1])
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared").chmod(0o2770)
        [shared] = deliver(tmp_path / "shared", "cat", pictures[:1])

        assert (private.stat().st_mode & 0o777, private.parent.stat().st_mode & 0o7777) == (0o600, 0o700)
        assert (shared.stat().st_mode & 0o777, shared.parent.stat().st_mode & 0o7777) == (0o640, 0o2770)

    def test_hidden_source(self, bench, tmp_path):
        """A file whose name would be ignored is delivered under one that is not."""
        (tmp_path / ".hidden.jpg").write_bytes(b"x")
        one = bench(settle_seconds=0.0)

        deliver(one.path, "cat", [tmp_path / ".hidden.jpg"])

        assert len(one.names()) == 1


@pytest.mark.slow
@pytest.mark.measured
def test_twelve_thousand_files(bench, clock):
    """They are all found, and each is handed out once, in a few seconds of work."""
    one = bench()
    for folder in ("cat", "dog", "cow"):
        (one.path / folder).mkdir()
        for number in range(4000):
            (one.path / folder / f"{number}.jpg").touch()
    started = time.monotonic()
    assert one.names() == []
    clock.advance(2.0)
    got = set()
    while portion := one.folder.ready(256):
        for arrival in portion:
            got.add(arrival.path)
            arrival.path.unlink()
        clock.advance(1.0)

    assert len(got) == 12_000
    assert one.folder.pending == 0
    assert time.monotonic() - started < 30.0


@pytest.mark.slow
def test_events_lost_while_the_interpreter_stands_still(tmp_path):
    """B1: of 12,000 files that arrive while no Python code runs for six seconds, each is found, once, in a minute."""
    bell = threading.Event()
    folder = DropFolder(DropFolderConfig(settle_seconds=1.0), tmp_path / "drop", doorbell=bell.set)
    folder.open()
    try:
        folder.ready(1)
        code = """
import pathlib, sys
for folder in ("cat", "dog", "cow"):
    path = pathlib.Path(sys.argv[1], folder)
    path.mkdir()
    for number in range(4000):
        (path / f"{number}.jpg").write_bytes(b"x")
"""
        with subprocess.Popen([sys.executable, "-c", code, str(folder.path)]) as writer:
            ctypes.PyDLL(None).sleep(6)  # unlike CDLL, this keeps the interpreter's lock
        assert writer.returncode == 0
        got: list[Path] = []
        patience = time.monotonic() + 60.0
        while len(got) < 12_000 and time.monotonic() < patience:
            for arrival in folder.ready(500):
                got.append(arrival.path)
                arrival.path.unlink()
            bell.wait(max(0.0, folder.next_look() - time.monotonic()))
            bell.clear()
    finally:
        folder.close()

    assert len(got) == len(set(got)) == 12_000
