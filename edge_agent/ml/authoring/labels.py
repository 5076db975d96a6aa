"""This is where an author's labels are held to one kind: text, or whole numbers."""

from __future__ import annotations

from numbers import Integral

from edge_agent.errors import MLModelError, MLModelErrorCode


def checked_label(label: object, who: str) -> str | int:
    """A label; raises `MLModelError` FEATURE_TYPE for an empty text, a truth value and anything else."""
    if isinstance(label, str) and label:
        return str(label)
    if isinstance(label, Integral) and not isinstance(label, bool) and -(2**63) <= int(label) < 2**63:
        return int(label)
    raise MLModelError(MLModelErrorCode.FEATURE_TYPE, f"{who} is a text or a whole number, not {label!r}")


def same_kind(known: str | int, label: str | int, who: str) -> None:
    """Raises `MLModelError` FEATURE_TYPE for a text among whole numbers or the other way round."""
    if isinstance(known, str) != isinstance(label, str):
        kind = "texts" if isinstance(known, str) else "whole numbers"
        raise MLModelError(
            MLModelErrorCode.FEATURE_TYPE, f"{who}: the label {label!r} is among labels that are {kind}"
        )
