"""Where a command finds its state directory, its configuration and an agent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_agent.cli.settings import CONFIG_NAME, Settings, expanded
from edge_agent.errors import ConfigError, NotFoundError, PluginError, UserError


def test_nothing_is_read_before_it_is_needed(tmp_path: Path) -> None:
    """A broken configuration does not matter to who only wants to know where the home is."""
    (tmp_path / CONFIG_NAME).write_text("[nonsense")
    settings = Settings(str(tmp_path))
    assert settings.home == tmp_path
    with pytest.raises(ConfigError, match="not valid TOML"):
        _ = settings.config


def test_the_configuration_is_the_named_one_else_that_of_the_home(tmp_path: Path) -> None:
    """Without either the defaults hold; a named one must be there."""
    settings = Settings(str(tmp_path))
    assert settings.config_path is None
    (tmp_path / CONFIG_NAME).write_text('[drop_folder]\npath = "/mnt/card"\n')
    assert Settings(str(tmp_path)).drop_folder == Path("/mnt/card")
    (tmp_path / "other.toml").write_text("")
    other = Settings(str(tmp_path), str(tmp_path / "other.toml"))
    assert other.drop_folder == tmp_path / "drop"
    with pytest.raises(ConfigError, match="no such file"):
        _ = Settings(str(tmp_path), str(tmp_path / "none.toml")).config


def test_the_home_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative home follows the working directory of the start; `~` is replaced; without one it is the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert Settings("here").home == tmp_path / "here"
    assert Settings("~/there").home == Path("/somewhere/there")
    assert Settings().home == Path("/somewhere/.local/state/edge-agent")
    with pytest.raises(UserError, match="no such user"):
        expanded("~nobody-of-that-name/x")


def test_asking_needs_a_home(tmp_path: Path) -> None:
    """A question about a state directory that is not there says how to make one."""
    with pytest.raises(NotFoundError, match="edge-agent init"):
        Settings(str(tmp_path / "none")).ask("status")
    assert not (tmp_path / "none").exists()


def test_a_plugins_command_does_not_replace_a_built_in_one(tmp_path: Path, guests) -> None:
    """Commands of plugins are found by name; a name that is taken is refused."""
    guests.add(
        "commands",
        "import click\n@hookimpl\ndef register_commands(register):\n    register(click.Command('dance'))\n",
    )
    guests.install()
    settings = Settings(str(tmp_path))
    assert "dance" in settings.plugin_commands(taken=("run",))
    with pytest.raises(PluginError, match=r"plugin 'commands'.*'dance' is taken by edge-agent"):
        settings.plugin_commands(taken=("dance",))


def test_a_plugin_without_commands_is_not_imported_for_them(tmp_path: Path, guests) -> None:
    """Who asks for the commands of plugins waits for no plugin that has none, nor reads a configuration for it."""
    guests.add("idle", "@hookimpl\ndef agent_started(home):\n    pass\n")
    guests.install()
    settings = Settings(str(tmp_path))
    settings.plugin_commands(taken=())
    assert not set(guests.modules) & set(sys.modules)
