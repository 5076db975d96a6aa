"""This is where the owner is helped: `doctor`."""

from __future__ import annotations

import os
import shlex
import textwrap
from pathlib import Path
from typing import Any

import click

from edge_agent.agent.calling import is_running
from edge_agent.agent.home import default_home
from edge_agent.cli.output import counted, json_option, percent, print_json
from edge_agent.cli.settings import Settings
from edge_agent.ml.picture_labels import printable_path

SHOWN = 8
"""So many pictures of a finding are printed; `--json` lists more."""
SHOWN_DOUBTS = {"label-errors": 24, "refused-labels": 50}
"""A label that may be wrong is work for the reader, so more of these are printed."""
WIDTH = 100
MOST_PICTURES = 2000
WORDS = {"problem": "PROBLEM", "warning": "Warning", "hint": "Hint"}


@click.command()
@click.option(
    "--most",
    type=click.IntRange(min=10),
    default=MOST_PICTURES,
    show_default=True,
    help="Look at no more pictures than this.",
)
@json_option
@click.pass_obj
def doctor(settings: Settings, most: int, *, as_json: bool) -> None:
    """Say what is wrong with the set-up or the pictures, and what to do.

    Nothing is changed.  Pictures are looked at by this command itself, so that a running agent goes on answering.
    """
    from edge_agent.doctor.examination import examine

    settings.need_home()
    running = is_running(settings.home)
    with settings.session() as ask:
        seen = examine(ask, settings.home, settings.config, running=running, most=most)
    document = seen.to_json()
    if as_json:
        print_json(document)
    else:
        _print(document, _here(settings), settings.home)


def _here(settings: Settings) -> str:
    """How a command names this state directory; nothing where it is the one that is meant anyway."""
    if settings.home == default_home().absolute() or os.environ.get("EDGE_AGENT_HOME"):
        return ""
    return f" --home {shlex.quote(str(settings.home))}"


def _print(document: dict[str, Any], here: str, home: Path) -> None:
    labels = counted(len(document["labels"]), "label")
    looked = f"{counted(document['pictures'], 'picture')} of {labels}"
    if document["looked_at"] < document["pictures"]:
        looked += f"; looked at {document['looked_at']} of them, some of each label (--most looks at more)"
    click.echo(looked)
    if all(check["state"] == "ok" for check in document["setup"]):
        click.echo("The set-up is in order:")
    else:
        click.echo("The set-up:")
    for check in document["setup"]:
        mark = {"ok": "ok"}.get(check["state"], check["state"].upper())
        click.echo(f"  {check['name']:<16} {mark:<8} {check['message'] if mark == 'ok' else 'see below'}")
    for number, finding in enumerate(document["findings"], 1):
        click.echo()
        _say(f"{number}. {WORDS[finding['severity']]}: {finding['message']}")
        _print_samples(finding, here)
    if any(finding["samples"] for finding in document["findings"]):
        click.echo(f"\nFile names begin in {home}.")
    click.echo()
    _say(f"Have you done enough? {document['enough']['reason']}")
    if document["learning_curve"]:
        points = ", ".join(
            f"{percent(point['accuracy'])} with {point['per_label']}" for point in document["learning_curve"]
        )
        _say(f"Recognised, by the number of pictures of each label that were learned: {points}.", indent=4)
    drift = document["drift"]
    if drift["changed"] is None:
        _say(
            f"Whether the camera's pictures change can be said once a running agent was asked about {drift['fewest']}"
            f" pictures; so far it was {drift['pictures']}."
        )
    elif not drift["changed"]:
        _say(f"The last {drift['pictures']} pictures asked about look like those learned from.")


def _print_samples(finding: dict[str, Any], here: str) -> None:
    shown = SHOWN_DOUBTS.get(finding["kind"], SHOWN)
    for sample in finding["samples"][:shown]:
        click.echo(f"   {_picture(sample)}{_why(sample)}")
        if "command" in sample:
            click.echo(f"      {_with_home(sample['command'], here)}")
    if finding["count"] > shown:
        click.echo(f"   and {finding['count'] - shown} more (--json lists {len(finding['samples'])})")
    command = finding["command"]
    if command and not any("command" in sample for sample in finding["samples"]):
        told = "to forget the first one: " if finding["samples"] else ""
        click.echo(f"   {told}{_with_home(command, here)}")


def _picture(sample: dict[str, Any]) -> str:
    """The picture by its place, or by its name and digest where it was not kept."""
    if sample["path"]:
        return printable_path(sample["path"])
    return f"{printable_path(sample['source'])} ({sample['digest'][:12]}, not kept)"


def _why(sample: dict[str, Any]) -> str:
    if "suggested" in sample:
        sure = f" ({percent(sample['probability'])})" if "probability" in sample else ""
        return f" is called {sample['label']} and looks like {sample['suggested']}{sure}"
    if "taken_for" in sample:
        return f" is {sample['label']}, taken for {sample['taken_for']} ({percent(sample['probability'])})"
    if sample.get("same_as"):
        other = sample["same_as"]
        if other["label"] == sample["label"]:
            return f" shows the same as {_picture(other)}"
        return (
            f" is called {sample['label']} and shows the same as {_picture(other)}, called {other['label']}"
        )
    return ""


def _with_home(command: str, here: str) -> str:
    return command.replace("edge-agent", f"edge-agent{here}", 1)


def _say(text: str, indent: int = 3) -> None:
    click.echo(
        textwrap.fill(
            text, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
    )
