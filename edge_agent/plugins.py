"""This is where plugins are found, checked and loaded."""

from __future__ import annotations

import inspect
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from types import ModuleType
from typing import Any, NoReturn

import pluggy

from edge_agent.config import PluginsConfig
from edge_agent.errors import ConfigError, PluginError
from edge_agent.guest import guest
from edge_agent.hook_search import may_implement
from edge_agent.hookspecs import HOOK_NAMES, PROJECT, Hooks
from edge_agent.plugin_host import QUEUE_SIZE, Listener, PluginHost, PluginReport
from edge_agent.sections import convert_section, is_section, suggest

__all__ = [
    "PluginHost",
    "PluginReport",
    "load_plugins",
    "make_plugin",
    "settings_problems",
    "without_problems",
]

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""So long a plugin may be imported before it is said which one it is."""


def load_plugins(
    config: PluginsConfig,
    *,
    built_in: Sequence[tuple[str, object]],
    entry_points: Iterable[metadata.EntryPoint] | None = None,
    queue_size: int = QUEUE_SIZE,
    only: str = "",
) -> PluginHost:
    """Load every installed plugin that is not disabled, and the built-in ones behind them.

    With `only`, the name of a hook, guests that cannot implement it are not even imported.

    Guests are asked and told in alphabetical order of their names (`tryfirst` and `trylast` as pluggy has
    them), the built-in plugins after all of them. `entry_points`: by default those of the group `edge_agent`.

    Raises `PluginError` that names the plugin, the hook and what was expected, and `ConfigError` with every
    problem of `[plugins]` and of the tables below it.
    """
    if entry_points is None:
        entry_points = metadata.entry_points(group=PROJECT)
    own = dict(built_in)
    found = _by_name(entry_points, own)
    problems = _unknown_names(config, found)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    reports: dict[str, PluginReport] = {}
    # The last to be registered is the first to be called.
    for name in sorted(set(found) - set(config.disabled), reverse=True):
        if only and not may_implement(found[name], only):
            continue
        try:
            with _no_exit():
                plugin = make_plugin(found[name], config.settings.get(name), problems)
            hooks = _register(manager, name, plugin) if plugin is not None else ()
        except PluginError as error:
            raise PluginError(f"{error}; `disabled = [{name!r}]` in [plugins] leaves it out") from error
        if plugin is not None:
            dist = found[name].dist
            reports[name] = PluginReport(
                name, dist.version if dist else "", found[name].value, hooks, built_in=False
            )
    for name, plugin in own.items():
        where = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
        reports[name] = PluginReport(name, "", where, _register(manager, name, plugin), built_in=True)
    if problems:
        raise ConfigError(problems)
    manager.check_pending()
    ordered = sorted(reports.values(), key=lambda report: (report.built_in, report.name))
    return PluginHost(ordered, _listeners(manager), queue_size=queue_size)


def _by_name(
    entry_points: Iterable[metadata.EntryPoint], built_in: Mapping[str, object]
) -> dict[str, metadata.EntryPoint]:
    found: dict[str, metadata.EntryPoint] = {}
    for entry in entry_points:
        if entry.name in built_in:
            raise PluginError(
                f"plugin {entry.name!r} ({entry.value}): this name belongs to a built-in plugin"
            )
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise PluginError(
                f"plugin {entry.name!r}: offered twice, by {other.value} and by {entry.value}; uninstall one"
            )
    return found


def settings_problems(
    config: PluginsConfig, entry_points: Iterable[metadata.EntryPoint] | None = None
) -> list[str]:
    """Every problem of `[plugins]` and the tables below it, for a configuration that is wrong elsewhere, too.

    Plugins are imported and made, and nothing more. One that is broken itself has a line among the problems.
    """
    try:
        load_plugins(config, built_in=[], entry_points=entry_points).close(timeout=0.0)
    except ConfigError as error:
        return list(error.problems)
    except PluginError as error:
        return [str(error)]
    return []


def without_problems(
    config: PluginsConfig, problems: Iterable[str], entry_points: Iterable[metadata.EntryPoint] | None = None
) -> tuple[PluginsConfig, list[str]]:
    """A configuration that loads what has no `problems`, and the names of the installed plugins that have some."""
    installed = {
        entry.name
        for entry in (metadata.entry_points(group=PROJECT) if entry_points is None else entry_points)
    }
    wrong = {found[1] for line in problems if (found := re.match(r"plugins\.([^.:]+)", line))}
    left_out = sorted(wrong & installed - set(config.disabled))
    disabled = tuple(sorted((set(config.disabled) | wrong) & installed))
    settings = {name: table for name, table in config.settings.items() if name not in wrong}
    return PluginsConfig(disabled=disabled, settings=settings), left_out


def _unknown_names(config: PluginsConfig, found: Mapping[str, metadata.EntryPoint]) -> list[str]:
    hint = "no plugin of this name is installed"
    problems = [
        f"plugins.disabled: {name}: {hint}{suggest(name, found)}"
        for name in config.disabled
        if name not in found
    ]
    return problems + [
        f"plugins.{name}: {hint}{suggest(name, found)}" for name in config.settings if name not in found
    ]


def make_plugin(
    entry: metadata.EntryPoint, given: Mapping[str, Any] | None, problems: list[str]
) -> object | None:
    """The plugin behind an entry point, made with its settings; None when these have `problems`.

    Raises `PluginError` when it cannot be imported or made.
    """
    with guest(entry.name, "importing it"), _patience(entry.name):
        loaded = entry.load()
    no_settings = f"plugins.{entry.name}: this plugin takes no settings"
    if isinstance(loaded, ModuleType):
        problems += [no_settings] if given else []
        return loaded
    if not isinstance(loaded, type):
        raise PluginError(f"plugin {entry.name!r}: {entry.value} is {loaded!r}; expected a module or a class")
    kind = getattr(loaded, "Settings", None)
    arguments = []
    if kind is None:
        problems += [no_settings] if given else []
    elif not is_section(kind):
        raise PluginError(
            f"plugin {entry.name!r}: Settings is {kind!r}; expected a kind of msgspec.Struct or a dataclass"
        )
    else:
        settings = convert_section(kind, given or {}, f"plugins.{entry.name}", problems)
        if settings is None:
            return None
        arguments = [settings]
    with guest(entry.name, "making it"):
        try:
            made: object = loaded(*arguments)
        except ConfigError as error:
            problems += [f"plugins.{entry.name}.{problem}" for problem in error.problems]
            return None
    return made


@contextmanager
def _no_exit() -> Iterator[None]:
    """Have a plugin that would end this process without a word, with `os._exit`, say who it is."""

    def refuse(status: int) -> NoReturn:
        raise PluginError(f"it would end the whole process, by os._exit({status})")

    real, os._exit = os._exit, refuse
    try:
        yield
    finally:
        os._exit = real


@contextmanager
def _patience(name: str) -> Iterator[None]:
    """Say which plugin it is that keeps the agent from starting: one that hangs cannot be interrupted from here."""
    words = (
        f"plugin %r is still being imported after %.0f s; `disabled = [{name!r}]` in [plugins] leaves it out"
    )
    timer = threading.Timer(PATIENCE_SECONDS, log.warning, (words, name, PATIENCE_SECONDS))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _register(manager: pluggy.PluginManager, name: str, plugin: object) -> tuple[str, ...]:
    """Check every hook the plugin implements, register it and return their names."""
    hooks = set()
    with guest(name, "looking for its hooks"):
        for attribute in dir(plugin):
            options = manager.parse_hookimpl_opts(plugin, attribute)
            if options is not None:
                hook = options.get("specname") or attribute
                if hook in HOOK_NAMES or not options.get("optionalhook"):
                    _check_implementation(manager, hook, getattr(plugin, attribute), options)
                    hooks.add(hook)
            elif attribute in HOOK_NAMES and callable(getattr(plugin, attribute)):
                raise PluginError(
                    f"{attribute} is named like a hook; mark it with @edge_agent.hookimpl or rename it"
                )
        if not hooks:
            raise PluginError("it implements no hook; mark its functions with @edge_agent.hookimpl")
        manager.register(plugin, name)
    return tuple(hook for hook in HOOK_NAMES if hook in hooks)


def _check_implementation(
    manager: pluggy.PluginManager, hook: str, function: Callable[..., Any], options: Mapping[str, Any]
) -> None:
    """Refuse what pluggy would refuse or never call, in words for the author of a plugin."""
    if hook not in HOOK_NAMES:
        raise PluginError(f"there is no hook {hook}{suggest(hook, HOOK_NAMES)}")
    if options.get("wrapper") or options.get("hookwrapper"):
        raise PluginError(f"{hook} is a wrapper; expected a plain function, so that it is known who answered")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise PluginError(
            f"{hook} is a coroutine or a generator, which nobody would run; expected a plain function"
        )
    spec = getattr(manager.hook, hook).spec
    assert spec is not None
    first = (
        next(iter(inspect.signature(function.__func__).parameters), "") if inspect.ismethod(function) else ""
    )
    if first in spec.argnames:
        raise PluginError(f"{hook} is a method whose first argument is {first!r}; expected self before it")
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise PluginError(f"{hook} takes {parameter}; expected names among {', '.join(spec.argnames)}")
        if name not in spec.argnames:
            raise PluginError(f"{hook} has no argument {name!r}{suggest(name, spec.argnames)}")


def _listeners(manager: pluggy.PluginManager) -> list[tuple[str, Listener]]:
    """Every implementation in the order of calling, which is the reverse of pluggy's list."""
    listeners = []
    for hook in HOOK_NAMES:
        for found in reversed(getattr(manager.hook, hook).get_hookimpls()):
            names = tuple(inspect.signature(found.function).parameters)
            listeners.append((hook, Listener(found.plugin_name, found.function, names)))
    return listeners
