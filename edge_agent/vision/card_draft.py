"""This is where the card of an extractor is written from what its file says of itself, where that is enough."""

from __future__ import annotations

import hashlib
import re
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_agent.errors import DamagedError, ExtractorError
from edge_agent.ml.raw import CARD_SUFFIX
from edge_agent.store.atomic import write_file
from edge_agent.store.whole_file import read_whole_file
from edge_agent.vision.anatomy import Anatomy
from edge_agent.vision.graft import Graft
from edge_agent.vision.preprocessing import ExtractorCard, card_from, load_card
from edge_agent.vision.scaling import scalings

SMALLEST_SIDE = 8
"""In pixels: less is the 1 of a size that is yet to be filled in."""


def write_card(model: Path) -> ExtractorCard:
    """Write the card of a `.tflite` beside it, and return it.

    The file must take one RGB picture and give one vector. How pixel values are scaled comes from its metadata,
    or else from the quantisation of its input, taken to stand for the pixel values themselves. Raises
    `ExtractorError` where the file does not say enough, `StoreError` when the disk refuses.
    """
    path = model.with_suffix(CARD_SUFFIX)
    try:
        data = read_whole_file(model)
    except OSError as error:
        raise ExtractorError(f"{model}: cannot be read: {error.strerror}") from None
    try:
        drafted = _drafted(model, data)
    except DamagedError as error:
        raise ExtractorError(
            f"{model}: has no card, {path.name}, and none can be made from it: {error}"
        ) from None
    card_from(drafted, path=model, source=str(model))  # what the limits of cards refuse is not written
    write_file(path, msgspec.json.format(msgspec.json.encode(drafted), indent=2) + b"\n")
    return load_card(path)


def _drafted(model: Path, data: bytes) -> dict[str, Any]:
    graph = Graft(data)
    height, width, layout = _sides(graph.input.shape)
    mean, std, color, origin = _scaling(data)
    n_features = prod(graph.output.shape)
    if n_features != graph.output.shape[-1]:
        raise DamagedError(f"it gives {graph.output.shape}, which is no vector")
    return {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", model.stem).strip("._-")[:64] or "extractor",
        "file": model.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "n_features": n_features,
        "input": {
            "width": width,
            "height": height,
            "channels": 3,
            "layout": layout,
            "mean": mean,
            "std": std,
            "resample": "bilinear",
            "color": color,
        },
        "origin": f"this card was made by edge-agent; mean and std come from {origin}",
    }


def _sides(shape: tuple[int, ...]) -> tuple[int, int, str]:
    """Height, width and layout."""
    if len(shape) == 4 and shape[0] == 1:
        if shape[3] == 3 and min(shape[1:3]) >= SMALLEST_SIDE:
            return shape[1], shape[2], "NHWC"
        if shape[1] == 3 and min(shape[2:]) >= SMALLEST_SIDE:
            return shape[2], shape[3], "NCHW"
    raise DamagedError(f"it takes {shape}, which is no RGB picture")


def _scaling(data: bytes) -> tuple[Any, Any, str, str]:
    """Mean, std, colours and where they come from, by the rules of `edge_agent.vision.scaling`.

    Only what the file itself gives is taken: nothing is run here, so that nothing can be tried.
    """
    anatomy = Anatomy(data)
    taken = anatomy.inputs[0]
    found = scalings(anatomy, taken)
    first, why = found.tried[0], "; ".join(filter(None, [found.why, "" if found.decided else found.said]))
    if taken.scale > 0 and taken.dtype is not None and not found.decided:
        # A pixel is the quantised value itself, or with int8 128 more than it.
        return float(taken.zero_point - np.iinfo(taken.dtype).min), 1.0 / taken.scale, "RGB", why
    if found.decided or found.evidence:
        return _shortest(first.mean), _shortest(first.std), first.color, why
    raise DamagedError(
        f"{found.said or 'nothing in it says how pixel values are scaled'}; write input.mean and input.std in a card,"
        " as docs/create-ml.md shows"
    )


def _shortest(values: tuple[float, float, float]) -> float | list[float]:
    return values[0] if len(set(values)) == 1 else list(values)
