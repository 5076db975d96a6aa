"""This is where the daemon is started: `run`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_agent.agent.calling import is_running
from edge_agent.agent.heap import give_memory_back
from edge_agent.agent.home import Home
from edge_agent.cli.output import counted, json_option, judged, print_json, progress, warn_in_lines
from edge_agent.cli.settings import Settings, expanded
from edge_agent.errors import EdgeAgentError, UserError
from edge_agent.hookspecs import Decision, hookimpl

if TYPE_CHECKING:
    from edge_agent.agent.agent import Agent
    from edge_agent.store.registry import Version
    from edge_agent.store.samples import Rejection, Sample


@click.command()
@click.option("--drop", metavar="D", help="Watch this folder instead of the configured one.")
@click.option("--once", is_flag=True, help="Take in all there is, update, publish, and exit.")
@json_option
@click.pass_obj
def run(settings: Settings, drop: str | None, *, once: bool, as_json: bool) -> None:
    """Watch the drop folder, learn, and answer until told to stop."""
    give_memory_back()
    drop_folder = expanded(drop).absolute() if drop else None
    if once:
        _run_once(settings, drop_folder, as_json=as_json)
        return
    if as_json:
        raise UserError("--json goes with --once; ask a running agent with `edge-agent status --json`")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    from edge_agent.agent.control import ControlSocket
    from edge_agent.agent.daemon import serve

    agent = settings.agent(drop_folder=drop_folder, watch=True)
    serve(agent, ControlSocket(Home(settings.home), agent))


class Tally:
    """Counts what a run did, and moves a bar along."""

    def __init__(self) -> None:
        self.advance: Callable[[int], None] = lambda _count: None
        self.taken = 0
        self.rejections: list[Rejection] = []
        self.published: list[Version] = []
        self.refusal = ""

    @hookimpl
    def sample_ingested(self, sample: Sample) -> None:  # noqa: ARG002  # the fact itself is not needed
        """Count a stored sample."""
        self.taken += 1
        self.advance(1)

    @hookimpl
    def sample_rejected(self, rejection: Rejection) -> None:
        """Remember a refused file."""
        self.rejections.append(rejection)
        self.advance(1)

    @hookimpl
    def candidate_evaluated(self, decision: Decision) -> None:
        """Remember why a candidate was refused."""
        self.refusal = "" if decision.answer else decision.reason

    @hookimpl
    def version_published(self, version: Version) -> None:
        """Remember a version."""
        self.published.append(version)


def _run_once(settings: Settings, drop_folder: Path | None, *, as_json: bool) -> None:
    from edge_agent.agent.opening import open_patiently

    warn_in_lines()
    tally = Tally()
    settings.be_the_owner()
    agent: Agent = settings.agent(drop_folder=drop_folder, extra=[("cli-tally", tally)])
    open_patiently(agent, give_up=lambda: is_running(settings.home))
    earlier = agent.facts()["last_update"]
    logging.getLogger("edge_agent.default_plugins.log").setLevel(logging.ERROR)  # said below, once
    try:
        with progress("taking in", agent.waiting() or None) as advance:
            tally.advance = advance
            agent.start()
            agent.run_until_idle()
        facts = agent.facts()
    finally:
        agent.close()
    for one in facts["ignored"]:
        click.echo(f"ignored {one['path']}: {one['reason']}", err=True)
    if as_json:
        print_json(facts)
        _complain_of(facts, earlier)
        return
    for rejection in tally.rejections:
        click.echo(f"rejected {rejection.path}: {rejection.reason}", err=True)
    click.echo(f"{tally.taken} new, {len(tally.rejections)} rejected")
    for version in tally.published[-1:]:
        click.echo(
            f"version {version.number} published: knows {counted(len(version.labels), 'label')},"
            f" learned from {counted(version.n_samples, 'picture')}, {judged(facts['accuracy'], facts['held_out'])}"
        )
    if not tally.published:
        reason = tally.refusal or facts["no_update_because"] or "the update failed, see below"
        answers = f"version {facts['version']} answers" if facts["version"] else "none answers yet"
        click.echo(f"no new version: {reason}; {answers}")
    _complain_of(facts, earlier)


def _complain_of(facts: dict[str, Any], earlier: dict[str, Any] | None) -> None:
    """End with a failure when something kept the agent from its work; an update that failed `earlier` is none of it."""
    last = facts["last_update"]
    if facts["trouble"]:
        raise EdgeAgentError(facts["trouble"])
    if last and last != earlier and last["state"] == "failed":
        raise EdgeAgentError(f"the update failed: {last['message']}")
