"""This is where versions are made, listed and rolled back: `update`, `versions`, `rollback`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from edge_agent.cli.output import counted, json_option, moment, percent, print_json, print_table
from edge_agent.cli.settings import Settings, expanded

SHOWN = 5
"""So many labels are named in a line."""


@click.command()
@click.option(
    "--force", is_flag=True, help="Train even if nothing has changed, and publish what would be refused."
)
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


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def versions(context: click.Context, *, as_json: bool) -> None:
    """List the published versions, newest first; or import one."""
    if context.invoked_subcommand is not None:
        return
    settings: Settings = context.obj
    rows = settings.ask("versions")
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("no version has been published yet")
        return
    print_table(
        ("", "version", "created", "samples", "labels", "held out", "bursts left out", "change"),
        [
            (
                "*" if row["current"] else " ",
                row["version"],
                moment(row["created"]).rsplit(":", 1)[0],
                row["samples"],
                len(row["labels"]),
                *_trend(row),
            )
            for row in rows
        ],
    )


def _trend(row: dict[str, Any]) -> tuple[str, str, str]:
    """How good a version is: by held-out pictures, by bursts of its own left out, and against its parent."""
    known = row["evidence"] or {}
    held_out = percent(row["accuracy"])
    chance = known.get("held_out", {}).get("interval")
    if row["accuracy"] is not None and chance:
        held_out = f"{100 * row['accuracy']:.0f} % ({_span(chance)})"
    groups, change = known.get("leave_duplicates_out"), known.get("change")
    # A difference that rounds to nothing has no sign.
    points = round(100 * change["accuracy"], 1) + 0.0 if change else 0.0
    return held_out, f"{_span(groups)} %" if groups else "-", f"{points:+.1f}" if change else "-"


def _span(interval: Sequence[float]) -> str:
    low, high = (round(100 * bound) for bound in interval)
    return f"{low} to {high}"


@versions.command(name="import")
@click.argument("folder", metavar="SESSION")
@json_option
@click.pass_context
def import_(context: click.Context, folder: str, *, as_json: bool) -> None:
    """Serve what was trained in the session folder SESSION, as a new version.

    It is not held against the current version: it is published because you say so, and `edge-agent rollback`
    takes it back. The next update learns from the agent's own samples alone.
    """
    settings: Settings = context.obj
    answer = settings.ask("import", {"folder": str(expanded(folder).absolute())})
    if as_json or (context.parent is not None and context.parent.params["as_json"]):
        print_json(answer)
        return
    accuracy = answer["accuracy"]
    judged = "" if accuracy is None else f", {percent(accuracy)} right in its validation"
    click.echo(
        f"version {answer['version']} imported from {answer['session']}: knows"
        f" {counted(len(answer['labels']), 'label')}, learned from {counted(answer['samples'], 'picture')}{judged}"
    )
    if answer["labels_without_samples"]:
        missing = answer["labels_without_samples"]
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        click.echo(
            f"the agent has no pictures of its own of {counted(len(missing), 'label')} ({shown}): its next update"
            " will not know them; add pictures with `edge-agent add`, or drop the folders it was trained from"
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
