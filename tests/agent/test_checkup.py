"""What an agent says of its surroundings: all in order, and each thing that can be wrong."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.errors import EngineError
from edge_agent.testing import FakeEngine, drop_texts
from edge_agent.vision.engine import EngineFacts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


def states(bench: Bench) -> dict[str, str]:
    """The state of each check."""
    return {check["name"]: check["state"] for check in bench.ask("checkup")["checks"]}


def message(bench: Bench, name: str) -> str:
    """What one check says."""
    [check] = [check for check in bench.ask("checkup")["checks"] if check["name"] == name]
    return str(check["message"])


def taught(bench: Bench) -> None:
    """An agent that has learned cats and dogs."""
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(4)])
    bench.settle()


def test_everything_in_order(bench: Bench) -> None:
    """Five checks, and what the extractor is; nothing stays open."""
    taught(bench)
    open_files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names are enough
    told: dict[str, Any] = bench.ask("checkup")

    assert {check["state"] for check in told["checks"]} == {"ok"}
    assert [check["name"] for check in told["checks"]] == [
        "state directory",
        "drop folder",
        "disk",
        "extractor",
        "version",
    ]
    assert told["extractor"]["fingerprint"] == "fake:1"
    assert told["extractor"]["runtime"] == "none"
    assert told["drift"]["changed"] is None
    assert len(os.listdir("/proc/self/fd")) == open_files  # noqa: PTH208


def test_before_anything_was_learned(bench: Bench) -> None:
    """No version answers, and it is said what to do."""
    bench.open()

    assert states(bench)["version"] == "warning"
    assert "Put pictures of two labels" in message(bench, "version")


def test_folders_that_cannot_be_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """No drop folder; one of another user; a label folder of another user; a home that cannot be written to."""
    taught(bench)
    (bench.drop / "cat").mkdir(exist_ok=True)
    closed = {str(bench.drop / "cat")}
    really = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in closed and really(path, mode))
    assert "'cat'" in message(bench, "drop folder")
    closed = {str(bench.drop)}
    assert "cannot be read and written to by the agent" in message(bench, "drop folder")
    closed = {str(bench.home)}
    assert states(bench)["state directory"] == "problem"
    shutil.rmtree(bench.drop)
    assert "is not there" in message(bench, "drop folder")


@pytest.mark.parametrize(("free", "state"), [(5e9, "ok"), (1e8, "warning"), (1e6, "problem")])
def test_room_on_the_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    """Little is a warning, hardly any a problem; the figure is told."""
    bench.open()
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**10, 0, int(free)))  # type: ignore[attr-defined]

    assert states(bench)["disk"] == state
    assert "B free" in message(bench, "disk")


class BrokenEngine(FakeEngine):
    """Never starts."""

    def start(self) -> EngineFacts:
        """Refuse."""
        raise EngineError("no runtime is installed")


def test_an_extractor_that_does_not_start(bench: Bench) -> None:
    """The reason is told, and nothing else fails."""
    bench.engine_class = BrokenEngine
    bench.open()

    assert "no runtime is installed" in message(bench, "extractor")
    assert states(bench)["extractor"] == "problem"
    assert bench.ask("checkup")["extractor"]["fingerprint"] is None


class SlowEngine(FakeEngine):
    """Works, and not as its owner asked."""

    def start(self) -> EngineFacts:
        """Say so."""
        return replace(super().start(), notice="the GPU is away, so the CPU works")


def test_what_an_extractor_has_to_say(bench: Bench) -> None:
    """It works, so it is no problem; that it does not as asked is a warning."""
    bench.engine_class = SlowEngine
    bench.open()

    assert "the GPU is away, so the CPU works" in message(bench, "extractor")
    assert states(bench)["extractor"] == "warning"
    assert bench.ask("checkup")["extractor"]["fingerprint"] == "fake:1"


def test_a_damaged_version(bench: Bench) -> None:
    """It is told although it still answers; one of another extractor is told too."""
    taught(bench)
    [path] = bench.home.glob("models/versions/*/model/**/*.npz")
    kept = path.read_bytes()
    path.write_bytes(b"")
    assert "damaged on the disk" in message(bench, "version")

    path.write_bytes(kept)
    bench.open(fingerprint="fake:2")
    assert "made with another extractor" in message(bench, "version")
