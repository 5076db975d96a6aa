"""`predict` and `evaluate`, asked of a running agent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.cli.predict import FILES_A_QUESTION, labelled_pictures, pictures_below
from edge_agent.errors import UserError
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


def test_pictures_are_named(running: Shell, tmp_path: Path) -> None:
    """Files and folders are classified in order; a document has one answer for each."""
    paths = drop_texts(tmp_path / "new", "x", ["dog 77", "cat 78"])
    answers = running.ask("predict", paths[0], tmp_path / "new")

    assert [(answer["path"], answer["label"]) for answer in answers] == [
        (str(paths[0]), "dog"),
        (str(paths[1]), "cat"),
        (str(paths[0]), "dog"),
    ]
    lines = running.run("predict", "--top", 2, paths[0]).out.splitlines()
    assert len(lines) == 1
    assert (lines[0].startswith(f"{paths[0]}: "), "dog " in lines[0], lines[0].count("%")) == (True, True, 2)


def test_what_cannot_be_read_is_told_in_its_place(running: Shell, tmp_path: Path) -> None:
    """Missing files and files that are no pictures have an error each; the others are answered."""
    good, bad = drop_texts(tmp_path, "x", ["dog 77", "bad"])
    done = running.run("predict", tmp_path / "none.jpg", good, bad, "--json")

    answers = json.loads(done.out)
    assert done.status == 1
    assert [answer["error"] for answer in answers] == [os.strerror(2), None, "this is not a picture"]
    assert [answer["label"] for answer in answers] == [None, "dog", None]


def test_many_files_travel_in_groups(running: Shell, tmp_path: Path) -> None:
    """More files than fit into one question come back complete and in order, and none stays open."""
    words = ["cat", "dog", "fox"]
    count = 2 * FILES_A_QUESTION + 3
    paths = drop_texts(tmp_path, "x", [f"{words[i % 3]} {100 + i}" for i in range(count)])
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    answers = running.ask("predict", *paths)

    assert [answer["path"] for answer in answers] == [str(path) for path in paths]
    assert [answer["label"] for answer in answers] == [words[i % 3] for i in range(count)]
    # The last connection may not be closed on the agent's side yet.
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208


def test_an_older_version_can_be_asked(running: Shell, tmp_path: Path) -> None:
    """Version 1 does not know foxes; an unknown version is a mistake."""
    path = drop_texts(tmp_path, "x", ["fox 77"])[0]
    assert running.ask("predict", path)[0]["label"] == "fox"
    answer = running.ask("predict", "--version", 1, path)[0]
    assert (answer["version"], answer["label"] == "fox") == (1, False)
    done = running.run("predict", "--version", 9, path)
    assert (done.status, "9" in done.err) == (2, True)


def test_a_version_is_judged(running: Shell, tmp_path: Path) -> None:
    """`evaluate` counts what was right for each label, and names what was taken for what."""
    truth = tmp_path / "truth"
    drop_texts(truth, "cat", ["cat 81", "cat 82"])
    drop_texts(truth, "dog", ["dog 81", "fox 82", "bad"])
    document = running.ask("evaluate", truth)

    assert (document["count"], document["accuracy"], document["version"]) == (4, 0.75, 2)
    assert document["per_class"]["dog"]["recall"] == 0.5
    assert [Path(row["path"]).name for row in document["unreadable"]] == ["bad.jpg"]
    done = running.run("evaluate", truth)
    assert "75.0 % of 4 pictures right" in done.out
    assert "1 x dog taken for fox" in done.out
    assert "bad.jpg: this is not a picture" in done.err


def test_nothing_to_judge_is_said(running: Shell, tmp_path: Path) -> None:
    """Folders without pictures, and pictures none of which can be read, are mistakes."""
    drop_texts(tmp_path / "truth", "cat", ["bad 1"])
    done = running.run("evaluate", tmp_path / "truth")
    assert (done.status, "no picture could be read" in done.err) == (2, True)
    assert running.run("evaluate", tmp_path / "none").status == 2


def test_without_a_version_it_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    """Asked before anything was learned the answer is one line."""
    shell.home.mkdir()
    path = drop_texts(tmp_path, "x", ["cat 1"])[0]
    done = shell.run("predict", path)
    assert (done.status, "edge-agent add" in done.err) == (2, True)


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    """Neither hidden files nor those in hidden folders are pictures of a folder; a named file is always taken."""
    for name in ("b.jpg", "a/c.jpg", ".hidden.jpg", ".git/d.jpg"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_text("")
    assert pictures_below(tmp_path / "x") == [tmp_path / "x" / "a" / "c.jpg", tmp_path / "x" / "b.jpg"]
    assert pictures_below(tmp_path / "x" / ".hidden.jpg") == [tmp_path / "x" / ".hidden.jpg"]
    assert labelled_pictures(tmp_path / "x") == [(tmp_path / "x" / "a" / "c.jpg", "a")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no files"):
        pictures_below(tmp_path / "empty")
    with pytest.raises(UserError, match="no pictures"):
        labelled_pictures(tmp_path / "empty")
