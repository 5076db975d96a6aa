"""This is where an extractor and a head become one ordinary TFLite file: picture in, probabilities out.

The file takes plain RGB pixels and needs nothing of ours: a program in any language runs it with a TFLite
runtime alone. What an answer means beyond that, such as being unknown, stays behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median

import numpy as np

from edge_agent.errors import DamagedError, ExtractorError, UserError
from edge_agent.ml.description import MLModelMetadata
from edge_agent.ml.heads.protocol import Head
from edge_agent.store.atomic import write_file
from edge_agent.store.whole_file import read_whole_file
from edge_agent.vision.comparison import Answer, compare, numbers
from edge_agent.vision.fused_head import add_answer, fusable_layers
from edge_agent.vision.fused_input import add_pixel_input
from edge_agent.vision.graft import Graft
from edge_agent.vision.graph import read_graph
from edge_agent.vision.model_metadata import ModelCard, metadata_bytes, with_files
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard

IMAGE, PROBABILITIES = "image", "probabilities"
"""What the one input and the one output are called in the file's signature."""

MOST_APART = 0.01
"""A probability of the file may be this far from that of the model; more, and nothing is written."""

_MODE = 0o644


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written, and what a program must know to use it."""

    path: Path
    bytes: int
    extractor_bytes: int
    labels: tuple[str, ...]
    """In the order of the probabilities."""
    input_shape: tuple[int, int, int, int]
    """uint8 pixels [1, height, width, 3]."""
    input_description: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """What the metadata says of normalisation; with the input's quantisation it leaves pixels as they are."""
    compared: int
    """On so many pictures the file was held against the model."""
    largest_difference: float
    """Between a probability of the file and that of the model."""
    runtime: str
    milliseconds: float
    """One picture, the median."""


def export_tflite(
    card: ExtractorCard,
    head: Head,
    to: Path,
    *,
    labels: Sequence[str],
    metadata: MLModelMetadata,
    pictures: Sequence[Path] = (),
    runtime: str = "auto",
) -> ExportReport:
    """Write extractor and head as one file `to`, whole or not at all.

    Before it is there it is run beside the extractor on made-up pictures and on `pictures`, by the runtime
    that is installed; where its probabilities are not the head's, nothing is written.

    Raises `UserError` for a head that cannot be fused, `ExtractorError` for an extractor that cannot or for
    answers that differ, `StoreError` when the disk refuses.
    """
    layers = fusable_layers(head)
    _check_labels(labels, head)
    body = _body(card)
    try:
        graft = Graft(body)
        pixels = add_pixel_input(graft, card)
        if prod(graft.output.shape) != head.n_features:
            raise DamagedError(
                f"the model gives {prod(graft.output.shape)} features, the head takes {head.n_features}"
            )
        answer = add_answer(graft, layers)
        told = ModelCard(
            name=card.name,
            description=metadata.description,
            version=metadata.version_string,
            author=metadata.author,
            license=metadata.license,
            input_description=_input_description(card),
            mean=pixels.mean,
            std=pixels.std,
            labels=tuple(labels),
            notes=metadata.creator_defined,
        )
        about = metadata_bytes(told, width=card.width, height=card.height)
        model = graft.finish((IMAGE, pixels.tensor), (PROBABILITIES, answer), about, metadata.description)
    except (DamagedError, OverflowError) as error:
        raise ExtractorError(f"{card.path}: cannot be exported: {error}") from None
    whole = with_files(model, told)
    witnessed = compare(whole, card, pictures, runtime=runtime)
    apart = _largest_difference(witnessed, head)
    write_file(to, whole, _MODE)
    return ExportReport(
        path=to,
        bytes=len(whole),
        extractor_bytes=len(body),
        labels=tuple(labels),
        input_shape=(1, card.height, card.width, 3),
        input_description=told.input_description,
        mean=pixels.mean,
        std=pixels.std,
        compared=len(witnessed.looks),
        largest_difference=apart,
        runtime=witnessed.runtime,
        milliseconds=1000.0 * median(look.seconds for look in witnessed.looks),
    )


def _check_labels(labels: Sequence[str], head: Head) -> None:
    if len(labels) != len(head.classes_):
        raise UserError(f"{len(labels)} labels for a model of {len(head.classes_)} classes")
    for label in labels:
        if not isinstance(label, str) or "\n" in label or "\r" in label:
            raise UserError(f"the label {label!r} is not text on one line, as the list of labels needs it")


def _body(card: ExtractorCard) -> bytes:
    if card.backend != TFLITE:
        raise ExtractorError(
            f"{card.path}: is run by {card.backend}; only a TFLite extractor can be exported"
        )
    try:
        data = read_whole_file(card.path)
    except OSError as error:
        raise ExtractorError(f"{card.path}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise ExtractorError(f"{card.path}: damaged or not the file its card describes; it was not exported")
    try:
        foreign = sorted(frozenset().union(*read_graph(data).custom_by_subgraph))
    except DamagedError as error:
        raise ExtractorError(f"{card.path}: cannot be exported: {error}") from None
    if foreign:
        raise ExtractorError(
            f"{card.path}: cannot be exported: it needs operators that other programs lack: {', '.join(foreign)}"
        )
    return data


def _input_description(card: ExtractorCard) -> str:
    return (
        f"RGB pixels from 0 to 255, uint8 [1, {card.height}, {card.width}, 3]: the whole picture, resized to"
        f" {card.width} x {card.height} without keeping its proportions, bilinear, antialiased as Pillow does"
    )


def _largest_difference(witnessed: Answer, head: Head) -> float:
    """Raises `ExtractorError` where a probability is farther away than it may be."""
    largest = 0.0
    for look in witnessed.looks:
        expected = head.predict_proba(numbers(look.features)[None, :])[0]
        answered = numbers(look.answer)
        fits = answered.shape == expected.shape
        apart = float(np.abs(answered - expected).max()) if fits else np.inf
        if not apart <= MOST_APART:  # also where it is not a number
            raise ExtractorError(
                f"the exported model answers otherwise than the model itself (picture {look.picture!r},"
                f" {apart:.3g} apart, runtime {witnessed.runtime}); it was not written"
            )
        largest = max(largest, apart)
    return largest
