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
    """Members of the agent's group are told no sentences and no paths; what is not there has no line."""
    rows: list[tuple[str, object]] = [
        ("state", facts["state"] + (f" (process {facts['pid']})" if facts["pid"] else "")),
        ("home", settings.home),
    ]
    if "drop_folder" in facts:
        watched = f" ({facts['watching']})" if facts["pid"] else ""
        rows.append(("drop folder", facts["drop_folder"] + watched))
    rows += [
        ("version", _version(facts)),
        ("samples", f"{facts['samples']} in {counted(len(facts['labels']), 'label')}"),
        ("waiting", facts["pending"]),
        ("rejected", f"{facts['rejected']} (in {settings.home}/rejected)" if facts["rejected"] else 0),
        ("extractor", facts["extractor"]["name"]),
    ]
    delegate = facts["delegate"]
    if delegate.get("fallback_reason") or delegate["name"] not in (None, "cpu"):
        reason = delegate.get("fallback_reason")
        why = f", not {delegate['requested']}: {reason}" if reason else ""
        rows.append(("delegate", f"{delegate['name']}{why}"))
    if facts["engine"].get("sandbox"):
        rows.append(("sandbox", facts["engine"]["sandbox"]["text"]))
    rows += [("ignored", f"{one['path']}: {one['reason']}") for one in facts.get("ignored", [])[:5]]
    if facts["unusable"]:
        rows.append(
            (
                "unusable",
                f"{counted(facts['unusable'], 'sample')} this extractor has not seen and cannot see again",
            )
        )
    if facts.get("trouble"):
        rows.append(("trouble", facts["trouble"]))
    if facts["drift"]["changed"]:
        rows.append(("drift", facts["drift"].get("finding", "the camera's pictures have changed")))
    if facts.get("limited"):
        rows.append(("learning waits", facts["limited"]))
    last = facts["last_update"]
    if last:
        rows.append(("last update", _with(last["state"], last.get("message"))))
    back = facts.get("taken_back")
    if back:
        after = f"version {back['instead']} answers again" if back["instead"] else "there is no other version"
        rows.append(("taken back", _with(f"version {back['version']}", back.get("because")) + f"; {after}"))
    refused = facts.get("refused")
    if refused:
        where = f"{refused['file']} says why" if "file" in refused else ""
        rows.append(("refused", _with(f"a candidate, on {moment(refused['created'])}", where)))
    rows += [
        (
            f"plugin {plugin['name']}",
            counted(plugin["errors"], "error")
            + (f", the last: {plugin['last_error']}" if "last_error" in plugin else ""),
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


def _with(what: str, why: str | None) -> str:
    return f"{what}: {why}" if why else what


def _version(facts: dict[str, Any]) -> str:
    if facts["version"] is None:
        return "none yet"
    return f"{facts['version']}, {judged(facts['accuracy'], facts['held_out'])}"
