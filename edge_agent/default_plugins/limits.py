"""This is where no update begins while the board is not fit for it."""

from __future__ import annotations

from edge_agent.agent.limits import LIMITS, Limits
from edge_agent.agent.policy import UpdateSituation
from edge_agent.config import LimitsConfig
from edge_agent.hookspecs import Decision, hookimpl


class LimitsOfTheBoard:
    """`[limits]`; what they say is written down in `agent.limits`."""

    def __init__(self, config: LimitsConfig) -> None:
        self._limits = Limits(config)

    @hookimpl
    def ready_to_update(self, situation: UpdateSituation) -> Decision | None:
        """No, with the limit that was reached; else others decide."""
        if situation.insisted:
            return None
        reached = self._limits.reached(situation.board, asked=situation.forced)
        return Decision(answer=False, reason=reached, basis=LIMITS) if reached else None
