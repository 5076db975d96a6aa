"""Which version answers, and what happens when it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.config import Config, LearningConfig
from edge_agent.errors import DamagedError, MLModelError, NoModelError, NotFoundError
from edge_agent.hookspecs import hookimpl
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


class SpecialHead(LDAHead):
    """A plugin's head."""

    name = "special"


class Heads:
    """The plugin."""

    @hookimpl
    def register_heads(self, register: Callable[[type], None]) -> None:
        register(SpecialHead)


def teach(bench: Bench, **things: int) -> None:
    """Drop pictures of each thing and let the agent come to rest."""
    for word, count in things.items():
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(count)])
    bench.settle()


def pointer(bench: Bench) -> int:
    """The number in models/current."""
    return int((bench.home / "models" / "current").read_text())


class TestRollback:
    def test_a_version_whose_head_is_gone_changes_nothing(self, bench: Bench, tmp_path: Path) -> None:
        """Going back to a version that cannot be loaded leaves pointer, answers and plugins as they were."""
        bench.open(Config(learning=LearningConfig(head="special")), extra=[("heads", Heads())])
        teach(bench, cat=3)
        bench.open(extra=[("heads", Heads())])
        teach(bench, dog=3)
        bench.open()
        with pytest.raises(MLModelError, match="special"):
            bench.ask("rollback")

        assert (bench.ask("status")["version"], pointer(bench)) == (2, 2)
        assert bench.predict(tmp_path, "dog 9")["version"] == 2
        assert "version_rolled_back" not in bench.recorder.names()

    def test_a_damaged_version_changes_nothing(self, bench: Bench, tmp_path: Path) -> None:
        """Going back to a version whose bytes changed is refused, and the present one goes on."""
        bench.open()
        teach(bench, cat=3)
        teach(bench, dog=3)
        for path in (bench.home / "models" / "versions" / "000001").rglob("*.npz"):
            path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DamagedError):
            bench.ask("rollback")

        assert (bench.ask("status")["version"], pointer(bench)) == (2, 2)
        assert bench.predict(tmp_path, "dog 9")["label"] == "dog"

    def test_it_holds_after_a_restart(self, bench: Bench, tmp_path: Path) -> None:
        """What was rolled back to answers again after a restart, until something new is learned."""
        bench.open()
        teach(bench, cat=3)
        teach(bench, dog=3)
        bench.ask("rollback")
        bench.open()
        bench.settle()
        assert bench.predict(tmp_path, "dog 9")["version"] == 1

        teach(bench, fox=3)
        assert bench.ask("versions")[0]["parent"] == 1
        assert bench.predict(tmp_path, "dog 9")["label"] == "dog"


class TestLoading:
    def test_a_version_whose_head_is_gone_is_said_at_start(self, bench: Bench, tmp_path: Path) -> None:
        """When the current version cannot be loaded the agent starts, says why, and learns a new one."""
        bench.open(Config(learning=LearningConfig(head="special")), extra=[("heads", Heads())])
        teach(bench, cat=3)
        bench.open()
        status = bench.agent.facts() if bench.agent else {}
        assert (status["version"], status["state"]) == (None, "degraded")
        assert "special" in status["trouble"]
        with pytest.raises(NoModelError, match="special"):
            bench.predict(tmp_path, "cat 9")
        bench.settle()

        assert bench.predict(tmp_path, "cat 9")["version"] == 2
        assert bench.ask("status")["state"] == "ok"

    def test_predictions_outlive_the_files(self, bench: Bench, tmp_path: Path) -> None:
        """The version in memory answers although its directory disappeared."""
        bench.open()
        teach(bench, cat=3)
        (bench.home / "models").rename(tmp_path / "gone")

        assert bench.predict(tmp_path, "cat 9")["label"] == "cat"

    def test_older_versions_can_be_asked_and_unknown_ones_are_named(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        """A version is chosen by its number without changing which one is current."""
        bench.open()
        teach(bench, cat=3)
        teach(bench, dog=3)
        answers = [bench.predict(tmp_path, "dog 9", version=number) for number in (1, 2, 1)]
        assert [(answer["version"], answer["label"]) for answer in answers] == [
            (1, "cat"),
            (2, "dog"),
            (1, "cat"),
        ]
        assert bench.predict(tmp_path, "dog 9")["version"] == 2
        with pytest.raises(NotFoundError, match="7"):
            bench.predict(tmp_path, "dog 9", version=7)
