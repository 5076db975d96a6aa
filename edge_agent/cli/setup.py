"""This is where an agent is set up: `init` and `config`."""

from __future__ import annotations

import click

from edge_agent.agent.home import Home
from edge_agent.cli.output import json_option, print_json
from edge_agent.cli.settings import CONFIG_NAME, Settings, expanded
from edge_agent.config import load_config
from edge_agent.errors import ConfigError, UserError
from edge_agent.example_config import example_config
from edge_agent.store.atomic import write_file


@click.command()
@click.argument("directory", required=False, metavar="[DIR]")
@click.pass_obj
def init(settings: Settings, directory: str | None) -> None:
    """Make a state directory, configuration and drop folder.

    DIR is the state directory; without it, --home.
    """
    path = expanded(directory).absolute() if directory else settings.home
    home = Home(path)
    Settings(str(path)).be_the_owner()
    home.make()
    config = path / CONFIG_NAME
    if config.exists():
        click.echo(f"{config} is there already and stays as it is")
    else:
        write_file(config, example_config().encode())
        click.echo(f"wrote {config}")
    drop = home.drop_folder(load_config(config).drop_folder.path)
    try:
        drop.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{drop}: the drop folder cannot be made: {error.strerror}") from None
    click.echo(f"drop pictures into {drop}/<label>/ and start: edge-agent --home {path} run")


@click.group()
def config() -> None:
    """Check the configuration or print an example."""


@config.command()
@click.argument("file", required=False)
@json_option
@click.pass_obj
def check(settings: Settings, file: str | None, *, as_json: bool) -> None:
    """Report every problem of the configuration at once, each with its path."""
    checked = Settings(str(settings.home), file) if file else settings
    problems = _problems(checked)
    if as_json:
        print_json({"file": str(checked.config_path or ""), "problems": list(problems)})
        if problems:
            raise click.exceptions.Exit(2)
    elif problems:
        raise ConfigError(problems)
    else:
        click.echo(f"{checked.config_path or 'the built-in defaults'}: no problems")


def _problems(checked: Settings) -> tuple[str, ...]:
    """Every problem; where settings of plugins are wrong, what those plugins bring is left out of the rest."""
    from edge_agent.agent.accelerating import delegate_problems
    from edge_agent.agent.extractors import known_extractors
    from edge_agent.agent.stages import setup_problems

    found: list[str] = []
    try:
        plugins, found, left_out = checked.plugins_that_load()
        try:
            rest = setup_problems(
                Home(checked.home),
                checked.config,
                plugins.register_heads(),
                known_extractors(Home(checked.home), plugins.register_extractors()),
                checked.drop_folder,
            )
            rest += delegate_problems(checked.config.extractor, plugins.register_delegates())
        finally:
            plugins.close()
        without = f" (without what {', '.join(left_out)} may bring)" if left_out else ""
        names = ("known are", "no plugin offers")
        return (*found, *(line + without * any(words in line for words in names) for line in rest))
    except ConfigError as error:
        return (*found, *error.problems)
    except UserError as error:
        return (*found, str(error))


@config.command()
def example() -> None:
    """Print a commented configuration with every key and its default."""
    click.echo(example_config(), nl=False)
