"""This is where it is said what can be saved."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class MLWritable(Protocol):
    """Something that can be saved; `MLModel` is one, and its `is_writable` says whether this model may be."""

    def write(self, to: Path | str) -> None:
        """Save as `to`, whole or not at all."""
