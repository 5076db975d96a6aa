"""This is where everything that plugins are told is heard and kept."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.hookspecs import OBSERVATIONS, Hooks, hookimpl


@dataclass(frozen=True)
class Heard:
    """One hook that was told, and the facts that came with it by their names."""

    hook: str
    facts: Mapping[str, Any]


class Recorder:
    """A plugin that listens to every observation there is and keeps it in `events`, in order."""

    def __init__(self) -> None:
        self.events: list[Heard] = []

    def names(self) -> list[str]:
        """The hooks that were told, in order."""
        return [event.hook for event in self.events]

    def facts(self, hook: str, fact: str) -> list[Any]:
        """One fact of every time a hook was told; raises `KeyError` for a fact it does not have."""
        return [event.facts[fact] for event in self.events if event.hook == hook]


def _listener(hook: str) -> Callable[..., None]:
    def hear(self: Recorder, **facts: Any) -> None:
        self.events.append(Heard(hook, facts))

    # What is told is chosen by the names of the arguments, and these are those of the contract.
    hear.__signature__ = inspect.signature(getattr(Hooks, hook))  # type: ignore[attr-defined]  # Python looks for it
    hear.__name__, hear.__doc__ = hook, f"Keep what `{hook}` tells."
    return hookimpl(hear)


for _hook in OBSERVATIONS:
    setattr(Recorder, _hook, _listener(_hook))
