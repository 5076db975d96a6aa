"""This is where an extractor that was added is removed, unless something needs it."""

from __future__ import annotations

from collections.abc import Collection

from edge_agent.agent.extractors import added_cards, card_path, chosen_name
from edge_agent.agent.home import Home
from edge_agent.agent.serving import same_extractor
from edge_agent.config import Config
from edge_agent.errors import NotFoundError, UserError
from edge_agent.store.atomic import TEMPORARY_PREFIX, move_directory, remove_tree
from edge_agent.store.registry import VersionRegistry
from edge_agent.vision.preprocessing import fingerprint_start


def remove_extractor(
    home: Home,
    config: Config,
    name: str,
    registered: Collection[str],
    *,
    looking: str = "",
    anyway: bool = False,
) -> None:
    """Remove the folder of an added extractor: its file and its card, in one step.

    `registered` are the names that plugins register, `looking` is the extractor that a running agent looks with.
    Versions that are only kept to roll back to are no reason to keep it with `anyway`.

    Raises `NotFoundError` for a name that was never added, `UserError` that says who needs it, `StoreError` when the
    disk refuses.
    """
    place = card_path(home, name).parent
    cards, broken = added_cards(home)
    if name not in cards and name not in broken:
        if name in registered:
            raise UserError(
                f"{name} was not added here: it is built in or comes with a plugin, and stays with it"
            )
        known = ", ".join(sorted({*cards, *broken})) or "none"
        raise NotFoundError(f"no extractor {name!r} was added; those that were: {known}")
    if name not in registered:  # else the plugin's is meant wherever the name is said
        _refuse_the_chosen(home, config, name, looking)
    if name in cards:  # a damaged one answers for no version any more
        _refuse_what_versions_need(home, config, name, fingerprint_start(cards[name]), anyway=anyway)
    aside = place.with_name(f"{TEMPORARY_PREFIX}{name}")
    remove_tree(aside)
    move_directory(place, aside)
    remove_tree(aside)


def _refuse_the_chosen(home: Home, config: Config, name: str, looking: str) -> None:
    if config.extractor.name == name:
        raise UserError(
            f"{name} is in use: the configuration says [extractor] name = {name!r}; name another there first"
        )
    if chosen_name(home, config) == name:
        raise UserError(f"{name} is in use; choose another first: edge-agent extractors use NAME")
    if looking == name:
        raise UserError(f"{name} is in use: the running agent still looks with it; try again in a moment")


def _refuse_what_versions_need(
    home: Home, config: Config, name: str, fingerprint: str, *, anyway: bool
) -> None:
    versions = VersionRegistry(home.models_folder).versions()
    needed = [one for one in versions if same_extractor(one.extractor_fingerprint, fingerprint)]
    if answering := [one.number for one in needed if one.current]:
        raise UserError(
            f"{name} is in use: version {answering[0]}, which answers, was made with it; it can go when a version made"
            " with another one is published"
        )
    if needed and not anyway:
        numbers = ", ".join(str(version.number) for version in needed)
        raise UserError(
            f"{name} is needed to roll back to version{'' if len(needed) == 1 else 's'} {numbers}; versions go when"
            f" {config.update.keep_versions} newer ones are there (keep_versions in [update]); --anyway removes it now,"
            " and rolling back to what was made with it is refused from then on"
        )
