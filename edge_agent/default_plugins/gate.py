"""This is where a candidate that is worse than the current version is refused."""

from __future__ import annotations

from edge_agent.agent.evaluation import Evaluation
from edge_agent.agent.verdict import decide
from edge_agent.hookspecs import Decision, hookimpl


@hookimpl
def accept_candidate(evaluation: Evaluation) -> Decision:
    """Labels that contradict, and the comparison on held-out samples, decide; see `agent.verdict.decide`."""
    return decide(evaluation)
