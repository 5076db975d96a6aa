"""`update`, `versions` and `rollback`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from edge_agent.cli.output import moment
from edge_agent.cli.versions import update
from edge_agent.errors import EngineError
from edge_agent.testing import FakeEngine, drop_texts
from edge_agent.vision.engine import EngineFacts

if TYPE_CHECKING:
    from tests.cli.conftest import FakeSettings, Shell


def test_versions_are_listed_newest_first(learned: Shell) -> None:
    """The current one is starred, and a document has the same rows."""
    rows = learned.ask("versions")
    assert [(row["version"], row["parent"], row["current"]) for row in rows] == [
        (2, 1, True),
        (1, None, False),
    ]
    assert (rows[0]["labels"], rows[0]["extractor"]) == (["cat", "dog", "fox"], "fake")
    lines = learned.run("versions").out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["*", "2"],
        ["1", moment(rows[1]["created"]).split()[0]],
    ]


def test_without_a_version_it_says_so(shell: Shell) -> None:
    """A fresh state directory has none; there is nothing to go back to either."""
    shell.home.mkdir()
    assert "no version" in shell.run("versions").out
    assert shell.ask("versions") == []
    assert shell.run("rollback").status == 2


def test_going_back_and_forth(learned: Shell) -> None:
    """`rollback` serves the parent, a number any version; what cannot be is one line."""
    assert "version 1 answers now, in place of 2" in learned.run("rollback").out
    assert learned.ask("status")["version"] == 1
    assert learned.run("rollback").status == 2
    assert learned.ask("rollback", 2) == {"version": 2, "previous": 1}
    done = learned.run("rollback", 9)
    assert (done.status, "9" in done.err) == (2, True)


def test_an_update_takes_in_what_waits(running: Shell) -> None:
    """A running agent learns what was dropped just now; again there is nothing new, forced it trains."""
    drop_texts(running.drop, "owl", ["owl 1", "owl 2"])
    assert "published from" in running.run("update").out
    assert running.ask("status")["labels"]["owl"] == 2
    assert running.ask("update")["state"] == "nothing"
    assert running.run("update").out.startswith("nothing: ")
    assert running.ask("update", "--force")["state"] == "published"


class BrokenEngine(FakeEngine):
    """Never starts."""

    def start(self) -> EngineFacts:
        """Refuse."""
        raise EngineError("the engine could not be started: no runtime is installed")


def test_a_failed_update_is_a_failure(learned: Shell, fake_settings: FakeSettings) -> None:
    """The outcome is printed with its reason, and the exit status says that it failed."""
    fake_settings.make_engine = BrokenEngine
    done = CliRunner().invoke(update, ["--force"], obj=fake_settings)
    assert (done.exit_code, done.stdout.startswith("failed: ")) == (1, True)
    assert "no runtime is installed" in done.stdout
    done = CliRunner().invoke(update, ["--json"], obj=fake_settings)
    assert (done.exit_code, json.loads(done.stdout)["state"]) == (1, "failed")
