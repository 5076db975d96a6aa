"""This is where whatever a plugin raises becomes one error that names the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge_agent.errors import EdgeAgentError, PluginError


@contextmanager
def guest(plugin: str, doing: str) -> Iterator[None]:
    """Whatever a plugin raises in here becomes a `PluginError` that names it.

    `sys.exit()` is included, and so are exceptions that are no `Exception`, as those are that libraries written in
    Rust raise when they panic: none must stop the agent.
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except EdgeAgentError as error:
        raise PluginError(f"plugin {plugin!r}: {doing}: {error}") from error
    except BaseException as error:
        raise PluginError(f"plugin {plugin!r}: {doing}: {words(error)}") from error


def words(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
