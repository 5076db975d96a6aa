"""State directories that older agents wrote: each format that ever was is kept as files and opened here.

`fixtures/formats/1` is what an agent on text pictures left: database, archive, versions with their packages, and beside
them a small file of sums, all of format 1.  `fixtures/formats/2` has versions of format 2, whose samples are no
JSON any more; all else in it is of format 1.  When a format changes its files get a folder of their own beside
these, written by an agent that writes them so, and the old folders stay as they are.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.learned import learned_samples
from edge_agent.errors import StoreError
from edge_agent.ml.package import FORMAT as PACKAGE_FORMAT
from edge_agent.store import rows
from edge_agent.store.database import Database
from edge_agent.store.manifest import FORMAT as MANIFEST_FORMAT
from edge_agent.store.registry import VersionRegistry
from edge_agent.store.samples import SampleStore
from edge_agent.store.sums_file import FORMAT as SUMS_FORMAT
from edge_agent.store.sums_file import UNREADABLE, read_sums
from edge_agent.testing.bench import AgentBench

FORMATS = Path(__file__).parent / "fixtures" / "formats"
NEXT = (rows.FORMAT_1, "ALTER TABLE updates ADD COLUMN place TEXT NOT NULL DEFAULT ''")
BROKEN = (rows.FORMAT_1, "ALTER TABLE updates ADD COLUMN place TEXT;\nALTER TABLE nothing ADD COLUMN x")


@pytest.fixture(name="kept")
def _kept() -> str:
    """The folder whose copy is opened: the oldest."""
    return "1"


@pytest.fixture(name="bench")
def _bench(tmp_path: Path, kept: str) -> Iterator[AgentBench]:
    """An agent whose state directory is a copy of one that was kept."""
    bench = AgentBench(tmp_path)
    shutil.copytree(FORMATS / kept, bench.home)
    yield bench
    bench.close()


@pytest.mark.parametrize("kept", ["1", "2"])
def test_every_state_directory_is_opened_and_learned_on(bench: AgentBench) -> None:
    """Samples, versions and answers are there, nothing is damaged, and the next version is the third."""
    for version in VersionRegistry(bench.home / "models").versions():
        digests = {path.stem[-16:] for path in bench.home.glob("archive/*/*")}
        assert {digest[:16] for digest in learned_samples(version)} <= digests
        assert len(learned_samples(version)) == version.n_samples
    bench.open()
    bench.settle()
    status = bench.ask("status")
    assert (status["state"], status["samples"], status["version"]) == ("ok", 9, 2)
    assert {row["version"] for row in bench.ask("versions")} == {1, 2}
    assert bench.predict("dog 77")["label"] == "dog"
    bench.show("dog", "dog 50")
    bench.settle()

    assert bench.ask("status")["version"] == 3
    assert list(bench.home.glob("*.damaged*")) == []


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of the second version in a state directory."""
    content: dict[str, Any] = json.loads((folder / "models/versions/000002/manifest.json").read_text())
    return content


def test_the_files_kept_are_of_the_format_of_today() -> None:
    """Whoever raises a format adds a folder with its files: this fails until then."""
    folder = FORMATS / "2"
    manifest = manifest_of(folder)
    package = json.loads((folder / "models/versions/000002/model/model.json").read_text())
    with contextlib.closing(
        sqlite3.connect(f"file:{folder / 'agent.db'}?mode=ro&immutable=1", uri=True)
    ) as database:
        number = database.execute("PRAGMA user_version").fetchone()[0]

    assert (manifest["format"], package["format"], number) == (MANIFEST_FORMAT, PACKAGE_FORMAT, 1)
    assert SUMS_FORMAT == 1
    assert "samples.bin" in manifest["files"]


def test_what_an_older_agent_would_miss_has_a_number_it_refuses() -> None:
    """An agent that knows format 1 of versions looks for `samples.json`: only what has it bears that number."""
    older = manifest_of(FORMATS / "1")
    assert (older["format"], "samples.json" in older["files"]) == (1, True)
    assert manifest_of(FORMATS / "2")["format"] > 1


def test_sums_of_today_and_of_tomorrow() -> None:
    """Sums over three samples are read; those of another format are passed over, because they can be made anew."""
    data = (FORMATS / "1" / "sums.npz").read_bytes()
    statistics, members, changes = read_sums(io.BytesIO(data), (1, 3))
    assert (dict(statistics.counts), len(members), changes) == ({"cat": 2, "dog": 1}, 3, 4)

    with pytest.raises(UNREADABLE):
        read_sums(io.BytesIO(data.replace(b'"format": 1', b'"format": 2')), (1, 3))


def test_an_older_database_is_copied_and_changed_in_one_piece(bench: AgentBench) -> None:
    """What was there is kept aside as it was, and every sample is in the new one."""
    path = bench.home / "agent.db"
    Database(path, NEXT).close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone()[0] == 2
        assert database.execute("SELECT count(*) FROM samples").fetchone()[0] == 9
    with SampleStore(path.with_name("agent.db.format-1")) as old:
        assert old.count() == 9
    assert path.with_name("agent.db.format-1").stat().st_mode & 0o777 == 0o600
    Database(path, NEXT).close()

    with pytest.raises(StoreError, match=r"newer edge_agent \(format 2, known is 1\)"):
        SampleStore(path)


def test_a_change_that_fails_half_way_changes_nothing(bench: AgentBench) -> None:
    """The database is of its old format still, and opens with the agent that wrote it."""
    path = bench.home / "agent.db"
    with pytest.raises(StoreError):
        Database(path, BROKEN)
    with SampleStore(path) as store:
        assert store.count() == 9
        assert store.last_update() is not None
