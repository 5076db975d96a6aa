"""This is where the extractors an owner added lie, and where it is written which one is used.

An added one is a folder of its name with its file and its card. The choice is one name in `extractor.json`;
`name` in `[extractor]` of the configuration goes before it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_agent.agent.home import Home
from edge_agent.config import Config
from edge_agent.errors import ExtractorError, NotFoundError, UserError
from edge_agent.store.atomic import (
    TEMPORARY_PREFIX,
    make_folder,
    publish_directory,
    remove_tree,
    translated,
    write_json,
)
from edge_agent.store.whole_file import read_whole_file
from edge_agent.vision.preprocessing import ExtractorCard, fingerprint_start, load_card

log = logging.getLogger(__name__)

BUILT_IN = "efficientnet-lite0-int8"
"""What is used when nobody chose."""


def added_cards(home: Home) -> tuple[dict[str, ExtractorCard], dict[str, str]]:
    """The added extractors by name, and why those that cannot be used cannot; an unreadable folder is logged."""
    cards: dict[str, ExtractorCard] = {}
    broken: dict[str, str] = {}
    for place in _places(home.extractors_folder):
        try:
            card = load_card(card_path(home, place.name))
        except ExtractorError as error:
            broken[place.name] = str(error)
            continue
        if card.name != place.name:
            broken[place.name] = f"{place}: its card is that of {card.name!r}"
        else:
            cards[card.name] = card
    return cards, broken


def _places(folder: Path) -> list[Path]:
    """The folders of added extractors."""
    try:
        found = sorted(folder.iterdir())
        return [place for place in found if not place.name.startswith(".") and place.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        log.warning(
            "%s cannot be read, so the extractors that were added are left out: %s", folder, error.strerror
        )
        return []


def known_extractors(home: Home, registered: Mapping[str, ExtractorCard]) -> dict[str, ExtractorCard]:
    """Every extractor that can be used, by name: what plugins register goes before what was added.

    An added one that is damaged is left out, and logged: it must not keep the others from working.
    """
    cards, broken = added_cards(home)
    for name, reason in broken.items():
        log.warning("the added extractor %s is left out: %s", name, reason)
    return {**cards, **registered}


def card_path(home: Home, name: str) -> Path:
    """Where the card of an added extractor lies."""
    return home.extractors_folder / name / f"{name}.json"


def chosen_name(home: Home, config: Config) -> str:
    """The name of the extractor to use: as configured, else as chosen by command, else the built-in one."""
    return config.extractor.name or read_choice(home) or BUILT_IN


def choice_problems(home: Home, config: Config, known: Mapping[str, ExtractorCard]) -> list[str]:
    """What is wrong with the choice: where it is written, why, and what to do."""
    if (name := chosen_name(home, config)) in known:
        return []
    because = added_cards(home)[1].get(name)
    why = because or f"no extractor is named {name!r}; known are {', '.join(sorted(known)) or 'none'}"
    if config.extractor.name:
        return [f"extractor.name: {why}"]
    return [f"{home.choice_path}: {why}; `edge-agent extractors use NAME` chooses another one"]


def read_choice(home: Home) -> str | None:
    """What was chosen by command; None when nothing was, or it cannot be read."""
    try:
        name = json.loads(read_whole_file(home.choice_path))["name"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("%s cannot be read, so the built-in extractor is used: %s", home.choice_path, error)
        return None
    return name if isinstance(name, str) else None


def choose(home: Home, config: Config, name: str, known: Mapping[str, ExtractorCard]) -> str:
    """Write down which extractor to use; the name of the one used so far.

    Raises `NotFoundError` for an unknown one, `UserError` where the configuration names one.
    """
    if name not in known:
        raise NotFoundError(f"no extractor is named {name!r}; known are {', '.join(sorted(known)) or 'none'}")
    if config.extractor.name and config.extractor.name != name:
        raise UserError(
            f"the configuration says [extractor] name = {config.extractor.name!r}, which goes first;"
            " change it there, or take that line out"
        )
    before = chosen_name(home, config)
    write_choice(home, name)
    return before


def write_choice(home: Home, name: str) -> None:
    """Write down which extractor to use."""
    write_json(home.choice_path, {"name": name})


def identity(card: ExtractorCard) -> str:
    """What a fingerprint begins with: the same for the same file and preprocessing, whatever runs it."""
    return fingerprint_start(card).removesuffix(":")


def keep_extractor(home: Home, name: str, fill: Callable[[Path], None]) -> None:
    """Add an extractor: `fill` writes its file and card into a folder, which then appears whole.

    Raises `UserError` when there is one of that name, `StoreError` when the disk refuses; what `fill` raises
    leaves nothing behind.
    """
    final = home.extractors_folder / name
    if final.exists():
        raise UserError(f"there is an extractor {name!r} already, in {final}; give another --name")
    staging = home.extractors_folder / f"{TEMPORARY_PREFIX}{name}"
    remove_tree(staging)
    make_folder(staging)
    try:
        with translated(final, "add the extractor"):
            fill(staging)
        publish_directory(staging, final)
    finally:
        remove_tree(staging)
