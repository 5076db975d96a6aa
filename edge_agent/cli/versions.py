"""This is where versions are made, listed and rolled back: `update`, `versions`, `rollback`."""

from __future__ import annotations

import click

from edge_agent.cli.output import json_option, moment, percent, print_json, print_table
from edge_agent.cli.settings import Settings


@click.command()
@click.option("--force", is_flag=True, help="Train even if nothing has changed since the current version.")
@json_option
@click.pass_obj
def update(settings: Settings, *, force: bool, as_json: bool) -> None:
    """Take in what waits and run an update now."""
    answer = settings.ask("update", {"force": force})
    if as_json:
        print_json(answer)
    elif answer["state"] == "published":
        accuracy = (
            f", {percent(answer['accuracy'])} right on held-out samples"
            if answer["accuracy"] is not None
            else ""
        )
        click.echo(
            f"version {answer['version']} published from {answer['samples']} samples"
            f" in {answer['seconds']:.2f} s{accuracy}"
        )
    else:
        click.echo(f"{answer['state']}: {answer['message']}")
    if answer["state"] in ("failed", "cancelled"):
        raise click.exceptions.Exit(1)


@click.command()
@json_option
@click.pass_obj
def versions(settings: Settings, *, as_json: bool) -> None:
    """List the published versions, newest first."""
    rows = settings.ask("versions")
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("no version has been published yet")
        return
    print_table(
        ("", "version", "created", "samples", "labels", "held-out accuracy", "extractor"),
        [
            (
                "*" if row["current"] else " ",
                row["version"],
                moment(row["created"]),
                row["samples"],
                len(row["labels"]),
                percent(row["accuracy"]),
                row["extractor"],
            )
            for row in rows
        ],
    )


@click.command()
@click.argument("version", type=click.IntRange(min=1), required=False)
@json_option
@click.pass_obj
def rollback(settings: Settings, version: int | None, *, as_json: bool) -> None:
    """Serve an older version again.

    The parent of the current version, or VERSION; no training is needed.
    """
    answer = settings.ask("rollback", {"to": version})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"version {answer['version']} answers now, in place of {answer['previous']}")
