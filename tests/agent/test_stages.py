"""What is refused before an agent begins, and that a refused one leaves nothing open."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.agent.home import Home
from edge_agent.agent.stages import setup_problems
from edge_agent.config import Config, DropFolderConfig, ExtractorConfig, LearningConfig, UpdateConfig
from edge_agent.errors import ConfigError, StoreError
from edge_agent.ml.model import BUILT_IN_HEADS
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names are enough


@pytest.mark.parametrize(
    "place", [".", "..", "../..", "archive", "archive/cat", "rejected", "models/versions"]
)
def test_a_drop_folder_in_the_agents_own_places_is_refused(bench: Bench, place: str) -> None:
    """The state directory, what holds it and what the agent keeps in it cannot be watched."""
    (bench.home / "archive").mkdir(parents=True)
    bench.drop = bench.home / place
    with pytest.raises(ConfigError, match=r"drop_folder\.path"):
        bench.open()

    assert not (bench.home / "lock").exists()


def test_a_link_to_the_state_directory_is_seen_through(bench: Bench, tmp_path: Path) -> None:
    """A drop folder that leads to the archive by a link is refused as the archive itself is."""
    (bench.home / "archive").mkdir(parents=True)
    bench.drop = tmp_path / "link"
    bench.drop.symlink_to(bench.home / "archive")
    with pytest.raises(ConfigError, match="the agent's own"):
        bench.open()


@pytest.mark.parametrize("place", ["drop", "archives", "deep/archive"])
def test_other_folders_in_the_state_directory_are_fine(bench: Bench, place: str) -> None:
    """The usual HOME/drop works, and names that only look like the agent's own do too."""
    bench.home.mkdir()
    bench.drop = bench.home / place
    bench.open()
    drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
    bench.settle()

    assert bench.ask("status")["samples"] == 2


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    """Extractor, head, parameters and drop folder are checked together, each with its key."""
    config = Config(
        extractor=ExtractorConfig(name="retina"),
        learning=LearningConfig(parameters={"shrinkage": "much", "shrink": 1}),
    )
    problems = setup_problems(Home(tmp_path), config, BUILT_IN_HEADS, {}, tmp_path)

    assert [problem.split(":")[0] for problem in problems] == [
        "extractor.name",
        "learning.parameters.shrink",
        "learning.parameters.shrinkage",
        "drop_folder.path",
    ]


def test_a_refused_start_leaves_nothing_open(bench: Bench) -> None:
    """When a newer edge_agent wrote the database everything opened by then is closed, and the lock is free."""
    bench.open()
    bench.close()
    before = descriptors()
    with closing(sqlite3.connect(bench.home / "agent.db")) as database:
        (number,) = database.execute("PRAGMA user_version").fetchone()
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer"):
        bench.open()
    assert descriptors() <= before

    with closing(sqlite3.connect(bench.home / "agent.db")) as database:
        database.execute(f"PRAGMA user_version = {number}")
    bench.open()


def test_closing_twice_or_unopened_is_fine(bench: Bench) -> None:
    """`close` is safe whenever it is called, and gives every descriptor back."""
    before = descriptors()
    bench.make().close()
    agent = bench.open(
        Config(drop_folder=DropFolderConfig(settle_seconds=0), update=UpdateConfig(quiet_seconds=0))
    )
    agent.close()
    agent.close()
    bench.agent = None

    assert descriptors() <= before
