"""`doctor`: what people and programs read, with and without a running agent; nothing is changed by it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from edge_agent.cli.doctor import doctor
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.cli.conftest import FakeSettings, Shell

KEYS = {"findings", "learning_curve", "enough", "drift", "setup", "pictures", "looked_at", "copies", "labels"}
"""What programs rely on."""


def test_the_document_has_its_keys(running: Shell) -> None:
    """Every finding, too; its exit status is 0 although there is much to find."""
    told = running.ask("doctor")

    assert set(told) == KEYS
    assert (told["pictures"], told["looked_at"], told["labels"]) == (12, 12, {"cat": 4, "dog": 4, "fox": 4})
    assert told["enough"]["answer"] in {"yes", "no", "other-pictures", "unknown"}
    assert set(told["drift"]) == {"pictures", "fewest", "changed", "mean_rank", "z", "finding"}
    assert {check["name"] for check in told["setup"]} >= {
        "drop folder",
        "disk",
        "extractor",
        "version",
        "database",
    }
    kinds = [finding["kind"] for finding in told["findings"]]
    assert "few-pictures" in kinds
    assert "not-running" not in kinds
    for finding in told["findings"]:
        assert set(finding) == {"kind", "severity", "message", "labels", "samples", "count", "command"}
        for sample in finding["samples"]:
            assert {"digest", "label", "source", "path"} <= set(sample)


def test_people_are_told_in_sentences(running: Shell) -> None:
    """The set-up, the findings with a number each, whether it is enough, and commands that name this home."""
    done = running.run("doctor")

    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("12 pictures of 3 labels\nThe set-up is in order:\n")
    assert "1. Warning: " in done.out
    assert "Have you done enough? " in done.out
    assert "so far it was 0" in " ".join(done.out.split())
    assert f"edge-agent --home {running.home} " in done.out


def test_it_says_the_same_without_an_agent(learned: Shell, fake_settings: FakeSettings) -> None:
    """The work is then done in this process; that no agent runs is said besides."""
    done = CliRunner().invoke(doctor, ["--json"], obj=fake_settings)

    told = json.loads(done.stdout)
    assert (done.exit_code, set(told)) == (0, KEYS)
    assert told["pictures"] == 12
    [hint] = [finding for finding in told["findings"] if finding["kind"] == "not-running"]
    assert hint["command"] == "edge-agent run"


def test_a_wrong_label_is_found_and_the_command_mends_it(running: Shell) -> None:
    """The command that is printed can be typed as it stands, and then there is nothing to find."""
    drop_texts(running.drop, "fox", [f"fox new {i}" for i in range(8)])
    drop_texts(running.drop, "cat", ["fox in the wrong folder", *(f"cat new {i}" for i in range(8))])
    running.ask("update")
    told = running.ask("doctor")
    [found] = [finding for finding in told["findings"] if finding["kind"] == "two-labels"]
    assert "two labels" in found["message"]
    wrong = [sample for sample in found["samples"] if "command" in sample]
    assert [(one["label"], one["source"]) for one in wrong] == [("cat", "fox-in-the-wrong-folder.jpg")]
    assert found["command"] in running.run("doctor").out.replace(f" --home {running.home}", "")

    assert running.run(*found["command"].split()[1:]).status == 0
    assert all(finding["kind"] != "two-labels" for finding in running.ask("doctor")["findings"])


def test_what_the_gate_refused_is_mended_by_the_commands_of_the_doctor(running: Shell) -> None:
    """Each suspected picture is printed with its command; typed, the next update is published and nothing is left."""
    for word in ("cat", "dog", "fox"):
        drop_texts(running.drop, word, [f"{word} more {i}" for i in range(12)])
    assert running.ask("update")["state"] == "published"
    drop_texts(running.drop, "cat", [f"cat third {i}" for i in range(7)])
    for word in ("dog", "fox"):
        drop_texts(running.drop, word, [f"cat third {word} {i}" for i in range(2)])
    assert running.ask("update")["state"] == "refused"

    found = running.ask("doctor")["findings"][0]
    assert (found["kind"], found["count"]) == ("refused-labels", 4)
    said = running.run("doctor").out.replace(f" --home {running.home}", "")
    for sample in found["samples"]:
        assert f"is called {sample['label']} and looks like cat\n      {sample['command']}\n" in said
        assert running.run(*sample["command"].split()[1:]).status == 0

    assert running.ask("update")["state"] == "published"
    assert all(one["kind"] != "refused-labels" for one in running.ask("doctor")["findings"])


def test_a_part_is_looked_at_when_there_are_many(running: Shell) -> None:
    """It is said, and it is the same part each time."""
    first = running.ask("doctor", "--most", 10)
    assert (first["pictures"], first["looked_at"]) == (12, 10)
    assert running.ask("doctor", "--most", 10) == first
    assert "looked at 10 of them, some of each label" in running.run("doctor", "--most", 10).out


def test_pictures_that_were_not_kept_are_named_by_their_source(
    learned: Shell, fake_settings: FakeSettings
) -> None:
    """Also when the archive is gone."""
    for path in (learned.home / "archive").rglob("*.jpg"):
        path.unlink()
    assert CliRunner().invoke(doctor, [], obj=fake_settings).exit_code == 0


def test_a_fresh_home_is_told_where_to_begin(shell: Shell, fake_settings: FakeSettings) -> None:
    """Nothing was learned, so nothing can be said about pictures; without a home it is a user's mistake."""
    assert shell.run("doctor").status == 2
    shell.run("init")
    done = CliRunner().invoke(doctor, [], obj=fake_settings)

    assert done.exit_code == 0
    assert "0 pictures of 0 labels" in done.stdout
    assert "Put pictures of two labels into the drop folder" in " ".join(done.stdout.split())
    assert "too few pictures" in " ".join(done.stdout.split())


@pytest.mark.parametrize("label", ["cat"])
def test_one_label_is_not_enough_for_anything(shell: Shell, fake_settings: FakeSettings, label: str) -> None:
    """It is said that there has to be another one."""
    drop_texts(shell.drop, label, [f"{label} {i}" for i in range(12)])
    with fake_settings.session() as ask:
        ask("update", {"force": True})
    told = json.loads(CliRunner().invoke(doctor, ["--json"], obj=fake_settings).stdout)

    assert "one-label" in {finding["kind"] for finding in told["findings"]}
    assert told["enough"]["answer"] == "unknown"
