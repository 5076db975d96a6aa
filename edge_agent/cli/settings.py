"""This is where a command finds its state directory, its configuration and an agent to ask."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import NotFoundError, UserError

if TYPE_CHECKING:
    import click

    from edge_agent.agent.agent import Agent
    from edge_agent.agent.asking import Ask
    from edge_agent.config import Config, PluginsConfig
    from edge_agent.ml.augmentation import AugmentationSettings
    from edge_agent.ml.feature_extractors import FeatureExtractorType
    from edge_agent.ml.feature_source import FeatureSource
    from edge_agent.plugins import PluginHost

CONFIG_NAME = "edge-agent.toml"


def expanded(path: str) -> Path:
    """A path with `~` replaced; raises `UserError` for a user who is not there."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such user") from None


class Settings:
    """The two global options, and what follows from them; nothing is read before it is needed."""

    def __init__(self, home: str | None = None, config_file: str | None = None) -> None:
        self._home = home
        self._config_file = config_file

    @cached_property
    def home(self) -> Path:
        """The state directory, absolute."""
        from edge_agent.agent.home import default_home

        return (expanded(self._home) if self._home else default_home()).absolute()

    @property
    def config_path(self) -> Path | None:
        """The configuration that is read: the one named, else the one in the state directory, else none."""
        if self._config_file:
            return expanded(self._config_file)
        path = self.home / CONFIG_NAME
        return path if path.exists() else None

    @cached_property
    def config(self) -> Config:
        """The parsed configuration.  Raises `ConfigError`."""
        from edge_agent.config import load_config

        def plugin_problems(plugins: PluginsConfig) -> list[str]:
            from edge_agent.plugins import settings_problems

            return settings_problems(plugins)

        return load_config(self.config_path, plugin_problems)

    def plugins(self, extra: Sequence[tuple[str, object]] = ()) -> PluginHost:
        """Load the plugins, and `extra` listeners of the command itself.  Raises `PluginError`, `ConfigError`."""
        from edge_agent.default_plugins import built_in_plugins
        from edge_agent.plugins import load_plugins

        return load_plugins(self.config.plugins, built_in=[*built_in_plugins(self.config), *extra])

    def plugins_that_load(self) -> tuple[PluginHost, list[str], list[str]]:
        """The plugins whose settings are right, the problems of the others, and the names of these.

        Raises `ConfigError` for the configuration itself, and `PluginError`.
        """
        from edge_agent.default_plugins import built_in_plugins
        from edge_agent.errors import ConfigError
        from edge_agent.plugins import load_plugins, without_problems

        try:
            return self.plugins(), [], []
        except ConfigError as error:
            sound, left_out = without_problems(self.config.plugins, error.problems)
            host = load_plugins(sound, built_in=built_in_plugins(self.config))
            return host, list(error.problems), left_out

    def plugin_commands(self, taken: Iterable[str]) -> dict[str, click.Command]:
        """Commands that plugins add; a name that is taken is refused.  Raises `PluginError`, `ConfigError`.

        Only plugins that may add one are imported, and where there is none, not even the configuration is read.
        """
        from importlib import metadata

        from edge_agent.hook_search import may_implement

        hook = "register_commands"
        guests = metadata.entry_points(group="edge_agent")
        if not any(may_implement(guest, hook) for guest in guests):
            return {}
        from edge_agent.plugins import load_plugins

        host = load_plugins(self.config.plugins, built_in=(), entry_points=guests, only=hook)
        return {str(command.name): command for command in host.register_commands(taken)}

    @property
    def drop_folder(self) -> Path:
        """The folder that is watched."""
        from edge_agent.agent.home import Home

        return Home(self.home).drop_folder(self.config.drop_folder.path)

    def agent(
        self,
        *,
        drop_folder: Path | None = None,
        watch: bool = False,
        extra: Sequence[tuple[str, object]] = (),
    ) -> Agent:
        """An agent that is not open yet."""
        from edge_agent.agent.agent import Agent

        return Agent(self.home, self.config, self.plugins(extra), drop_folder=drop_folder, watch=watch)

    def open_source(
        self, extractor: FeatureExtractorType, augmentation: AugmentationSettings | None = None
    ) -> FeatureSource:
        """What looks at pictures for a training session; with the agent's own runtime and limits, so that what
        was learned suits it. Raises `ExtractorError` or `UserError` for an extractor that cannot be used.
        """
        from edge_agent.vision.feature_source import open_feature_source

        config = self.config
        return open_feature_source(extractor, augmentation, pictures=config.pictures, config=config.extractor)

    def need_home(self) -> None:
        """Raise `NotFoundError` when there is no state directory: asking must not create one."""
        if not self.home.is_dir():
            raise NotFoundError(
                f"{self.home}: nothing has been set up there; run `edge-agent init` or name another with --home"
            )

    def be_the_owner(self, but: str = "") -> None:
        """Refuse to write into the state directory of somebody else, such as a service: it could not read what root
        leaves there, and others may not.  `but` is said first.  Raises `UserError` that says as whom to say it.
        """
        try:
            owner = self.home.stat().st_uid
        except OSError:
            return
        if owner == os.geteuid() or (os.geteuid() != 0 and os.access(self.home, os.W_OK | os.X_OK)):
            return
        raise UserError(but + _somebodys(self.home, owner))

    def be_a_reader(self) -> None:
        """Refuse whoever may pass through the state directory and not read it, as members of its group may.

        Raises `NotFoundError` when there is none, `UserError` that says as whom to say it.
        """
        self.need_home()
        if not os.access(self.home, os.R_OK | os.X_OK):
            raise UserError(_somebodys(self.home, self.home.stat().st_uid))

    def session(self, make_agent: Callable[[], Agent] | None = None) -> AbstractContextManager[Ask]:
        """A way to ask the running agent, or to do the work here, as the owner, when none runs."""
        from edge_agent.agent.asking import session

        def agent() -> Agent:
            self.be_the_owner("no agent runs that could be asked, and ")
            return (make_agent or self.agent)()

        self.need_home()
        return session(self.home, agent)

    def ask(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """Put one question."""
        with self.session() as ask:
            return ask(name, arguments)


def _somebodys(home: Path, owner: int) -> str:
    import pwd

    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"{home} belongs to user {owner}; say it as that user"
    return f"{home} belongs to {name}; say it as that user: sudo -u {name} ..."
