"""`review`: which pictures of a folder to label first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from edge_agent.cli.review import review
from edge_agent.hookspecs import hookimpl
from edge_agent.ml.selection import ReviewPool, Suggestion
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import FakeSettings, Shell


def folder(tmp: Path) -> Path:
    """Two owls of which one is there twice, a cat, a cat that is known, and a file that is no picture."""
    drop_texts(tmp, "new", ["owl 1", "owl 2", "cat new", "cat 1", "bad"])
    (tmp / "new" / "owl-again.jpg").write_text("owl 2")
    return tmp / "new"


def test_what_is_new_comes_first(running: Shell, tmp_path: Path) -> None:
    """An owl before the cat; what is known, there twice or unreadable is told apart; nothing is stored."""
    told = running.ask("review", folder(tmp_path))

    names = [one["path"].rsplit("/", 1)[1] for one in told["suggestions"]]
    assert names[0].startswith("owl")
    assert sorted(names) == ["cat-new.jpg", "owl-1.jpg", "owl-2.jpg"]
    assert told["looked_at"] == 6
    assert [(one["path"].rsplit("/", 1)[1], one["label"]) for one in told["known"]] == [("cat-1.jpg", "cat")]
    assert [one["path"].rsplit("/", 1)[1] for one in told["repeated"]] == ["owl-again.jpg"]
    assert [one["error"] for one in told["errors"]] == ["this is not a picture"]
    assert set(told["suggestions"][0]) == {"path", "digest", "label", "probability", "margin", "reason"}
    assert running.ask("status")["samples"] == 12
    assert running.ask("doctor")["drift"]["pictures"] == 0


def test_people_read_a_line_for_each(running: Shell, tmp_path: Path) -> None:
    """With what to type next; at most so many."""
    done = running.run("review", folder(tmp_path), "--top", 2)

    lines = done.out.splitlines()
    assert lines[0] == "6 pictures looked at, 1 with a label already, 1 there twice; label these first:"
    assert [line.split(".")[0].strip() for line in lines[1:3]] == ["1", "2"]
    assert lines[3] == "give a picture its label with: edge-agent add LABEL FILE"
    assert done.err == f"{tmp_path}/new/bad.jpg: this is not a picture\n"
    assert done.status == 0


def test_it_works_before_anything_was_learned(
    shell: Shell, fake_settings: FakeSettings, tmp_path: Path
) -> None:
    """Nothing is guessed then, and no agent is needed."""
    shell.run("init")
    done = CliRunner().invoke(review, [str(folder(tmp_path)), "--json"], obj=fake_settings)

    told = json.loads(done.stdout)
    assert (done.exit_code, len(told["suggestions"])) == (0, 4)
    assert {one["label"] for one in told["suggestions"]} == {None}


def test_nothing_readable_is_a_failure(running: Shell, tmp_path: Path) -> None:
    """As with `predict`; no folder is a user's mistake."""
    drop_texts(tmp_path, "new", ["bad 1"])
    done = running.run("review", tmp_path / "new")
    assert (done.status, "nothing to label" in done.out) == (1, True)
    assert running.run("review", tmp_path / "none").status == 1
    (tmp_path / "empty").mkdir()
    assert running.run("review", tmp_path / "empty").status == 2


def test_a_plugin_may_choose(shell: Shell, fake_settings: FakeSettings, tmp_path: Path, monkeypatch) -> None:
    """The command asks the hook."""

    class Backwards:
        @hookimpl
        def select_for_review(self, pool: ReviewPool) -> list[Suggestion]:
            return [Suggestion(name, "because") for name in sorted(pool.candidates, reverse=True)]

    from edge_agent.plugins import load_plugins

    shell.run("init")
    host = load_plugins(fake_settings.config.plugins, built_in=[("x", Backwards())], entry_points=[])
    monkeypatch.setattr(fake_settings, "plugins", lambda: host)
    done = CliRunner().invoke(review, [str(folder(tmp_path)), "--json", "--top", "1"], obj=fake_settings)

    [one] = json.loads(done.stdout)["suggestions"]
    assert (one["path"].rsplit("/", 1)[1], one["reason"]) == ("owl-2.jpg", "because")
