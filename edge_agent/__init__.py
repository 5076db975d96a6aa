"""This is where the public names of edge_agent are gathered."""

from __future__ import annotations

from edge_agent.hookspecs import Decision, hookimpl

__version__ = "0.1.0"

__all__ = ["Decision", "__version__", "hookimpl"]
