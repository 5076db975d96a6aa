"""This is where a state directory is saved and brought back: `backup`, `restore`."""

from __future__ import annotations

from dataclasses import asdict

import click

from edge_agent.agent.home import Home
from edge_agent.cli.output import counted, json_option, print_json, progress
from edge_agent.cli.settings import Settings, expanded
from edge_agent.errors import NotFoundError, UserError

NAMED = 3
"""So many of what is missing are named in a line."""


@click.command()
@click.argument("file", metavar="FILE")
@json_option
@click.pass_obj
def backup(settings: Settings, file: str, *, as_json: bool) -> None:
    """Write samples, pictures, versions and the configuration into FILE, also while an agent runs.

    FILE is a tar archive, replaced in one step if it is there.  What waits in the drop folder and what was refused
    is not in it.
    """
    from edge_agent.agent.backup import back_up

    settings.be_a_reader()
    target = expanded(file).absolute()
    if not target.parent.is_dir():
        raise NotFoundError(f"{target.parent}: there is no such folder; make it first")
    if target.is_dir():
        raise UserError(f"{target} is a folder; name a file in it")
    with progress("backup", None) as advance:
        report = back_up(Home(settings.home), target, settings.config_path, advance)
    if as_json:
        print_json({"path": str(target), **asdict(report)})
        return
    click.echo(
        f"{target}: {counted(report.samples, 'sample')}, {counted(report.pictures, 'picture')},"
        f" {counted(len(report.versions), 'version')}, {report.size_bytes / 1e6:.1f} MB"
    )
    if report.left_out:
        shown = ", ".join(report.names[:NAMED]) + (", ..." if report.left_out > NAMED else "")
        click.echo(f"edge-agent: damaged or missing, so not in it: {report.left_out} ({shown})", err=True)


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--force", is_flag=True, help="Even if there is something: the backup takes its place.")
@json_option
@click.pass_obj
def restore(settings: Settings, file: str, *, force: bool, as_json: bool) -> None:
    """Bring back what `edge-agent backup` wrote into FILE; no agent may run.

    The state directory is what it was, or, if anything is wrong with FILE, stays what it is.
    """
    from edge_agent.agent.restoring import restore as restore_home

    home = Home(settings.home)
    settings.be_the_owner()
    with progress("restore", None) as advance:
        report = restore_home(home, expanded(file).absolute(), force=force, extracted=advance)
    if as_json:
        print_json({"home": str(home.path), **asdict(report)})
    else:
        answers = f"version {report.version} answers" if report.version else "no version answers yet"
        click.echo(f"{home.path}: {counted(report.samples, 'sample')}, {answers}")
