"""This is where a plugin is held to the contract, more closely than when the agent starts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from types import ModuleType
from typing import Any

from edge_agent.cli import COMMANDS
from edge_agent.config import Config, PluginsConfig
from edge_agent.default_plugins import built_in_plugins
from edge_agent.errors import ConfigError, PluginError
from edge_agent.guest import guest
from edge_agent.hookspecs import OBSERVATIONS, PROJECT, QUESTIONS
from edge_agent.ml.heads.conformance import check_head
from edge_agent.plugin_host import PluginHost, PluginReport
from edge_agent.plugins import load_plugins, make_plugin
from edge_agent.testing.examples import example_facts


class _Given(metadata.EntryPoint):
    """An entry point of a plugin that is not installed."""

    given: object

    def load(self) -> object:
        """The plugin itself."""
        return self.given


def made(plugin: object, settings: Mapping[str, Any] | None = None, *, name: str = "") -> tuple[str, object]:
    """A plugin as the agent makes it, under its name: a module as it is, a class with its settings.

    Anything else is taken as it is. Raises `PluginError`, and `ConfigError` with all problems of the settings.
    """
    name = name or plugin_name(plugin)
    if not isinstance(plugin, type | ModuleType):
        if settings:
            raise ConfigError([f"plugins.{name}: this plugin is made already; give settings with its class"])
        return name, plugin
    where = (
        plugin.__name__ if isinstance(plugin, ModuleType) else f"{plugin.__module__}:{plugin.__qualname__}"
    )
    entry = _Given(name, where, PROJECT)
    vars(entry)["given"] = plugin  # entry points cannot be assigned to
    problems: list[str] = []
    one = make_plugin(entry, settings, problems)
    if problems or one is None:
        raise ConfigError(problems)
    return name, one


def check_plugin(
    plugin: object, settings: Mapping[str, Any] | None = None, *, name: str = "", call: bool = True
) -> PluginReport:
    """Hold a plugin to the contract; returns what the agent would say of it.

    `plugin`: its class, its module or an object; `settings`: its table `[plugins.x]`. Looked at are the settings, the
    names of hooks and of their arguments, everything it registers (a head is held to all of `HEAD_CHECKS`), and unless
    `call` is False, what each of its hooks answers to `example_facts`: a question the kind of thing that was asked for,
    an observation nothing.

    Raises `PluginError` that names the plugin, the hook and what was expected, and `ConfigError` with all problems of
    the settings, each with the path of its key.
    """
    name, one = made(plugin, settings, name=name)
    # In front of the built-in plugins, so that it is asked first and the names they take are taken.
    host = load_plugins(PluginsConfig(), built_in=[*built_in_plugins(Config()), (name, one)], entry_points=[])
    (report,) = [report for report in host.reports() if report.name == name]
    for hook in report.hooks:
        if hook.startswith("register_"):
            _check_registered(host, name, hook)
        elif call and hook in QUESTIONS:
            getattr(host, hook)(**example_facts(hook))
        elif call and hook in OBSERVATIONS:
            for function in _implementations(one, hook):
                _check_told(name, hook, function)
    return replace(report, built_in=False)


def _check_registered(host: PluginHost, name: str, hook: str) -> None:
    if hook == "register_commands":
        host.register_commands(COMMANDS)
        return
    offered = getattr(host, hook)()
    if hook == "register_heads":
        own = {head for head in offered.values() if head not in _built_in_heads()}
        for head in sorted(own, key=lambda head: str(head.name)):
            with guest(name, hook):
                check_head(head)


def _built_in_heads() -> list[object]:
    host = load_plugins(PluginsConfig(), built_in=built_in_plugins(Config()), entry_points=[])
    return list(host.register_heads().values())


def _implementations(plugin: object, hook: str) -> list[Callable[..., Any]]:
    """The functions that are marked as a hook, also by another name than their own."""
    found = []
    for attribute in dir(plugin):
        function = getattr(plugin, attribute)
        marks = getattr(function, f"{PROJECT}_impl", None)
        if isinstance(marks, dict) and (marks.get("specname") or attribute) == hook:
            found.append(function)
    return found


def _check_told(name: str, hook: str, function: Callable[..., Any]) -> None:
    facts = example_facts(hook)
    with guest(name, hook):
        answer = function(**{fact: facts[fact] for fact in inspect.signature(function).parameters})
        if answer is not None:
            raise PluginError(f"expected None, for what it answers is never read; got {answer!r}")


def plugin_name(plugin: object) -> str:
    """By the one name of a plugin's package: `edge_agent_x` is the plugin x."""
    module = plugin.__name__ if isinstance(plugin, ModuleType) else getattr(plugin, "__module__", "")
    return module.partition(".")[0].removeprefix("edge_agent_").replace("_", "-") or "plugin"
