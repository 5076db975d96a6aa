"""This is where it is said what a finding is: something seen, what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

KEPT = 50
"""So many pictures are listed with a finding; `count` says how many there are."""


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    PROBLEM = "problem"
    """Something does not work, or is wrong for certain."""
    WARNING = "warning"
    """It costs accuracy, or soon will."""
    HINT = "hint"
    """Worth a look."""


@dataclass(frozen=True)
class Finding:
    """One thing a person should know."""

    kind: str
    severity: Severity
    message: str
    """What was seen and what to do, in whole sentences."""
    labels: tuple[str, ...] = ()
    """Those it is about; empty: all of them or none."""
    samples: tuple[dict[str, Any], ...] = ()
    """Pictures it is about, the clearest first: `digest`, `label`, `source` and `path` at least."""
    command: str = ""
    """What to type, for the first picture where there are several."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values; `count` is of all pictures, those not listed too."""
        return {
            "kind": self.kind,
            "severity": self.severity.value,
            "message": self.message,
            "labels": list(self.labels),
            "samples": list(self.samples[:KEPT]),
            "count": len(self.samples),
            "command": self.command or None,
        }


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """The worst first, otherwise as they came."""
    order = list(Severity)
    return sorted(findings, key=lambda one: order.index(one.severity))


def named(labels: Sequence[str], most: int = 5) -> str:
    """Labels in a sentence."""
    if len(labels) > most:
        return f"{', '.join(labels[:most])} and {len(labels) - most} more"
    if len(labels) < 2:
        return "".join(labels)
    return f"{', '.join(labels[:-1])} and {labels[-1]}"


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
