"""This is where a model that comes as a plain file is told from others and taken in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import FEATURES, LABEL
from edge_agent.ml.front import Front
from edge_agent.ml.heads.built_in import file_reader
from edge_agent.ml.heads.features import FeaturesHead
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.kinds import card_opener, every_head

CARD_SUFFIX = ".json"
EXTRACTS_ONLY = "it only extracts features; nothing in it learns"


@dataclass(frozen=True)
class RawModel:
    """What was found in a file."""

    head: Head
    front: Front | None = None
    output_name: str = LABEL
    not_updatable_because: str = ""


def raw_model(path: Path) -> RawModel:
    """What is in a `.tflite` that trains itself, or in an extractor: the card, or the file it lies beside.

    Raises `MLModelError`: IO for what is not there or cannot be read, GENERIC for a directory, and whatever
    the file's own kind refuses.
    """
    if path.is_dir():
        raise MLModelError(
            MLModelErrorCode.GENERIC, f"{path}: is a directory; only plain files need compiling"
        )
    if not path.exists():
        raise MLModelError(MLModelErrorCode.IO, f"{path}: cannot be read: there is no such file")
    card = path if path.suffix == CARD_SUFFIX else path.with_suffix(CARD_SUFFIX)
    if card.is_file():
        return extractor_in(card)
    reader = file_reader(path, every_head())
    assert reader is not None  # it is a file
    return RawModel(reader(path))


def extractor_in(card: Path) -> RawModel:
    """The extractor a card describes; raises `MLModelError` IO where card or file are not as they should be."""
    front = Front([card_opener()(card)])
    return RawModel(FeaturesHead(front.n_features), front, FEATURES, EXTRACTS_ONLY)
