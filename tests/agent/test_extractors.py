"""Added extractors lie in folders of their own; one name is chosen, and damage to one spoils no other."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import msgspec
import pytest

from edge_agent.agent.extractors import (
    BUILT_IN,
    added_cards,
    choice_problems,
    choose,
    chosen_name,
    identity,
    keep_extractor,
    known_extractors,
    read_choice,
    write_choice,
)
from edge_agent.agent.home import Home
from edge_agent.config import Config, ExtractorConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.errors import DiskFullError, NotFoundError, UserError
from edge_agent.vision.preprocessing import load_card


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


def add(home: Home, name: str, /, **more: object) -> None:
    """An extractor with the card of the built-in one, or one that is changed."""

    def fill(folder: Path) -> None:
        data = json.loads(CARD_PATH.read_bytes()) | {"name": name, "file": f"{name}.tflite"} | more
        (folder / f"{name}.json").write_bytes(msgspec.json.encode(data))
        (folder / f"{name}.tflite").write_bytes(b"model")

    keep_extractor(home, name, fill)


def test_added_ones_stand_beside_registered_ones(home: Home) -> None:
    """By name; a plugin's goes before an added one of the same name."""
    card = load_card(CARD_PATH)
    add(home, "mine")
    add(home, BUILT_IN)

    known = known_extractors(home, {BUILT_IN: card})

    assert sorted(known) == [BUILT_IN, "mine"]
    assert known[BUILT_IN] is card
    assert known["mine"].path == home.extractors_folder / "mine" / "mine.tflite"
    assert identity(known["mine"]).startswith("mine:ed1e64f453a683a3:pre1-")


def test_a_damaged_one_spoils_no_other(home: Home) -> None:
    """It is left out, with the reason; so are temporary folders."""
    add(home, "good")
    add(home, "bad", n_features=0)
    add(home, "other", name="else")
    (home.extractors_folder / ".edge-agent-half").mkdir()

    cards, broken = added_cards(home)

    assert sorted(cards) == ["good"]
    assert sorted(broken) == ["bad", "other"]
    assert "n_features" in broken["bad"]


def test_nothing_is_left_of_one_that_failed(home: Home) -> None:
    """A folder appears whole or not at all, and never twice."""

    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"")
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        keep_extractor(home, "mine", fail)
    assert list(home.extractors_folder.iterdir()) == []
    add(home, "mine")
    with pytest.raises(UserError, match="already"):
        add(home, "mine")


def test_a_full_disk_is_told_with_what_to_do(home: Home) -> None:
    """Whatever wrote there; the line names the folder, and nothing is left behind."""

    def fill(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        DiskFullError, match=r"extractors/mine: cannot add the extractor: No space.*; free some space"
    ):
        keep_extractor(home, "mine", fill)
    assert list(home.extractors_folder.iterdir()) == []


def test_the_choice_is_one_name(home: Home) -> None:
    """The built-in one at first, then what was chosen; the configuration goes first and is not overruled in silence."""
    config, card = Config(), load_card(CARD_PATH)
    known = {BUILT_IN: card, "mine": card}

    assert chosen_name(home, config) == BUILT_IN
    assert choose(home, config, "mine", known) == BUILT_IN
    assert chosen_name(home, config) == "mine"
    with pytest.raises(NotFoundError, match="known are"):
        choose(home, config, "else", known)
    named = Config(extractor=ExtractorConfig(name=BUILT_IN))
    assert chosen_name(home, named) == BUILT_IN
    with pytest.raises(UserError, match="goes first"):
        choose(home, named, "mine", known)


@pytest.mark.parametrize("text", ["", "[]", '{"name": 3}', "{", '{"other": "x"}'])
def test_a_damaged_choice_is_the_built_in_one(home: Home, text: str) -> None:
    """It is logged, and nothing stops."""
    home.choice_path.write_text(text)

    assert read_choice(home) is None
    assert chosen_name(home, Config()) == BUILT_IN


def test_a_choice_that_is_gone_says_where_it_is_written_and_what_to_do(home: Home) -> None:
    """A plugin that was uninstalled leaves its extractor's name behind, by command or in the configuration."""
    card = load_card(CARD_PATH)
    write_choice(home, "lost")

    [by_command] = choice_problems(home, Config(), {BUILT_IN: card})
    [configured] = choice_problems(home, Config(extractor=ExtractorConfig(name="away")), {BUILT_IN: card})

    assert by_command == (
        f"{home.choice_path}: no extractor is named 'lost'; known are {BUILT_IN};"
        " `edge-agent extractors use NAME` chooses another one"
    )
    assert configured == f"extractor.name: no extractor is named 'away'; known are {BUILT_IN}"
    assert choice_problems(home, Config(), {"lost": card}) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("mode", [0o000, 0o644], ids=["closed", "names only"])
def test_a_folder_that_cannot_be_read_spoils_nothing(
    home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    """The built-in extractor is there all the same, and the log says which are left out."""
    card = load_card(CARD_PATH)
    add(home, "mine")
    home.extractors_folder.chmod(mode)
    for folder in (tmp_path, *tmp_path.parents):  # those of this run; what lies above is not ours
        if folder == tmp_path or folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o755)
    home.path.chmod(0o755)
    os.seteuid(65534)
    try:
        assert set(known_extractors(home, {BUILT_IN: card})) == {BUILT_IN}
    finally:
        os.seteuid(0)
        home.extractors_folder.chmod(0o755)

    assert f"{home.extractors_folder} cannot be read" in caplog.text
