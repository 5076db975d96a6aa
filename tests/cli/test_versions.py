"""`update`, `versions` and `rollback`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from edge_agent.cli.output import moment
from edge_agent.cli.versions import _trend, update
from edge_agent.errors import EngineError
from edge_agent.testing import FakeEngine, drop_texts
from edge_agent.vision.engine import EngineFacts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import FakeSettings, Shell, TextSources


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


def test_the_trend_fits_a_terminal(learned: Shell) -> None:
    """Held-out accuracy with its interval, bursts left out, and the change with a sign, in 80 columns."""
    rows = learned.ask("versions")
    assert set(rows[0]["evidence"]) == {"held_out", "leave_one_out", "leave_duplicates_out", "change"}
    assert max(map(len, learned.run("versions").out.splitlines())) <= 80

    known = {
        "held_out": {"count": 250, "interval": [0.8951, 0.9571]},
        "leave_duplicates_out": [0.863, 0.9866],
    }
    row = {"accuracy": 0.932, "evidence": {**known, "change": {"accuracy": -0.012, "count": 250}}}
    assert _trend(row) == ("93 % (90 to 96)", "86 to 99 %", "-1.2")
    row["evidence"]["change"] = {"accuracy": -0.0001, "count": 250}
    assert _trend(row)[2] == "+0.0"
    assert _trend({"accuracy": 0.5, "evidence": None}) == ("50.0 %", "-", "-")
    assert _trend({"accuracy": None, "evidence": {"held_out": {"count": 0, "interval": None}}}) == (
        "-",
        "-",
        "-",
    )


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


def test_a_session_is_imported_as_a_version(running: Shell, texts: TextSources, tmp_path: Path) -> None:
    """The running agent publishes it; `versions` alone still lists; people are told what comes of it."""
    for word in ("cat", "owl"):
        drop_texts(tmp_path / "data", word, [f"{word} {number}" for number in range(5)])
    running.ask("train", tmp_path / "data", "--session", tmp_path / "s")
    told = running.ask("versions", "import", tmp_path / "s")
    assert (told["version"], told["previous"], told["labels"]) == (3, 2, ["cat", "owl"])
    assert (told["labels_without_samples"], told["accuracy"], told["current"]) == (["owl"], None, True)
    done = running.run("versions", "import", tmp_path / "s")
    assert f"version 4 imported from {tmp_path / 's'}: knows 2 labels, learned from 10 pictures" in done.out
    assert "no pictures of its own of 1 label (owl)" in done.out
    assert json.loads(running.run("versions", "--json", "import", tmp_path / "s").out)["version"] == 5
    assert [row["version"] for row in running.ask("versions")] == [5, 4, 3, 2, 1]
    assert running.run("rollback", 2).status == 0
    assert texts.looks == 10


def test_what_cannot_be_imported_is_one_line(running: Shell, texts: TextSources, tmp_path: Path) -> None:
    """No session there, or one of another extractor; the agent goes on with what it has."""
    texts.fingerprint = "fake:2"
    for word in ("cat", "owl"):
        drop_texts(tmp_path / "data", word, [f"{word} {number}" for number in range(5)])
    running.ask("train", tmp_path / "data", "--session", tmp_path / "s")
    for folder, words in ((tmp_path / "none", "no training session"), (tmp_path / "s", "'fake:2'")):
        done = running.run("versions", "import", folder)
        assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
        assert words in done.err
    assert running.ask("status")["version"] == 2
