"""A disk without room or inodes, in every phase: nothing crashes, nothing is lost or counted twice, and it goes on."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.agent.backup import back_up
from edge_agent.agent.home import Home
from edge_agent.config import Config, LearningConfig, LimitsConfig
from edge_agent.errors import StoreError
from edge_agent.hookspecs import hookimpl

if TYPE_CHECKING:
    from tests.agent.conftest import Bench

pytestmark = pytest.mark.slow

CONFIG = Config(
    learning=LearningConfig(held_out_fraction=0.0),
    limits=LimitsConfig(min_free_disk_mb=0, max_celsius=0, min_free_memory_mb=0, on_battery="work"),
)
"""Nothing waits for room: what needs it finds out that there is none."""

FIRST = [f"{label} {number}" for label in ("cat", "dog") for number in range(6)]
MORE = [f"{label} {number}" for label in ("cat", "dog", "owl") for number in range(6, 12)]


class Disk:
    """A small file system for the state directory, and what fills it up."""

    def __init__(self, place: Path, kind: str) -> None:
        self.place = place
        self.kind = kind

    def fill(self) -> None:
        """Take all that is left: bytes, or inodes."""
        ballast = self.place / "ballast"
        ballast.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            if self.kind == "inodes":
                for number in range(100_000):
                    (ballast / str(number)).touch()
            with (ballast / "bytes").open("ab", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

    def free(self) -> None:
        """Give it back."""
        for path in (self.place / "ballast").iterdir():
            path.unlink()


class Filler:
    """Fills the disk when the agent tells that something has happened, once."""

    def __init__(self, event: str, disk: Disk) -> None:
        self.event: str | None = event
        self.disk = disk

    def _heard(self, event: str) -> None:
        if event == self.event:
            self.event = None
            self.disk.fill()

    @hookimpl
    def sample_ingested(self, sample: Any) -> None:
        """It is stored, and not archived yet."""
        self._heard("sample_ingested")

    @hookimpl
    def training_begin(self, event: Any) -> None:
        """An update is under way."""
        self._heard("training_begin")

    @hookimpl
    def candidate_evaluated(self, evaluation: Any, decision: Any) -> None:
        """It is about to be published."""
        self._heard("candidate_evaluated")


@pytest.fixture(name="disk", params=["bytes", "inodes"])
def _disk(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Disk]:
    bench.home.mkdir()
    options = "size=16m,nr_inodes=300" if request.param == "inodes" else "size=6m"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(bench.home)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        yield Disk(bench.home, request.param)
    finally:
        bench.close()
        subprocess.run(["umount", "-l", str(bench.home)], check=True)


def show(bench: Bench, texts: list[str]) -> None:
    """Put pictures into the drop folder, each under its first word."""
    for text in texts:
        bench.show(text.split()[0], text)


def taught(bench: Bench, *, extra: Any = None) -> None:
    """An agent that has learned cats and dogs and published two versions."""
    bench.open(CONFIG)
    show(bench, FIRST[:4] + FIRST[6:10])
    bench.settle()
    show(bench, FIRST)
    bench.settle()
    if extra is not None:
        bench.open(CONFIG, extra=[("filler", extra)])
    assert bench.agent.facts()["version"] == 2


def whole(bench: Bench, texts: list[str]) -> None:
    """Every picture is stored once, lies in the archive under its digest, and nothing lies anywhere else."""
    wanted = {hashlib.sha256(text.encode()).hexdigest() for text in texts}
    rows = bench.ask("samples")
    assert sorted(row["digest"] for row in rows) == sorted(wanted)
    archived = [path for path in (bench.home / "archive").rglob("*") if path.is_file()]
    assert sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in archived) == sorted(wanted)
    assert not [path for path in bench.drop.rglob("*") if path.is_file()]
    assert bench.agent.facts()["trouble"] == ""


def well_again(bench: Bench, disk: Disk, texts: list[str]) -> int:
    """With room again all is done by itself, and all of it is there after the next start, too; the version then."""
    disk.free()
    bench.live(120)
    bench.settle()
    whole(bench, texts)
    version = bench.agent.facts()["version"]
    bench.open(CONFIG)
    bench.settle()
    whole(bench, texts)
    assert bench.agent.facts()["version"] == version
    return version


def answers(bench: Bench) -> None:
    """Pictures are answered, and the status is told."""
    folder = bench.drop.parent
    assert bench.predict(folder, "cat 99")["label"] == "cat"
    assert bench.predict(folder, "dog 99")["label"] == "dog"
    assert bench.ask("status")["pid"]


def test_intake_waits_for_room(bench: Bench, disk: Disk) -> None:
    """E4: Full before pictures come: they stay where they are, are answered meanwhile, and come in with room again."""
    taught(bench)
    disk.fill()
    show(bench, MORE)
    bench.live(60)

    answers(bench)
    left = {path.read_text() for path in bench.drop.rglob("*") if path.is_file()}
    archived = {path.read_text() for path in (bench.home / "archive").rglob("*") if path.is_file()}
    assert left | archived == set(FIRST + MORE)
    assert left
    assert "room" in bench.agent.facts()["trouble"]
    assert well_again(bench, disk, FIRST + MORE) == 3


@pytest.mark.parametrize("event", ["sample_ingested", "training_begin", "candidate_evaluated"])
def test_it_fills_up_in_the_middle(bench: Bench, disk: Disk, event: str) -> None:
    """E4: Full between commit and archive, while it learns, before it publishes: the version before answers on."""
    taught(bench, extra=Filler(event, disk))
    show(bench, MORE)
    bench.live(60)

    answers(bench)
    assert bench.agent.facts()["trouble"]
    assert well_again(bench, disk, FIRST + MORE) == 3


def test_it_can_be_rolled_back_without_room(bench: Bench, disk: Disk) -> None:
    """E4: The version before answers again, and is the one after the next start."""
    taught(bench)
    disk.fill()

    assert bench.ask("rollback")["version"] == 1
    bench.live(30)
    answers(bench)
    bench.open(CONFIG)
    assert bench.agent.facts()["version"] == 1
    answers(bench)


def test_it_can_be_made_to_forget_without_room(bench: Bench, disk: Disk) -> None:
    """E4: Bytes, features and whoever learned from them are gone; a version without it answers when there is room."""
    taught(bench)
    disk.fill()
    digest = hashlib.sha256(b"cat 1").hexdigest()

    bench.ask("forget", digest=digest)
    bench.live(30)
    archived = {path.read_text() for path in (bench.home / "archive").rglob("*") if path.is_file()}
    assert archived == set(FIRST) - {"cat 1"}
    assert digest not in {row["digest"] for row in bench.ask("samples")}
    assert well_again(bench, disk, [text for text in FIRST if text != "cat 1"]) > 2
    learned = (bench.home / "models" / "versions").glob("*/samples.bin")
    assert [path for path in learned if bytes.fromhex(digest) in path.read_bytes()] == []


def test_a_backup_without_room_leaves_nothing_behind(bench: Bench, disk: Disk, tmp_path: Path) -> None:
    """E4: A backup onto the full disk says so in a line and leaves no half of it; onto another one it works."""
    taught(bench)
    disk.fill()
    before = sorted(path.name for path in bench.home.iterdir())

    with pytest.raises(StoreError, match=r"room|space"):
        back_up(Home(bench.home), bench.home / "backup.tar")
    assert sorted(path.name for path in bench.home.iterdir()) == before
    assert back_up(Home(bench.home), tmp_path / "backup.tar").samples == len(FIRST)
    answers(bench)


def test_it_starts_without_room(bench: Bench, disk: Disk) -> None:
    """E4: A start on a full disk answers with the version that was there, and goes on when there is room."""
    taught(bench)
    bench.close()
    disk.fill()
    show(bench, MORE)

    bench.open(CONFIG)
    bench.live(30)
    answers(bench)
    assert well_again(bench, disk, FIRST + MORE) == 3
