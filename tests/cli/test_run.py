"""`run`: once on text pictures in this process, and once for real."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from edge_agent.cli.pictures import write_pictures
from edge_agent.cli.run import run
from edge_agent.errors import EdgeAgentError, EngineError
from edge_agent.store.samples import SampleStore
from edge_agent.testing import FakeEngine, drop_texts
from edge_agent.vision.engine import EngineFacts

if TYPE_CHECKING:
    from tests.cli.conftest import FakeSettings, Shell


class BrokenEngine(FakeEngine):
    """Never starts."""

    def start(self) -> EngineFacts:
        """Refuse."""
        raise EngineError("the engine could not be started: no runtime is installed")


def once(settings: FakeSettings, *arguments: object) -> Result:
    """Run `run --once` on text pictures."""
    return CliRunner().invoke(run, ["--once", *map(str, arguments)], obj=settings)


def test_one_run_takes_in_learns_and_reports(shell: Shell, fake_settings: FakeSettings) -> None:
    """What was new, what was refused and which version answers; refused and ignored files are named."""
    drop_texts(shell.drop, "cat", ["cat 1", "cat 2", "bad 3"])
    (shell.drop / "cat" / "link.jpg").symlink_to("nowhere")
    done = once(fake_settings)

    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [
            "2 new, 1 rejected",
            "version 1 published: knows 1 label, learned from 2 pictures, too few pictures to judge it",
        ],
    )
    assert "bad-3.jpg: this is not a picture" in done.stderr
    assert "ignored" in done.stderr
    assert once(fake_settings).stdout.splitlines() == [
        "0 new, 0 rejected",
        "no new version: nothing is new since the last update; version 1 answers",
    ]


def test_one_document_and_nothing_else(shell: Shell, fake_settings: FakeSettings) -> None:
    """With --json standard output is the status document, whatever happened."""
    drop_texts(shell.drop, "cat", ["cat 1", "cat 2", "bad 3"])
    facts = json.loads(once(fake_settings, "--json").stdout)
    assert (facts["samples"], facts["rejected"], facts["version"]) == (2, 1, 1)


def test_another_drop_folder_may_be_named(fake_settings: FakeSettings, tmp_path: Path) -> None:
    """`--drop` wins over the configured folder, for this run."""
    drop_texts(tmp_path / "card", "cat", ["cat 1", "cat 2"])
    assert "2 new, 0 rejected" in once(fake_settings, "--drop", tmp_path / "card").stdout
    assert not fake_settings.drop_folder.exists()


def test_an_engine_that_does_not_start_is_a_failure(shell: Shell, fake_settings: FakeSettings) -> None:
    """The reason is raised, and the pictures stay where they are."""
    drop_texts(shell.drop, "cat", ["cat 1"])
    fake_settings.make_engine = BrokenEngine
    done = once(fake_settings)
    assert isinstance(done.exception, EdgeAgentError)
    assert "no runtime is installed" in str(done.exception)
    assert (shell.drop / "cat" / "cat-1.jpg").exists()


def test_what_kept_it_from_its_work_is_a_failure(
    shell: Shell, fake_settings: FakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that could not finish its update says so after the document."""
    drop_texts(shell.drop, "cat", ["cat 1", "cat 2"])
    (shell.home / "models").mkdir()
    (shell.home / "models" / "staging").write_text("in the way")
    with caplog.at_level(logging.CRITICAL):
        done = once(fake_settings, "--json")
    assert json.loads(done.stdout)["samples"] == 2
    assert isinstance(done.exception, EdgeAgentError)


def test_a_failure_of_yesterday_is_no_failure_of_today(shell: Shell, fake_settings: FakeSettings) -> None:
    """A run that had nothing to do ends well although the last update, in an earlier run, had failed."""
    drop_texts(shell.drop, "cat", ["cat 1", "cat 2"])
    assert once(fake_settings).exit_code == 0
    with SampleStore(shell.home / "agent.db") as store:
        store.record_update(state="failed", version=None, samples=2, seconds=1.0, message="the disk failed")

    assert once(fake_settings).exit_code == 0


def test_a_daemon_prints_no_document(shell: Shell) -> None:
    """`--json` without `--once` is a mistake, and says what to use."""
    done = shell.run("run", "--json")
    assert (done.status, "status --json" in done.err) == (2, True)
    assert not shell.home.exists()


def test_a_drop_folder_that_holds_the_home_is_refused(shell: Shell, tmp_path: Path) -> None:
    """The command line refuses what `config check` would."""
    done = shell.run("run", "--once", "--drop", tmp_path)
    assert (done.status, done.err.count("drop_folder.path")) == (2, 1)
    assert not shell.home.exists()


@pytest.mark.slow
def test_the_real_engine_with_home_after_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run --once --drop D --home H --json` learns real pictures and prints one document."""
    from edge_agent.cli import run_command

    write_pictures(tmp_path / "card", per_label=2, seed=3, labels=["key", "mug"])
    home = str(tmp_path / "here")
    status = run_command(["run", "--once", "--drop", str(tmp_path / "card"), "--home", home, "--json"])

    facts = json.loads(capsys.readouterr().out)
    assert (status, facts["samples"], facts["version"]) == (0, 4, 1)
    assert (tmp_path / "here" / "agent.db").exists()
