"""This is where plugins are listed, and where a new one is begun: `plugins`, `plugins new`."""

from __future__ import annotations

import click

from edge_agent.cli.output import json_option, print_json, print_table
from edge_agent.cli.settings import Settings, expanded
from edge_agent.plugin_package import KINDS, write_plugin


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def plugins(context: click.Context, *, as_json: bool) -> None:
    """List the plugins and the hooks each implements, or begin a new one."""
    if context.invoked_subcommand is not None:
        return
    settings = context.find_object(Settings) or Settings()
    rows = [
        {
            "name": report.name,
            "version": report.version,
            "module": report.where,
            "hooks": sorted(report.hooks),
        }
        for report in settings.plugins().reports()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("plugin", "version", "hooks"),
            [(row["name"], row["version"], ", ".join(row["hooks"])) for row in rows],
        )


@plugins.command()
@click.argument("name")
@click.argument("directory", required=False, default=".", metavar="[DIR]")
@click.option("--kind", required=True, type=click.Choice(list(KINDS)), help="What the plugin does.")
@json_option
def new(name: str, directory: str, kind: str, *, as_json: bool) -> None:
    """Write the package of a new plugin into DIR/edge-agent-NAME; it passes its own tests.

    DIR is where you are, unless given.
    """
    paths = write_plugin(expanded(directory), name, kind)
    package = next(path.parent for path in paths if path.name == "pyproject.toml")
    if as_json:
        print_json({"folder": str(package), "files": [str(path.relative_to(package)) for path in paths]})
        return
    for path in paths:
        click.echo(f"wrote {path}")
    click.echo(f"install it: pip install -e {package}")
    click.echo(f"test it:    pytest {package}")
    click.echo("look:       edge-agent plugins")
