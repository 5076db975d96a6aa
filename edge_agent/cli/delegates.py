"""This is where the owner is told what accelerators there are: `delegates`."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from edge_agent.agent.calling import is_running
from edge_agent.agent.home import Home
from edge_agent.cli.output import json_option, print_json, print_table, progress
from edge_agent.cli.settings import Settings

if TYPE_CHECKING:
    from edge_agent.agent.inspecting import DelegateRow

WIDTH = 96
STATES = {"plugin-missing": "not installed", "not-set-up": "not set up", "an-extractor": "an extractor"}
"""Where the code itself is not what a person would say."""


@click.command()
@click.option("--probe", is_flag=True, help="Try each one now, also those that were given up.")
@json_option
@click.pass_obj
def delegates(settings: Settings, *, probe: bool, as_json: bool) -> None:
    """Show what may look at pictures: the CPU, and the accelerators that plugins offer.

    Without --probe nothing is loaded: files and devices are looked at, and what was found out before is shown.
    """
    from edge_agent.agent.inspecting import inspect_delegates

    if probe:
        settings.be_the_owner()  # what came of it is remembered there
    plugins = settings.plugins()
    home = Home(settings.home)
    with progress("trying accelerators" if probe else "looking", None):
        rows = inspect_delegates(
            home, settings.config, plugins, probe=probe, running=is_running(settings.home)
        )
    plugins.close()
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    print_table(("name", "plugin", "state", "ms/picture", "cosine", "operators", "chosen"), map(_cells, rows))
    for row in rows:
        if row.urgent:
            click.echo()
            _say(f"A device is plugged in that nothing uses: {row.reason}.", f"What to do: {row.advice}.")
    for row in rows:
        if row.reason and not row.urgent:
            click.echo()
            _say(f"{row.name}: {row.reason}.", f"What to do: {row.advice}.")


def _cells(row: DelegateRow) -> tuple[object, ...]:
    return (
        row.name,
        row.plugin,
        STATES.get(row.code, row.code.replace("-", " ")),
        None if row.ms_per_image is None else f"{row.ms_per_image:.2f}",
        None if row.cosine_to_cpu is None else f"{row.cosine_to_cpu:.4f}",
        None if row.nodes is None else f"{row.nodes} of {row.of_nodes}",
        "yes" if row.chosen else "",
    )


def _say(*sentences: str) -> None:
    for number, sentence in enumerate(sentences):
        indent = "  " if number else ""
        click.echo(textwrap.fill(sentence, WIDTH, initial_indent=indent, subsequent_indent="  "))
