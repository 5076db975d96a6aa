"""This is where the configured rules say when to update."""

from __future__ import annotations

from edge_agent.agent.policy import UpdateSituation, decide
from edge_agent.config import UpdateConfig
from edge_agent.hookspecs import Decision, hookimpl


class Policy:
    """The rules of `[update]`; they are written down in `agent.policy.decide`."""

    def __init__(self, config: UpdateConfig) -> None:
        self._config = config

    @hookimpl
    def ready_to_update(self, situation: UpdateSituation) -> Decision:
        """Enough new samples, a new label, or quiet."""
        return decide(situation, self._config)
