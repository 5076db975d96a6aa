"""This is where the data is looked after: `add`, `samples`, `forget`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from edge_agent.agent.delivery import deliver
from edge_agent.agent.home import Home
from edge_agent.agent.labels import clean_label
from edge_agent.cli.output import json_option, print_json, print_table
from edge_agent.cli.settings import Settings
from edge_agent.errors import UserError

MOST_ROWS = 2**31


@click.command()
@click.argument("label")
@click.argument("files", nargs=-1, required=True)
@json_option
@click.pass_obj
def add(settings: Settings, label: str, files: tuple[str, ...], *, as_json: bool) -> None:
    """Put copies of FILES into the drop folder under LABEL; each appears whole or not at all."""
    label = clean_label(label)
    if settings.home in settings.drop_folder.absolute().parents:
        Home(settings.home).make()
    placed = deliver(settings.drop_folder, label, [Path(name) for name in files])
    if as_json:
        print_json({"label": label, "paths": [str(path) for path in placed]})
    else:
        click.echo(f"{len(placed)} file(s) for {label!r} wait in {settings.drop_folder / label}")


@click.group()
def samples() -> None:
    """List or correct what the agent has learned from."""


@samples.command("list")
@click.option("--label", help="Only this label.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), help="At most this many.")
@click.option("--offset", type=click.IntRange(0, MOST_ROWS), default=0, help="Leave out the first ones.")
@json_option
@click.pass_obj
def list_samples(
    settings: Settings, label: str | None, limit: int | None, offset: int, *, as_json: bool
) -> None:
    """Print the samples in the order they came."""
    rows = settings.ask("samples", {"label": label, "limit": limit, "offset": offset})
    if as_json:
        print_json(rows)
        return
    print_table(
        ("digest", "label", "added", "source"),
        [(row["digest"][:12], row["label"], _when(row["added"]), row["source"]) for row in rows],
    )


@samples.command()
@click.argument("digest")
@click.argument("label")
@json_option
@click.pass_obj
def relabel(settings: Settings, digest: str, label: str, *, as_json: bool) -> None:
    """Give the sample whose digest begins with DIGEST another LABEL; the next version learns it so."""
    answer = settings.ask("relabel", {"digest": digest, "label": label})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['digest'][:12]}: {answer['previous']} is now {answer['label']}")


@click.command()
@click.option("--sample", "digest", metavar="DIGEST", help="The sample whose digest begins so.")
@click.option("--label", help="All samples of this label.")
@json_option
@click.pass_obj
def forget(settings: Settings, digest: str | None, label: str | None, *, as_json: bool) -> None:
    """Remove a sample, or all of a label: picture, features and row; the next version is made without it."""
    if (digest is None) == (label is None):
        raise UserError("say what to forget: either --sample DIGEST or --label LABEL")
    answer = settings.ask("forget", {"digest": digest, "label": label})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"forgot {answer['forgotten']} sample(s) of {', '.join(answer['labels'])}")


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
