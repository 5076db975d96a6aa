"""Backups: one moment's view of a state directory, made while an agent works on it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.backup import HEAD, back_up
from edge_agent.agent.forgetting import NOTE
from edge_agent.agent.home import Home
from edge_agent.config import Config, UpdateConfig
from edge_agent.errors import NotFoundError, StoreError
from edge_agent.store.samples import SampleStore

from .conftest import Bench


@pytest.fixture(name="home")
def _home(bench: Bench) -> Home:
    """A state directory with eight samples and a version; its agent is open."""
    bench.open()
    for label in ("cat", "dog"):
        bench.show(label, *(f"{label} {i}" for i in range(4)))
    bench.agent.start()
    bench.settle()
    return Home(bench.home)


def members(backup: Path) -> dict[str, bytes]:
    """What is in a backup, by name."""
    with tarfile.open(backup) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}


def rows(backup: Path, folder: Path) -> dict[str, str]:
    """Digest and place of every sample in a backup."""
    path = folder / "looked-at.db"
    path.write_bytes(members(backup)["agent.db"])
    with SampleStore(path, read_only=True) as store:
        return {sample.digest: sample.stored_path for sample in store.list()}


def is_consistent(backup: Path, folder: Path) -> int:
    """Hold every picture against its row; how many samples there are."""
    found, known = members(backup), rows(backup, folder)
    pictures = {name: data for name, data in found.items() if name.startswith("archive/")}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in pictures.items()} == {
        place: digest for digest, place in known.items()
    }
    return len(known)


def test_a_backup_has_all_that_was_learned(home: Home, tmp_path: Path) -> None:
    """Samples, pictures, versions, which one answers, and the configuration, wherever that lies."""
    config = tmp_path / "elsewhere.toml"
    config.write_text("# mine\n")
    report = back_up(home, tmp_path / "b.tar", config)
    found = members(tmp_path / "b.tar")

    assert (report.samples, report.pictures, report.versions, report.left_out) == (8, 8, [1], 0)
    assert report.size_bytes == (tmp_path / "b.tar").stat().st_size
    assert is_consistent(tmp_path / "b.tar", tmp_path) == 8
    assert found["models/current"] == b"000001\n"
    assert "models/versions/000001/manifest.json" in found
    assert found["edge-agent.toml"] == b"# mine\n"
    assert next(iter(found)) == HEAD
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600


def test_two_backups_of_the_same_are_the_same_bytes(home: Home, tmp_path: Path) -> None:
    """So a program that keeps many of them stores one."""
    for name in ("a.tar", "b.tar"):
        back_up(home, tmp_path / name)

    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_nothing_is_left_beside_a_backup(home: Home, tmp_path: Path) -> None:
    """Neither the copy of the database nor half a file."""
    before = {path.name for path in tmp_path.iterdir()}
    killed = tmp_path / f".edge-agent-{2**22 + 1}-0"
    killed.write_bytes(b"half a backup")
    os.utime(killed, (0, 0))
    meanwhile: set[str] = set()
    back_up(
        home, tmp_path / "b.tar", packed=lambda _: meanwhile.update(one.name for one in tmp_path.iterdir())
    )

    assert {path.name for path in tmp_path.iterdir()} == before | {"b.tar"}
    assert all(name.startswith(f".edge-agent-{os.getpid()}-") for name in meanwhile - before)
    assert len(meanwhile - before) == 2, "the file, and the folder with the copy"


def test_backup_during_intake(bench: Bench, home: Home, tmp_path: Path) -> None:
    """While pictures stream in and versions are published, every backup is one consistent moment."""
    agent = bench.agent
    ended = threading.Event()
    counts: list[int] = []

    def save() -> None:
        try:
            for number in range(6):
                back_up(home, tmp_path / f"{number}.tar")
                counts.append(is_consistent(tmp_path / f"{number}.tar", tmp_path))
        finally:
            ended.set()

    thread = threading.Thread(target=save)
    thread.start()
    i = 100
    while not ended.is_set():
        bench.show("cat", f"cat {i}")
        bench.show("fox", f"fox {i}")
        i += 1
        bench.clock.advance(1.0)
        agent.step()
    thread.join()

    assert len(counts) == 6
    assert counts == sorted(counts)
    assert counts[-1] > 8


def test_what_is_forgotten_meanwhile_is_not_in_the_backup(bench: Bench, home: Home, tmp_path: Path) -> None:
    """Forgetting that ends before the backup does: it is made again, without the picture and its versions."""
    [picture, *_] = sorted(home.archive_folder.glob("cat/*"))
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    seen: list[int] = []

    def forget(_count: int) -> None:
        seen.append(1)
        if len(seen) == 3:
            bench.ask("forget", digest=digest)

    report = back_up(home, tmp_path / "b.tar", packed=forget)

    assert report.samples == 7
    assert len(seen) > 8
    assert digest not in rows(tmp_path / "b.tar", tmp_path)
    assert digest.encode() not in (tmp_path / "b.tar").read_bytes()
    assert is_consistent(tmp_path / "b.tar", tmp_path) == 7


def test_what_is_forgotten_before_there_is_a_version_is_not_in_it_either(
    bench: Bench, tmp_path: Path
) -> None:
    """Rows are held against each other, not only versions: nothing is learned here yet."""
    bench.open(Config(update=UpdateConfig(quiet_seconds=3600, new_label_samples=1000, min_new_samples=1000)))
    bench.show("cat", *(f"cat {i}" for i in range(4)))
    bench.agent.start()
    bench.live(30)
    home = Home(bench.home)
    first = bench.ask("samples")[0]["digest"]
    seen: list[int] = []

    def forget(_count: int) -> None:
        seen.append(1)
        if len(seen) == 3:
            bench.ask("forget", digest=first)

    report = back_up(home, tmp_path / "b.tar", packed=forget)

    assert report.samples == 3
    assert first not in rows(tmp_path / "b.tar", tmp_path)


def test_what_is_being_forgotten_meanwhile_is_looked_for(bench: Bench, home: Home, tmp_path: Path) -> None:
    """Forgetting that has begun may have taken a picture before its row: the backup is made again then."""
    seen: list[int] = []

    def begin(_count: int) -> None:
        seen.append(1)
        if len(seen) == 3:
            with closing(sqlite3.connect(home.database_path)) as other, other:
                other.execute("REPLACE INTO meta (key, value) VALUES (?, ?)", (NOTE, "sweep"))

    back_up(home, tmp_path / "b.tar", packed=begin)

    assert len(seen) == 16


def test_a_version_that_goes_meanwhile_is_not_in_it(home: Home, tmp_path: Path) -> None:
    """Pruned or forgotten after it was packed: the backup is made again without it."""
    report = back_up(
        home,
        tmp_path / "b.tar",
        packed=lambda _: shutil.rmtree(home.models_folder / "versions" / "000001", ignore_errors=True),
    )

    assert report.versions == []
    assert not [name for name in members(tmp_path / "b.tar") if name.startswith("models/versions/")]


def test_endless_forgetting_ends_in_a_message(bench: Bench, home: Home, tmp_path: Path) -> None:
    """After three attempts nothing is written and the earlier backup is still there."""
    (tmp_path / "b.tar").write_text("the one before")
    digests = [row["digest"] for row in bench.ask("samples")]

    def forget(_count: int, given: list[bool] = []) -> None:  # noqa: B006  # remembers that this attempt has one
        given.append(True)
        if len(given) % 4 == 0:
            bench.ask("forget", digest=digests.pop())

    with pytest.raises(StoreError, match="try again later"):
        back_up(home, tmp_path / "b.tar", packed=forget)
    assert (tmp_path / "b.tar").read_text() == "the one before"


def test_a_picture_that_moves_is_found(bench: Bench, home: Home, tmp_path: Path) -> None:
    """Relabelled in the middle: its bytes are under the place that the backup's own row names."""
    [sample] = bench.ask("samples", label="dog", limit=1, offset=3)
    done: list[Any] = []

    def relabel(_count: int) -> None:
        if not done:
            done.append(bench.ask("relabel", digest=sample["digest"], label="cat"))

    report = back_up(home, tmp_path / "b.tar", packed=relabel)

    assert (report.left_out, report.samples) == (0, 8)
    assert is_consistent(tmp_path / "b.tar", tmp_path) == 8
    assert "archive/dog/" in rows(tmp_path / "b.tar", tmp_path)[sample["digest"]]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("rot")])
