"""This is where a candidate that is worse than the current version is refused."""

from __future__ import annotations

from edge_agent.agent.evaluation import Evaluation, decide
from edge_agent.hookspecs import Decision, hookimpl


@hookimpl
def accept_candidate(evaluation: Evaluation) -> Decision:
    """The comparison on held-out samples decides; the rules are written down in `agent.evaluation.decide`."""
    return decide(evaluation)
