"""This is where the data is looked after: `add`, `samples`, `forget`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_agent.agent.delivery import deliver
from edge_agent.agent.home import Home
from edge_agent.agent.labels import clean_label
from edge_agent.cli.output import counted, json_option, moment, print_json, print_table
from edge_agent.cli.settings import Settings
from edge_agent.errors import UserError

MOST_ROWS = 2**31


@click.command()
@click.argument("label")
@click.argument("files", nargs=-1, required=True)
@json_option
@click.pass_obj
def add(settings: Settings, label: str, files: tuple[str, ...], *, as_json: bool) -> None:
    """Put copies of pictures into the drop folder.

    Each of FILES appears under LABEL whole or not at all.
    """
    label = clean_label(label)
    if settings.home in settings.drop_folder.absolute().parents:
        Home(settings.home).make()
    placed = deliver(settings.drop_folder, label, [Path(name) for name in files])
    if as_json:
        print_json({"label": label, "paths": [str(path) for path in placed]})
    else:
        click.echo(f"{counted(len(placed), 'file')} for {label!r} in {settings.drop_folder / label}")


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
        [(row["digest"][:12], row["label"], moment(row["added"]), row["source"]) for row in rows],
    )


@samples.command()
@click.argument("digest")
@click.argument("label")
@json_option
@click.pass_obj
def relabel(settings: Settings, digest: str, label: str, *, as_json: bool) -> None:
    """Give a sample another label.

    The sample is the one whose digest begins with DIGEST; the next version learns it under LABEL.
    """
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
    """Remove a sample, or all samples of a label.

    Picture, features and row go, and the next version is made without them.
    """
    if (digest is None) == (label is None):
        raise UserError("say what to forget: either --sample DIGEST or --label LABEL")
    answer = settings.ask("forget", {"digest": digest, "label": label})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"forgot {counted(answer['forgotten'], 'sample')} of {', '.join(answer['labels'])}")
