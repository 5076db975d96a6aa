"""What an agent still does, and what it refuses to do, once the disk of its state directory has failed."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.errors import DiskFailedError, EdgeAgentError
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


class Disk:
    """Syncs as a good disk does until it fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error = 0
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, descriptor: int) -> None:
        """As `os.fsync`."""
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self._fsync(descriptor)


@pytest.fixture(name="disk")
def _disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk that can be told to fail."""
    return Disk(monkeypatch)


def taught(bench: Bench) -> None:
    """An agent with a version that knows two labels."""
    bench.open()
    for label in ("cat", "dog"):
        drop_texts(bench.drop, label, [f"{label} {number}" for number in range(4)])
    bench.settle()


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS])
def test_nothing_is_acknowledged_any_more_and_predictions_go_on(
    bench: Bench, tmp_path: Path, disk: Disk, error: int
) -> None:
    """A4: After one error nothing is taken in although the disk seems well again, until the agent is started anew."""
    taught(bench)
    drop_texts(bench.drop, "cat", ["cat 50"])
    disk.error = error
    bench.settle()
    disk.error = 0
    drop_texts(bench.drop, "dog", ["dog 60"])
    bench.clock.advance(120)
    bench.settle()

    status = bench.ask("status")
    assert status["state"] == "degraded"
    assert "nothing more is stored until the agent is started again" in status["trouble"]
    assert (bench.drop / "dog" / "dog-60.jpg").exists()
    assert hashlib.sha256(b"dog 60").hexdigest() not in {row["digest"] for row in bench.ask("samples")}
    assert bench.predict(tmp_path, "cat 99")["label"] == "cat"

    bench.open()
    bench.settle()
    assert len(bench.ask("samples")) == 10
    assert bench.ask("status")["state"] == "ok"


def test_every_change_is_refused(bench: Bench, disk: Disk) -> None:
    """A4: Corrections, forgetting and going back fail with the reason; looking at what is there does not."""
    taught(bench)
    drop_texts(bench.drop, "cat", ["cat 50"])
    bench.settle()
    digest = bench.ask("samples")[0]["digest"]
    disk.error = errno.EIO
    with pytest.raises(DiskFailedError, match="dmesg"):
        bench.ask("rollback")
    disk.error = 0
    before = bench.ask("samples"), bench.ask("versions")
    questions: list[tuple[str, dict[str, Any]]] = [
        ("rollback", {}),
        ("relabel", {"digest": digest, "label": "dog"}),
        ("forget", {"digest": digest}),
        ("extractor", {"extractor": "other"}),
        ("import", {"folder": "session"}),
    ]
    for name, arguments in questions:
        with pytest.raises(EdgeAgentError, match="started again"):
            bench.ask(name, **arguments)

    assert bench.ask("update", force=True)["state"] == "failed"
    assert (bench.ask("samples"), bench.ask("versions")) == before


def test_a_publication_that_meets_it_is_the_last(bench: Bench, disk: Disk, tmp_path: Path) -> None:
    """A4: An error while a version is published leaves the one before, and no other is tried."""
    taught(bench)
    disk.error = errno.EIO
    assert bench.ask("update", force=True)["state"] == "failed"
    disk.error = 0
    bench.clock.advance(120)
    bench.settle()

    assert [row["version"] for row in bench.ask("versions")] == [1]
    assert "started again" in bench.ask("status")["trouble"]
    assert bench.predict(tmp_path, "dog 99")["label"] == "dog"


def test_another_disk_is_not_ours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be read from somebody's stick holds up itself only."""
    taught(bench)
    (bench.drop / "cat" / "cat-70.jpg").write_text("cat 70")
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if path.name == "cat-70.jpg":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    drop_texts(bench.drop, "dog", ["dog 70"])
    bench.settle()

    assert not (bench.drop / "dog" / "dog-70.jpg").exists()
    assert [Path(one["path"]).name for one in bench.ask("status")["ignored"]] == ["cat-70.jpg"]
    assert bench.ask("status")["state"] == "ok"
