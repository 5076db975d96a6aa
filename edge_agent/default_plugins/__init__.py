"""This is where the built-in answers are put together; they come in by the same hooks as everybody's."""

from __future__ import annotations

from edge_agent.config import Config
from edge_agent.default_plugins import delegates, extractors, gate, heads, labels, review
from edge_agent.default_plugins.limits import LimitsOfTheBoard
from edge_agent.default_plugins.log import Log
from edge_agent.default_plugins.policy import Policy


def built_in_plugins(config: Config) -> list[tuple[str, object]]:
    """The name and the plugin of each; those that need a section of the configuration receive it here.

    The names cannot be those of a guest: a guest's is also the name of a table of the configuration.
    """
    return [
        ("default-extractors", extractors),
        ("default-delegates", delegates),
        ("default-heads", heads),
        ("default-labels", labels),
        ("default-policy", Policy(config.update)),
        ("default-limits", LimitsOfTheBoard(config.limits)),  # the later is asked first: before the policy
        ("default-gate", gate),
        ("default-review", review),
        ("default-log", Log()),
    ]
