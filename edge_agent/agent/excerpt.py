"""This is where it is said what of a status members of the agent's group are told: figures, states and labels.

No sentence and no path: what failed, what was refused and what plugins said may name somebody's pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALL: None = None

TOLD: Mapping[str, tuple[str, ...] | None] = {
    "state": _ALL,
    "pid": _ALL,
    "version": _ALL,
    "accuracy": _ALL,
    "held_out": _ALL,
    "samples": _ALL,
    "labels": _ALL,
    "pending": _ALL,
    "rejected": _ALL,
    "unusable": _ALL,
    "updating": _ALL,
    "extractor": ("name", "fingerprint", "n_features"),
    "engine": ("pid", "restarts"),
    "delegate": ("name", "requested"),
    "drift": ("changed",),
    "last_update": ("state", "version", "accuracy", "seconds", "samples"),
    "refused": ("created", "basis"),
    "probation": ("version", "predictions_left", "seconds_left"),
    "taken_back": ("version", "instead"),
    "plugins": ("name", "version", "errors", "dropped"),
}
"""The keys of a status that guests are told, and of what has keys itself, or is a list of such, which of those."""


def excerpt(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What guests are told of a status; a key that is not in `TOLD` is none of their business."""
    return {key: _part(facts[key], keys) for key, keys in TOLD.items() if key in facts}


def _part(value: Any, keys: tuple[str, ...] | None) -> Any:
    if keys is None or value is None:
        return value
    if isinstance(value, list):
        return [_part(one, keys) for one in value]
    return {key: value[key] for key in keys if key in value}
