"""This is where an agent says how it is: `status`."""

from __future__ import annotations

from typing import Any

import click

from edge_agent.agent.calling import is_running
from edge_agent.cli.output import counted, json_option, judged, moment, print_json, print_table
from edge_agent.cli.settings import Settings


@click.command()
@json_option
@click.pass_obj
def status(settings: Settings, *, as_json: bool) -> None:
    """Show what is going on and what went wrong."""
    settings.need_home()
    running = is_running(settings.home)
    facts = settings.ask("status")
    if not running:
        facts["state"], facts["pid"] = "stopped", None
    if as_json:
        print_json(facts)
    else:
        _print(settings, facts)


def _print(settings: Settings, facts: dict[str, Any]) -> None:
    rows: list[tuple[str, object]] = [
        ("state", facts["state"] + (f" (process {facts['pid']})" if facts["pid"] else "")),
        ("home", settings.home),
        (
            "drop folder",
            f"{facts['drop_folder']} ({facts['watching']})" if facts["pid"] else facts["drop_folder"],
        ),
        ("version", _version(facts)),
        ("samples", f"{facts['samples']} in {counted(len(facts['labels']), 'label')}"),
        ("waiting", facts["pending"]),
        ("rejected", f"{facts['rejected']} (in {settings.home}/rejected)" if facts["rejected"] else 0),
        ("extractor", facts["extractor"]["name"]),
    ]
    delegate = facts["delegate"]
    if delegate["fallback_reason"] or delegate["name"] not in (None, "cpu"):
        why = f", not {delegate['requested']}: {delegate['fallback_reason']}"
        rows.append(("delegate", f"{delegate['name']}{why if delegate['fallback_reason'] else ''}"))
    if facts["engine"]["sandbox"]:
        rows.append(("sandbox", facts["engine"]["sandbox"]["text"]))
    rows += [("ignored", f"{one['path']}: {one['reason']}") for one in facts["ignored"][:5]]
    if facts["unusable"]:
        rows.append(
            (
                "unusable",
                f"{counted(facts['unusable'], 'sample')} this extractor has not seen and cannot see again",
            )
        )
    if facts["trouble"]:
        rows.append(("trouble", facts["trouble"]))
    if facts["drift"]["changed"]:
        rows.append(("drift", facts["drift"]["finding"]))
    if facts["limited"]:
        rows.append(("learning waits", facts["limited"]))
    last = facts["last_update"]
    if last:
        rows.append(("last update", f"{last['state']}: {last['message']}"))
    back = facts.get("taken_back")
    if back:
        after = f"version {back['instead']} answers again" if back["instead"] else "there is no other version"
        rows.append(("taken back", f"version {back['version']}: {back['because']}; {after}"))
    refused = facts.get("refused")
    if refused:
        rows.append(("refused", f"a candidate, on {moment(refused['created'])}: {refused['file']} says why"))
    rows += [
        (
            f"plugin {plugin['name']}",
            f"{counted(plugin['errors'], 'error')}, the last: {plugin['last_error']}",
        )
        for plugin in facts["plugins"]
        if plugin["errors"]
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name.ljust(width)}  {value}")
    if facts["labels"]:
        click.echo()
        print_table(("label", "samples"), sorted(facts["labels"].items()))


def _version(facts: dict[str, Any]) -> str:
    if facts["version"] is None:
        return "none yet"
    return f"{facts['version']}, {judged(facts['accuracy'], facts['held_out'])}"
