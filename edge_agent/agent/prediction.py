"""This is where what a model makes of a picture is put into the words of `predict --json`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.opinions import Opinion
from edge_agent.ml.model import MLModel


def prediction(
    path: str,
    features: NDArray[np.float32] | None,
    error: str | None,
    model: MLModel,
    *,
    version: int | None,
    top: int | None,
    background_labels: Collection[str] = (),
    said: Opinion | None = None,
) -> dict[str, Any]:
    """What a model says of the features [n_features] of a picture, as `predict --json` has it.

    `features` are None where `error` says why; `version` is None for a model that is none. Unknown is what is
    like nothing that was learned, and what is answered with one of `background_labels`, in whatever case. `said` is
    what the model is known to say of that picture: it is not asked again.
    """
    answer: dict[str, Any] = {
        "path": path,
        "label": None,
        "probability": None,
        "probabilities": {},
        "unknown": False,
        "version": version,
        "error": error,
    }
    if features is None:
        return answer
    X = features[None, :]
    row = (said.P if said else model.predict_proba(X))[0]
    order = np.argsort(-row, kind="stable")[:top]
    best = int(order[0])
    answer["label"] = model.classes[best]
    answer["probability"] = float(row[best])
    answer["probabilities"] = {model.classes[i]: float(row[i]) for i in order}
    nothing = str(answer["label"]).casefold() in {name.casefold() for name in background_labels}
    answer["unknown"] = nothing or bool((said.unknown if said else model.is_unknown(X))[0])
    return answer
