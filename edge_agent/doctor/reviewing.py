"""This is where pictures without a label are looked at, and it is said which to label first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.doctor.collection import MOST_PICTURES, collect
from edge_agent.errors import DamagedError
from edge_agent.ml.selection import ReviewPool, Suggestion
from edge_agent.store.quantised import decode_features

Select = Callable[[ReviewPool], list[Suggestion]]


def reviewed(looks: Sequence[Mapping[str, Any]], home: Path, select: Select, wanted: int) -> dict[str, Any]:
    """What `edge-agent review --json` prints, from what the agent said of each picture (`look`).

    `suggestions` is a list of `path`, `reason`, and `label`, `probability`, `margin` as the current version
    guesses; `known` are the pictures that have a label already, `repeated` those that are there twice, `errors`
    those that cannot be read. `select` is asked with all others. Raises what it raises.
    """
    known = [{"path": one["path"], "label": one["known"]} for one in looks if one["known"] is not None]
    errors = [{"path": one["path"], "error": one["error"]} for one in looks if one["error"]]
    fresh: dict[str, Mapping[str, Any]] = {}
    repeated = []
    for one in looks:
        if one["known"] is None and not one["error"]:
            first = fresh.setdefault(one["digest"], one)
            if first is not one:
                repeated.append({"path": one["path"], "same_as": first["path"]})
    found = _suggested(list(fresh.values()), home, select, wanted) if fresh else []
    return {
        "suggestions": found,
        "looked_at": len(looks),
        "known": known,
        "repeated": repeated,
        "errors": errors,
    }


def _suggested(
    looks: Sequence[Mapping[str, Any]], home: Path, select: Select, wanted: int
) -> list[dict[str, Any]]:
    X = np.stack([decode_features(bytes.fromhex(one["features"])) for one in looks])
    labels = tuple(looks[0]["probabilities"])
    try:
        stored = collect(home, looks[0]["fingerprint"], MOST_PICTURES)
        labelled, counts = stored.X.reshape(-1, X.shape[1]), stored.counts
    except DamagedError:  # `doctor` says so; what is left is still worth a look
        labelled, counts = np.zeros((0, X.shape[1]), dtype=np.float32), {}
    by_path = {one["path"]: one for one in looks}
    pool = ReviewPool(
        candidates=tuple(by_path),
        features=X,
        labels=labels,
        probabilities=np.array([[one["probabilities"].get(name, 0.0) for name in labels] for one in looks]),
        labelled=labelled,
        counts=counts,
        wanted=wanted,
    )
    return [{**_guess(by_path[one.candidate]), "reason": one.reason} for one in select(pool)]


def _guess(look: Mapping[str, Any]) -> dict[str, Any]:
    """What the current version says, None before there is one."""
    likely = sorted(look["probabilities"].items(), key=lambda item: -item[1])
    label, probability = likely[0] if likely else (None, None)
    second = likely[1][1] if len(likely) > 1 else 0.0
    return {
        "path": look["path"],
        "digest": look["digest"],
        "label": label,
        "probability": probability,
        "margin": None if probability is None else probability - second,
    }
