"""This is where it is said what a `.tflite` file holds and whether an extractor can be made of it; nothing is run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import DamagedError
from edge_agent.vision.anatomy import Anatomy, Part
from edge_agent.vision.pooling import Features, Picture, find_features, picture_input, unusable_steps
from edge_agent.vision.scaling import Scalings, scalings
from edge_agent.vision.tflite_schema import IDENTIFIER

OTHER_FILES = {
    b"version https://git-lfs": "it is a pointer of git-lfs, not the file itself: fetch it with `git lfs pull`",
    b"<!DOCTYPE": "it is a web page, not a model",
    b"<html": "it is a web page, not a model",
    b"PK\x03\x04": "it is a zip archive; unpack it first",
    b"\x89PNG": "it is a PNG picture, not a model",
    b"\xff\xd8\xff": "it is a JPEG picture, not a model",
}
"""What other files begin with."""


@dataclass(frozen=True)
class Inspection:
    """What was found; `refusal` is empty when an extractor can be made of it."""

    data: bytes
    refusal: str
    anatomy: Anatomy | None = None
    picture: Picture | None = None
    features: Features | None = None
    scalings: Scalings | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        anatomy, picture, features = self.anatomy, self.picture, self.features
        return {
            "bytes": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "usable": not self.refusal,
            "reason": self.refusal or None,
            "inputs": [_tensor(part) for part in anatomy.inputs] if anatomy else [],
            "outputs": [_tensor(part) for part in anatomy.outputs] if anatomy else [],
            "steps": len(anatomy.steps) if anatomy else 0,
            "picture": {"width": picture.width, "height": picture.height, "layout": picture.layout}
            if picture
            else None,
            "features": {**_tensor(features.part), "n_features": features.count, "why": features.why}
            if features
            else None,
            "scaling": {
                "decided": self.scalings.decided,
                "why": self.scalings.why,
                "metadata": self.scalings.said or None,
                "candidates": [
                    {"name": one.name, "mean": list(one.mean), "std": list(one.std)}
                    for one in self.scalings.tried
                ],
            }
            if self.scalings
            else None,
        }


def inspect_model(data: bytes) -> Inspection:
    """Look through the bytes of a file; whatever they are, this is answered in about the time it takes to read them."""
    anatomy: Anatomy | None = None
    picture: Picture | None = None
    features: Features | None = None
    try:
        if foreign := _foreign(data):
            raise DamagedError(foreign)
        anatomy = _read(data)
        if custom := unusable_steps(anatomy):
            raise DamagedError(custom)
        picture = picture_input(anatomy)
        features = find_features(anatomy)
        return Inspection(data, "", anatomy, picture, features, scalings(anatomy, picture.part))
    except DamagedError as error:
        return Inspection(data, str(error), anatomy, picture, features)


def _read(data: bytes) -> Anatomy:
    try:
        return Anatomy(data)
    except DamagedError as error:
        raise DamagedError(f"it is damaged or not whole: {error}") from None


def _foreign(data: bytes) -> str:
    """What is said of bytes that are not even the begin of a model; empty for those that may be one."""
    if not data:
        return "it is empty"
    for begin, words in OTHER_FILES.items():
        if data.startswith(begin):
            return words
    if data[4:8] != IDENTIFIER:
        return f"it is not a TFLite model: one has {IDENTIFIER.decode()} in its bytes 5 to 8"
    return ""


def _tensor(part: Part) -> dict[str, Any]:
    limits = part.range()
    return {
        "name": part.name,
        "tensor": part.index,
        "shape": list(part.shape),
        "type": part.type_name,
        "scale": part.scale or None,
        "zero_point": part.zero_point if part.scale else None,
        "range": list(limits) if limits else None,
    }
