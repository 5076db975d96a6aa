"""This is where it is said which pictures to label first: `review`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edge_agent.cli.output import counted, json_option, percent, print_json, progress
from edge_agent.cli.predict import FILES_A_QUESTION, pictures_below
from edge_agent.cli.settings import Settings
from edge_agent.ml.picture_labels import printable_path


@click.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Suggest at most this many pictures.",
)
@json_option
@click.pass_obj
def review(settings: Settings, folders: tuple[str, ...], top: int, *, as_json: bool) -> None:
    """Say which pictures without a label to label first.

    All pictures below the folders are looked at, and those that teach the most come first, with the present guess.
    Nothing is learned or changed: `edge-agent add LABEL FILE` gives a picture its label.
    """
    from edge_agent.doctor.reviewing import reviewed

    files = list(dict.fromkeys(file for folder in folders for file in pictures_below(Path(folder))))
    select = settings.plugins().select_for_review
    with settings.session() as ask:
        looks = _look(ask, files)
        document = reviewed(looks, settings.home, select, top)
    if as_json:
        print_json(document)
    else:
        _print(document)
    if len(document["errors"]) == len(files):
        raise click.exceptions.Exit(1)


def _look(ask: Any, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Ask about many files, a group at a time."""
    looks: list[dict[str, Any]] = []
    with progress("looking", len(files)) as advance:
        for start in range(0, len(files), FILES_A_QUESTION):
            names, fds = [], []
            for path in files[start : start + FILES_A_QUESTION]:
                try:
                    fds.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                    names.append(str(path))
                except OSError as error:
                    looks.append({"path": str(path), "known": None, "error": error.strerror})
            looks += ask("look", {"names": names}, files=fds) if names else []
            advance(len(files[start : start + FILES_A_QUESTION]))
    return looks


def _print(document: dict[str, Any]) -> None:
    found = document["suggestions"]
    looked = f"{counted(document['looked_at'], 'picture')} looked at"
    if document["known"]:
        looked += f", {len(document['known'])} with a label already"
    if document["repeated"]:
        looked += f", {len(document['repeated'])} there twice"
    click.echo(f"{looked}; {'label these first:' if found else 'there is nothing to label'}")
    for number, one in enumerate(found, 1):
        guess = ""
        if one["label"] is not None and not one["reason"].startswith(one["label"]):
            guess = f"; looks like {one['label']}, {percent(one['probability'])}"
        click.echo(f"{number:>3}. {printable_path(one['path'])}: {one['reason']}{guess}")
    if found:
        click.echo("give a picture its label with: edge-agent add LABEL FILE")
    for one in document["errors"]:
        click.echo(f"{printable_path(one['path'])}: {one['error']}", err=True)
