"""This is where `edge-agent events` prints the last lines of a file of events."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import click
import msgspec

from edge_agent_events.lines import is_event, readable


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-n", "count", type=click.IntRange(min=1), default=20, show_default=True, help="How many lines."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON list of the lines instead.")
def events(file: str, count: int, *, as_json: bool) -> None:
    """Print the last events of FILE, which the plugin `events` wrote."""
    with Path(file).open("rb") as lines:
        last = deque(lines, maxlen=count)
    if as_json:
        # A power cut may have left half a line; other programs get the whole ones.
        whole = [msgspec.Raw(line) for line in last if is_event(line)]
        click.echo(msgspec.json.encode(whole))
        return
    for line in last:
        click.echo(readable(line))
