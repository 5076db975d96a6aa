"""This is where the built-in learning methods are offered."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.hookspecs import hookimpl
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.model import BUILT_IN_HEADS


@hookimpl
def register_heads(register: Callable[[type[Head]], None]) -> None:
    """Discriminant analysis, softmax and logistic regression, nearest neighbours and networks."""
    for head in BUILT_IN_HEADS.values():
        register(head)
