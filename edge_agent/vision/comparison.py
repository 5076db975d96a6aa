"""This is where an exported model is run beside the extractor it came from, in a process that may end.

What the two processes say to each other is one question on standard input and one answer on standard output.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edge_agent.errors import ExtractorError
from edge_agent.vision.preprocessing import ExtractorCard
from edge_agent.vision.throwaway import done_apart, paths_as_text

COMPARISON_SECONDS = 300.0
"""Two runs on a few pictures take a second; this is for a slow board that is busy."""


class Question(Struct, frozen=True, kw_only=True):
    """What is to be looked at."""

    card: ExtractorCard
    model: bytes
    pictures: tuple[str, ...]
    """Files besides the pictures that are made up; one that is refused is passed over."""
    runtime: str


class Look(Struct, frozen=True, kw_only=True):
    """What both said of one picture; float32 as bytes."""

    picture: str
    features: bytes
    """Of the extractor."""
    answer: bytes
    """Of the exported model."""
    seconds: float
    """That the exported model took."""


class Answer(Struct, frozen=True, kw_only=True):
    """What became of the question."""

    runtime: str = ""
    looks: tuple[Look, ...] = ()
    error: str = ""


def compare(
    model: bytes,
    card: ExtractorCard,
    pictures: Sequence[Path] = (),
    *,
    runtime: str = "auto",
    module: str = "edge_agent.vision.witness",
    timeout_seconds: float = COMPARISON_SECONDS,
) -> Answer:
    """Show an exported model and its extractor the same pictures: some that are made up, and files.

    Raises `ExtractorError` when one of them refuses, or when the process does not survive it.
    """
    question = Question(card=card, model=model, pictures=tuple(map(str, pictures)), runtime=runtime)
    said = done_apart(
        (module,),
        msgspec.msgpack.encode(question, enc_hook=paths_as_text),
        doing="trying the exported model",
        timeout_seconds=timeout_seconds,
    )
    try:
        answer = msgspec.msgpack.decode(said, type=Answer)
    except msgspec.DecodeError as error:
        raise ExtractorError(f"trying the exported model gave no answer: {error}") from None
    if answer.error:
        raise ExtractorError(answer.error)
    return answer


def numbers(data: bytes) -> npt.NDArray[np.float32]:
    """The float32 of a look."""
    return np.frombuffer(data, dtype=np.float32)
