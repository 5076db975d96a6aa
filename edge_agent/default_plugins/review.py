"""This is where the pictures are suggested that should get a label first."""

from __future__ import annotations

from edge_agent.hookspecs import hookimpl
from edge_agent.ml.selection import ReviewPool, Suggestion, suggestions


@hookimpl
def select_for_review(pool: ReviewPool) -> list[Suggestion]:
    """Those that stand for the most others, later those in doubt; written down in `ml.selection`."""
    return suggestions(pool)
