"""Extractors are listed, inspected, added, compared and chosen from the command line."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.home import Home
from edge_agent.cli import run_command
from edge_agent.cli.pictures import write_pictures

EMBEDDER = "tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite"


@pytest.fixture(name="run")
def _run(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Run a command on a home; its exit status, what it printed and what it complained of."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = run_command(["--home", str(tmp_path / "home"), *map(str, arguments)])
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture(name="show")
def _show(run):
    def show(*arguments: str | Path) -> Any:
        status, out, err = run(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    return show


@pytest.fixture(name="pictures")
def _pictures(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures", per_label=4, seed=5)
    return tmp_path / "pictures"


def test_an_extractor_is_added_and_compared(
    run, show, testdata: Path, tmp_path: Path, pictures: Path
) -> None:
    """What `add` decided is printed and in the card; `list`, `inspect` and `compare` then know it."""
    model = testdata / "models" / EMBEDDER

    added = show("extractors", "add", model, "--name", "small", "--pictures", pictures)

    assert added["input"]["std"] == 255.0
    assert [row["name"] for row in added["comparison"]] == ["efficientnet-lite0-int8", "small"]
    assert all(row["milliseconds"] > 0 and row["leave_one_out"] > 0.5 for row in added["comparison"])
    rows = {row["name"]: row for row in show("extractors", "list")}
    assert rows["small"]["origin"] == "added"
    assert rows["efficientnet-lite0-int8"]["used"]
    assert rows["small"]["fingerprint"].startswith("small:")
    inspected = show("extractors", "inspect", "small")
    assert inspected["card"]["decided"] == added["decided"]
    both = show("extractors", "compare", "small", "--pictures", pictures)
    assert [row["name"] for row in both["extractors"]] == ["small"]
    assert both["pictures"]["source"] == "folder"
    assert sorted(path.name for path in Home(tmp_path / "home").extractors_folder.glob("*/*")) == [
        "small.json",
        "small.tflite",
    ]
    status, _, err = run("extractors", "add", model, "--name", "small")
    assert status == 2
    assert "already" in err


def test_people_read_what_was_decided(run, testdata: Path, pictures: Path) -> None:
    """The text names the picture, the features, the scaling and why metadata was not believed, and the table both."""
    status, out, _ = run("extractors", "add", testdata / "models" / EMBEDDER, "--pictures", pictures)

    assert status == 0
    for words in (
        "96 x 96",
        "1280: what it gives",
        "0 to 1: the graph itself computes",
        "not believed",
        "used",
    ):
        assert words in out
    status, out, _ = run("extractors", "list")
    assert "tfex_mobilenet_v2_035_96_embedder_with_metadata" in out


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("odd/made_zero_bytes.tflite", "it is empty"),
        ("odd/made_bad_root_offset.tflite", "damaged"),
        ("odd/mcunetv2_large_224_deadfeatures.tflite", "the same whatever it sees"),
        ("coral_mobilenet_v1_0.25_128_quant_edgetpu.tflite", "Coral Edge TPU"),
        ("missing.tflite", "No such file"),
    ],
)
def test_what_is_no_extractor_is_refused(
    run, testdata: Path, tmp_path: Path, pictures: Path, file: str, words: str
) -> None:
    """One line with the reason, exit status 2, and nothing is left behind."""
    status, _, err = run("extractors", "add", testdata / "models" / file, "--pictures", pictures)

    assert status == 2
    assert words in err
    assert err.count("\n") == 1
    assert not list(Home(tmp_path / "home").extractors_folder.glob("*"))


@pytest.mark.parametrize("command", ["inspect", "add"])
def test_what_is_no_file_at_all_is_not_waited_for(run, tmp_path: Path, command: str) -> None:
    """Pipes, devices and folders are one line each, with what to do; exit status 2."""
    os.mkfifo(tmp_path / "pipe.tflite")

    for path, words in (
        (tmp_path / "pipe.tflite", "no regular file"),
        ("/dev/zero", "no regular file"),
        (tmp_path, "a folder"),
    ):
        status, _, err = run("extractors", command, path)
        assert (status, err) == (
            2,
            f"edge-agent: {path}: it is {words}; name a .tflite file that can be read\n",
        )


def test_a_refused_file_can_be_inspected(run, show, testdata: Path, tmp_path: Path) -> None:
    """What is wrong with it is the answer, not an error; a name that is nothing is an error, and a strange one is
    printed so that it does nothing to a terminal."""
    assert show("extractors", "inspect", testdata / "models/odd/made_text.tflite")["usable"] is False
    assert "refused" in run("extractors", "inspect", testdata / "models/odd/litert_add.tflite")[1]
    assert run("extractors", "inspect", "nothing")[0] == 2
    odd = tmp_path / "a\x1b[31m\nb.tflite"
    odd.write_bytes((testdata / "models" / EMBEDDER).read_bytes())
    out = run("extractors", "inspect", odd)[1]
    assert r"a\x1b[31m\x0ab.tflite" in out
    assert "\x1b" not in out
    assert run("extractors", "compare", "nothing")[0] == 2


@pytest.mark.parametrize("file", [b"caf\xe9.tflite", "日本語.tflite".encode()], ids=["no text", "no letters"])
def test_any_name_of_a_file_will_do(
    run, show, testdata: Path, tmp_path: Path, pictures: Path, file: bytes
) -> None:
    """A card can be read whatever its file was called; where no name can be made of that, one is asked for."""
    model = tmp_path / os.fsdecode(file)
    model.write_bytes((testdata / "models" / EMBEDDER).read_bytes())

    if not re.match(rb"[a-z]", file):
        status, _, err = run("extractors", "add", model, "--pictures", pictures)
        assert (status, err.count("\n")) == (2, 1)
        assert "no name can be made of this" in err
        assert "--name NAME" in err
    show("extractors", "add", model, "--name", "mine", "--pictures", pictures)

    [mine] = [row for row in show("extractors", "list") if row["name"] == "mine"]
    assert mine["error"] is None


def test_a_useless_extractor_is_added_only_when_its_owner_insists(
    run, show, testdata: Path, pictures: Path
) -> None:
    """Without it there is the reason; with --anyway the problems are written into its card."""
    odd = testdata / "models/odd/mcunetv2_large_224_deadfeatures.tflite"

    status, _, err = run("extractors", "add", odd, "--pictures", pictures)
    assert status == 2
    assert "the same whatever it sees" in err
    assert "(--anyway adds it all the same)" in err
    assert len(show("extractors", "list")) == 1
    assert show("extractors", "add", odd, "--anyway", "--pictures", pictures)["problems"]


def test_without_pictures_of_ones_own_some_are_drawn(show, testdata: Path) -> None:
    """The first extractor can be tried before anything was learned."""
    added = show("extractors", "add", testdata / "models" / EMBEDDER)

    assert added["pictures"]["source"] == "drawn"
    assert len(added["pictures"]["labels"]) == 5


def test_damage_is_shown_in_the_list(run, show, testdata: Path, tmp_path: Path, pictures: Path) -> None:
    """A card that cannot be read is a row of its own, with the reason."""
    show("extractors", "add", testdata / "models" / EMBEDDER, "--name", "small", "--pictures", pictures)
    (Home(tmp_path / "home").extractors_folder / "small" / "small.json").write_text("{")

    row = next(row for row in show("extractors", "list") if row["name"] == "small")

    assert "not valid JSON" in row["error"]
    assert "damaged" in run("extractors", "list")[1]


def test_an_extractor_is_chosen(run, show, tmp_path: Path, testdata: Path, pictures: Path) -> None:
    """`use` writes the choice, which `list` shows; an unknown name, and a configuration that names one, are errors."""
    show("extractors", "add", testdata / "models" / EMBEDDER, "--name", "small", "--pictures", pictures)

    assert show("extractors", "use", "small")["previous"] == "efficientnet-lite0-int8"
    assert [row["name"] for row in show("extractors", "list") if row["used"]] == ["small"]
    assert show("status")["extractor"]["name"] == "small"
    assert "known are" in run("extractors", "use", "nothing")[2]
    (tmp_path / "home" / "edge-agent.toml").write_text('[extractor]\nname = "small"\n')
    status, _, err = run("extractors", "use", "efficientnet-lite0-int8")
    assert status == 2
    assert "goes first" in err


def test_an_extractor_is_removed(run, show, tmp_path: Path, testdata: Path, pictures: Path) -> None:
    """Not while it is used; then its folder goes, and `list` knows it no more."""
    show("extractors", "add", testdata / "models" / EMBEDDER, "--name", "small", "--pictures", pictures)
    show("extractors", "use", "small")
    status, _, err = run("extractors", "remove", "small")
    assert status == 2
    assert "choose another first" in err
    show("extractors", "use", "efficientnet-lite0-int8")

    removed = show("extractors", "remove", "small")

    assert removed["extractor"] == "small"
    assert not Path(removed["removed"]).exists()
    assert [row["name"] for row in show("extractors", "list")] == ["efficientnet-lite0-int8"]
    assert "those that were: none" in run("extractors", "remove", "small")[2]


def test_an_extractor_that_is_gone_is_told_with_what_to_do(run, tmp_path: Path) -> None:
    """Where a list shows none in use, and where a table cannot be made."""
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "extractor.json").write_text('{"name": "lost"}')

    for status, command in ((0, ("extractors", "list")), (2, ("delegates",))):
        done, _, err = run(*command)

        assert done == status
        assert "extractor.json: no extractor is named 'lost'" in err
        assert "`edge-agent extractors use NAME`" in err
