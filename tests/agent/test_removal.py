"""An added extractor is removed, unless the choice, the configuration, a running agent or a version needs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.agent.extractors import BUILT_IN, card_path, keep_extractor, write_choice
from edge_agent.agent.home import Home
from edge_agent.agent.removal import remove_extractor
from edge_agent.config import Config, ExtractorConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.errors import NotFoundError, UserError
from edge_agent.store.registry import VersionFacts, VersionRegistry
from edge_agent.vision.preprocessing import fingerprint_start, load_card

REGISTERED = {BUILT_IN}


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    """Two extractors were added: `mine` and `other`."""
    home = Home(tmp_path / "home")
    home.make()
    for name in ("mine", "other"):
        add(home, name)
    return home


def add(home: Home, name: str) -> None:
    """An extractor with the card of the built-in one."""

    def fill(folder: Path) -> None:
        card = json.loads(CARD_PATH.read_bytes()) | {"name": name, "file": f"{name}.tflite"}
        (folder / f"{name}.json").write_text(json.dumps(card))
        (folder / f"{name}.tflite").write_bytes(b"model")

    keep_extractor(home, name, fill)


def publish(home: Home, extractor: str) -> int:
    """A version that was made with an extractor of this name."""
    facts = VersionFacts(
        parent=None,
        labels=("cat",),
        n_features=8,
        n_samples=1,
        extractor_fingerprint=f"{fingerprint_start(load_card(card_path(home, extractor)))}litert-2:cpu",
        extractor_name=extractor,
        head="lda",
        agent_version="1",
    )
    return VersionRegistry(home.models_folder).publish(lambda folder: None, facts).number


def left(home: Home) -> list[str]:
    """What lies in the folder of added extractors."""
    return sorted(path.name for path in home.extractors_folder.iterdir())


def test_the_folder_goes_and_nothing_else(home: Home) -> None:
    """The other extractor stays, and the name is free again."""
    remove_extractor(home, Config(), "mine", REGISTERED)

    assert left(home) == ["other"]
    add(home, "mine")
    assert left(home) == ["mine", "other"]


def test_what_is_chosen_stays(home: Home) -> None:
    """By command, by the configuration, or because a running agent still looks with it; each says what to do."""
    with pytest.raises(UserError, match=r"the configuration says \[extractor\] name = 'mine'"):
        remove_extractor(home, Config(extractor=ExtractorConfig(name="mine")), "mine", REGISTERED)
    with pytest.raises(UserError, match="still looks with it"):
        remove_extractor(home, Config(), "mine", REGISTERED, looking="mine")
    write_choice(home, "mine")
    with pytest.raises(UserError, match="extractors use NAME"):
        remove_extractor(home, Config(), "mine", REGISTERED, anyway=True)
    assert left(home) == ["mine", "other"]


def test_what_a_version_was_made_with_stays(home: Home) -> None:
    """The version that answers always keeps it; those kept to roll back to do unless the owner insists."""
    for extractor in ("mine", "mine", "other"):
        publish(home, extractor)

    with pytest.raises(UserError, match="version 3, which answers"):
        remove_extractor(home, Config(), "other", REGISTERED, anyway=True)
    with pytest.raises(UserError, match=r"roll back to versions 1, 2; .* 10 newer ones"):
        remove_extractor(home, Config(), "mine", REGISTERED)
    assert left(home) == ["mine", "other"]
    remove_extractor(home, Config(), "mine", REGISTERED, anyway=True)
    assert left(home) == ["other"]


def test_a_damaged_one_goes_so_that_it_can_be_added_again(home: Home) -> None:
    """No version can answer with it any more, so none keeps it."""
    publish(home, "mine")
    card_path(home, "mine").write_text("{")

    remove_extractor(home, Config(), "mine", REGISTERED)

    assert left(home) == ["other"]


def test_what_was_not_added_cannot_be_removed(home: Home) -> None:
    """Neither the built-in one, nor a name nobody has, nor a way out of the folder."""
    with pytest.raises(UserError, match="comes with a plugin"):
        remove_extractor(home, Config(), BUILT_IN, REGISTERED)
    for name in ("nothing", "..", "mine/../other", ""):
        with pytest.raises(NotFoundError, match="those that were: mine, other"):
            remove_extractor(home, Config(), name, REGISTERED)
    assert left(home) == ["mine", "other"]


def test_a_name_that_a_plugin_took_over_can_be_cleared(home: Home) -> None:
    """The plugin's extractor is meant wherever the name is said, so what lies in the folder is of no use."""
    write_choice(home, "mine")

    remove_extractor(home, Config(), "mine", {*REGISTERED, "mine"})

    assert left(home) == ["other"]