def test_a_damaged_picture_does_not_keep_anybody_from_a_backup(
    home: Home, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    """It is left out and named; everything else is in it."""
    [picture, *_] = sorted(home.archive_folder.glob("cat/*"))
    spoil(picture)
    report = back_up(home, tmp_path / "b.tar")

    assert (report.samples, report.pictures, report.left_out) == (8, 7, 1)
    assert report.names == [picture.relative_to(home.path).as_posix()]


def test_a_damaged_version_is_left_out(home: Home, tmp_path: Path) -> None:
    """What would not be believed at the next start is not saved either."""
    manifest = home.models_folder / "versions" / "000001" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("cat", "cut"))
    report = back_up(home, tmp_path / "b.tar")

    assert (report.versions, report.names) == ([], ["version 1"])


def test_an_empty_state_directory_has_no_backup(tmp_path: Path) -> None:
    """There is nothing, and nothing is written."""
    with pytest.raises(NotFoundError, match="nothing to back up"):
        back_up(Home(tmp_path), tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def test_the_head_says_what_it_is(home: Home, tmp_path: Path) -> None:
    """A format, so that later programs know; no time, so that the same is the same."""
    back_up(home, tmp_path / "b.tar")

    assert json.loads(members(tmp_path / "b.tar")[HEAD]).keys() == {"format", "edge_agent"}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_samples(tmp_path: Path, new_samples: Any) -> None:
    """Ten thousand samples with pictures: a few megabytes, whatever is in the archive."""
    home = Home(tmp_path / "home")
    new_samples(home, 10_000)
    tracemalloc.start()
    report = back_up(home, tmp_path / "b.tar")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (report.samples, report.pictures) == (10_000, 10_000)
    assert peak < 8e6


@pytest.fixture(name="new_samples")
def _new_samples() -> Callable[[Home, int], None]:
    """Fills a state directory with small samples, without an agent."""
    import numpy as np

    from edge_agent.store.samples import NewSample

    def fill(home: Home, count: int) -> None:
        home.make()
        folder = home.archive_folder / "cat"
        folder.mkdir(parents=True)
        new = []
        for i in range(count):
            data = str(i).encode()
            digest = hashlib.sha256(data).hexdigest()
            path = folder / f"{i}-{digest[:16]}.jpg"
            path.write_bytes(data)
            new.append(
                NewSample(
                    digest=digest,
                    label="cat",
                    features=np.full(8, i % 7 + 1, dtype=np.float32),
                    source_name=f"{i}.jpg",
                    stored_path=f"archive/cat/{path.name}",
                    size_bytes=len(data),
                    width=1,
                    height=1,
                )
            )
        with SampleStore(home.database_path) as store:
            store.add(new, "fake:1")

    return fill
