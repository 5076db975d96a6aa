"""This is where it is said how an update ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How one update ended, as a person or a program is told."""

    state: str
    """`published`, `refused`, `failed`, `cancelled` or `nothing`."""

    version: int | None
    accuracy: float | None
    seconds: float
    samples: int
    message: str
    untrainable: bool = False
    """The head could not learn from what is stored."""
    unseen: bool = False
    """It says nothing about what is new."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {
            "state": self.state,
            "version": self.version,
            "accuracy": self.accuracy,
            "seconds": round(self.seconds, 3),
            "samples": self.samples,
            "message": self.message,
        }
