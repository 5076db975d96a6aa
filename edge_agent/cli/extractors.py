"""This is where extractors are looked at, added, compared and chosen: `extractors`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_agent.agent.extractors import (
    added_cards,
    card_path,
    choice_problems,
    choose,
    chosen_name,
    identity,
    keep_extractor,
)
from edge_agent.agent.home import Home
from edge_agent.agent.labels import printable
from edge_agent.cli.extractor_trials import (
    PER_LABEL,
    compared,
    every_card,
    measured,
    print_comparison,
    trial,
)
from edge_agent.cli.output import json_option, print_json, print_table
from edge_agent.cli.settings import Settings, expanded
from edge_agent.errors import ExtractorError, NotFoundError, UserError
from edge_agent.store.whole_file import read_whole_file

if TYPE_CHECKING:
    from edge_agent.vision.adoption import Adoption
    from edge_agent.vision.inspection import Inspection

MOST_BYTES = 512 << 20
"""No extractor for a small board is larger."""

pictures_option = click.option(
    "--pictures", "folder", metavar="DIR", help="Try on DIR/<label>/* instead of the archived pictures."
)


@click.group()
def extractors() -> None:
    """List, add, inspect, compare and choose what turns a picture into features."""


@extractors.command("list")
@json_option
@click.pass_obj
def list_extractors(settings: Settings, *, as_json: bool) -> None:
    """Print every extractor there is: built-in ones, those of plugins, and those that were added."""
    home = Home(settings.home)
    cards, registered = every_card(settings)
    added, broken = added_cards(home)
    used = chosen_name(home, settings.config)
    rows = [
        {
            "name": name,
            "origin": "added" if name not in registered else "built-in" if _built_in(card.path) else "plugin",
            "used": name == used,
            "n_features": card.n_features,
            "width": card.width,
            "height": card.height,
            "fingerprint": identity(card),
            "path": str(card.path),
            "error": None,
        }
        for name, card in sorted(cards.items())
    ]
    empty = dict.fromkeys(("n_features", "width", "height", "fingerprint"))
    rows += [
        {
            "name": name,
            "origin": "added",
            "used": name == used,
            **empty,
            "path": str(card_path(home, name).parent),
            "error": reason,
        }
        for name, reason in broken.items()
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("extractor", "origin", "features", "input", "fingerprint", ""),
        [
            (
                row["name"],
                row["origin"],
                row["n_features"] or "-",
                f"{row['width']}x{row['height']}" if row["error"] is None else "damaged",
                row["fingerprint"] or "-",
                "used" if row["used"] else "",
            )
            for row in rows
        ],
    )
    for row in rows:
        if row["error"]:
            click.echo(f"{row['name']}: {row['error']}", err=True)
    if used not in broken:
        for problem in choice_problems(home, settings.config, cards):
            click.echo(problem, err=True)
    for name in sorted(set(added) & registered):
        click.echo(f"{name}: a plugin registers this name too; its extractor is the one meant", err=True)


@extractors.command()
@click.argument("file", metavar="FILE_OR_NAME")
@json_option
@click.pass_obj
def inspect(settings: Settings, file: str, *, as_json: bool) -> None:
    """Print what was found in a `.tflite` file, or how an extractor is made. Nothing is run or added."""
    path = expanded(file)
    card: dict[str, Any] | None = None
    if not path.exists():
        cards, _ = every_card(settings)
        if file not in cards:
            raise NotFoundError(f"{printable(file)}: there is no such file, and no extractor of that name")
        path = cards[file].path
        written = path.with_suffix(".json")
        card = json.loads(written.read_bytes()) if written.is_file() else None
    found = _inspected(path)
    if as_json:
        print_json({"path": str(path), **found.to_json(), "card": card})
        return
    _tell(path, found)
    if card is not None:
        for key, value in card.get("decided", {}).items():
            if value and key != "tried":
                click.echo(f"{key:<9} {value}")
        for text in card.get("warnings", []):
            click.echo(f"warning   {text}")


@extractors.command()
@click.argument("file", metavar="FILE.tflite")
@click.option("--name", help="What to call it; without it, as the file is called.")
@click.option("--anyway", is_flag=True, help="Add it although its features seem to be of no use.")
@pictures_option
@json_option
@click.pass_obj
def add(
    settings: Settings, file: str, name: str | None, folder: str | None, *, anyway: bool, as_json: bool
) -> None:
    """Make an extractor of a classifier, an embedder or a backbone.

    The file is cut at its features, what it wants to be shown is found out, and its features are tried, beside
    those of the extractor that is used now. The original is only read.
    """
    from edge_agent.vision.adoption import adopt

    settings.be_the_owner()
    path = expanded(file)
    found = _inspected(path)
    if found.refusal:
        raise UserError(f"{printable(file)}: cannot be an extractor: {found.refusal}")
    name = _name(path, name)
    home, config = Home(settings.home), settings.config
    cards, _ = every_card(settings)
    if name in cards or card_path(home, name).parent.exists():
        raise UserError(f"there is an extractor {name!r} already; give this one another --name")
    used = chosen_name(home, config)
    made: list[Adoption] = []
    with trial(settings, folder) as pictures:
        specimens = [(one.path, one.label) for one in pictures.specimens]

        def fill(place: Path) -> None:
            adoption = adopt(
                found,
                place / f"{name}.tflite",
                name,
                specimens,
                source=os.fsencode(path.name).decode("utf-8", "replace"),  # a card is read as UTF-8
                runtime=config.extractor.runtime,
                threads=config.extractor.interpreter_threads,
            )
            if adoption.problems and not anyway:
                raise UserError("; ".join(adoption.problems) + " (--anyway adds it all the same)")
            (place / f"{name}.json").write_text(
                json.dumps({**adoption.document, "pictures": pictures.to_json()}, indent=2) + "\n"
            )
            made.append(adoption)

        home.make()
        try:
            keep_extractor(home, name, fill)
        except (ExtractorError, UserError) as error:
            raise UserError(f"{printable(file)}: not added: {error}") from None
        [adoption] = made
        rows = compared(settings, [cards[used]] if used in cards else [], pictures)
        rows.append(
            measured(adoption.card, adoption.performance, [pictures.specimens[i] for i in adoption.seen])
        )
        if as_json:
            print_json({**adoption.document, "pictures": pictures.to_json(), "comparison": rows})
            return
        _tell(path, found, tried=True)
        decided = adoption.document["decided"]
        click.echo(f"scaling   {decided['scaling']}")
        if decided["metadata"]:
            click.echo(f"metadata  {decided['metadata']}")
        for text in (*adoption.problems, *adoption.warnings):
            click.echo(f"warning   {text}")
        click.echo(f"\nadded as {name}; tried on {pictures.described}:\n")
        print_comparison(rows, used)
        click.echo(f"\nto have it used: edge-agent extractors use {name}")


@extractors.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--per-label",
    type=click.IntRange(2, 200),
    default=PER_LABEL,
    show_default=True,
    help="Look at this many of a label.",
)
@pictures_option
@json_option
@click.pass_obj
def compare(
    settings: Settings, names: tuple[str, ...], per_label: int, folder: str | None, *, as_json: bool
) -> None:
    """Try extractors on the same labelled pictures: how well they tell these apart, and how fast.

    Left out: each picture asked of the others. With copies: its near-duplicates left out too. Held out: pictures
    the agent never learns from. Without NAMEs, all are tried.
    """
    cards, _ = every_card(settings)
    if unknown := [name for name in names if name not in cards]:
        raise NotFoundError(f"no extractor is named {unknown[0]!r}; known are {', '.join(sorted(cards))}")
    used = chosen_name(Home(settings.home), settings.config)
    wanted = [cards[name] for name in (names or sorted(cards))]
    with trial(settings, folder, per_label) as pictures:
        rows = compared(settings, wanted, pictures)
        if as_json:
            print_json({"pictures": pictures.to_json(), "used": used, "extractors": rows})
            return
        click.echo(f"tried on {pictures.described}\n")
        print_comparison(rows, used)


@extractors.command()
@click.argument("name")
@json_option
@click.pass_obj
def use(settings: Settings, name: str, *, as_json: bool) -> None:
    """Choose the extractor NAME.

    Archived pictures are read again with it, and a version made of that is published when the gate agrees.
    """
    from edge_agent.agent.calling import is_running

    home = Home(settings.home)
    running = is_running(settings.home)
    if running:
        before = settings.ask("extractor", {"extractor": name})["previous"]
    else:
        settings.be_the_owner("no agent runs that could be asked, and ")
        home.make()
        before = choose(home, settings.config, name, every_card(settings)[0])
    if as_json:
        print_json({"extractor": name, "previous": before, "running": running})
    elif before == name:
        click.echo(f"{name} is the one that is used")
    else:
        click.echo(f"{name} is used from now on, {before} no more")
        click.echo(
            f"{'the running agent' if running else 'the agent, when it runs,'} reads the archived pictures again;"
            " until a version made of that is published, the present one answers, with its own extractor"
        )


@extractors.command()
@click.argument("name")
@click.option("--anyway", is_flag=True, help="Remove it although versions kept to roll back to need it.")
@json_option
@click.pass_obj
def remove(settings: Settings, name: str, *, anyway: bool, as_json: bool) -> None:
    """Remove the extractor NAME that was added, unless it is in use."""
    from edge_agent.agent.calling import is_running
    from edge_agent.agent.removal import remove_extractor

    home, (_, registered) = Home(settings.home), every_card(settings)
    looking = settings.ask("status")["extractor"]["name"] if is_running(settings.home) else ""
    remove_extractor(home, settings.config, name, registered, looking=looking, anyway=anyway)
    if as_json:
        print_json({"extractor": name, "removed": str(card_path(home, name).parent)})
    else:
        click.echo(f"{name} is removed: {card_path(home, name).parent}")


def _inspected(path: Path) -> Inspection:
    from edge_agent.vision.inspection import inspect_model

    try:
        return inspect_model(read_whole_file(path, MOST_BYTES))
    except OSError as error:
        raise UserError(
            f"{printable(str(path))}: {error.strerror}; name a .tflite file that can be read"
        ) from None


def _name(path: Path, given: str | None) -> str:
    name = given if given is not None else re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("._-")[:64]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        wrong = (
            f"{name!r} is no name for an extractor"
            if given is not None
            else f"{printable(str(path))}: no name can be made of this"
        )
        raise UserError(f"{wrong}; letters, digits, dots and dashes make one: say --name NAME")
    return name


def _tell(path: Path, found: Inspection, *, tried: bool = False) -> None:
    facts = found.to_json()
    click.echo(f"file      {printable(str(path))}, {facts['bytes']} bytes, {facts['steps']} steps")
    for title, parts in (("takes", facts["inputs"]), ("gives", facts["outputs"])):
        for part in parts[:4]:
            limits = f", quantised {part['range'][0]:.4g} to {part['range'][1]:.4g}" if part["range"] else ""
            click.echo(f"{title:<9} {part['type']} {part['shape']}{limits}")
    if facts["picture"]:
        seen = facts["picture"]
        click.echo(f"picture   {seen['width']} x {seen['height']}, {seen['layout']}")
    if facts["features"]:
        click.echo(f"features  {facts['features']['n_features']}: {facts['features']['why']}")
    if found.refusal:
        click.echo(f"refused   {found.refusal}")
    elif found.scalings is not None and not tried:
        click.echo(f"scaled    {found.scalings.why}")
        if found.scalings.said:
            click.echo(f"metadata  {found.scalings.said}")
        if not found.scalings.decided:
            click.echo(f"to be tried: {', '.join(one.name for one in found.scalings.tried)}")


def _built_in(path: Path) -> bool:
    from edge_agent.default_plugins.extractors import CARD_PATH

    return path.parent == CARD_PATH.parent
