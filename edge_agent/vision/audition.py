"""This is where extractors show what they make of pictures, in a process that may end.

What the two processes say to each other is one question on standard input and one answer on standard output.
"""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edge_agent.errors import ExtractorError
from edge_agent.vision.preprocessing import ExtractorCard
from edge_agent.vision.throwaway import done_apart, paths_as_text

AUDITION_SECONDS = 900.0
"""Some hundred pictures through some ways of scaling take seconds, and minutes on a slow board."""


class Whole(Struct, frozen=True, kw_only=True):
    """The model that the first card's file was cut from."""

    model: bytes
    inner: int
    """The tensor it was cut at."""
    averaged: tuple[int, int] | None = None
    """The axes over which that tensor is averaged in the cut file."""
    rest: bytes = b""
    """What leads from that tensor to what the whole gives; empty where that cannot be written."""


class AuditionQuestion(Struct, frozen=True, kw_only=True):
    """Who is to look at what."""

    cards: tuple[ExtractorCard, ...]
    pictures: tuple[str, ...]
    """Files; one that is refused is passed over."""
    runtime: str = "auto"
    threads: int = 1
    whole: Whole | None = None


class Performance(Struct, frozen=True, kw_only=True):
    """What one extractor made of the pictures."""

    features: bytes = b""
    """float32 [n, n_features], of the pictures that were not refused."""
    milliseconds: float = 0.0
    """The median of a picture, from pixels to features."""
    error: str = ""

    def matrix(self, n_features: int) -> NDArray[np.float32]:
        """The features [n, n_features]."""
        return np.frombuffer(self.features, dtype=np.float32).reshape(-1, n_features)


class CutCheck(Struct, frozen=True, kw_only=True):
    """Whether the cut file gives what the whole does; cosines of the worst picture, None where it cannot be read."""

    inner: float | None = None
    """Of its features to those read inside of the whole."""
    through: float | None = None
    """Of what the whole gives to what the rest of it makes of the features of the cut file."""
    because: str = ""
    """Why one cannot be read."""


class AuditionAnswer(Struct, frozen=True, kw_only=True):
    """What became of the question."""

    runtime: str = ""
    seen: tuple[int, ...] = ()
    """The places of the pictures that were not refused."""
    performances: tuple[Performance, ...] = ()
    check: CutCheck | None = None
    error: str = ""


def hear(
    question: AuditionQuestion,
    *,
    module: str = "edge_agent.vision.performance",
    timeout_seconds: float = AUDITION_SECONDS,
) -> AuditionAnswer:
    """Have extractors look at pictures.

    Raises `ExtractorError` when the process does not survive it or takes too long; what one extractor refuses
    in good order is in its own performance.
    """
    said = done_apart(
        (module,),
        msgspec.msgpack.encode(question, enc_hook=paths_as_text),
        doing="trying the model",
        timeout_seconds=timeout_seconds,
    )
    try:
        answer = msgspec.msgpack.decode(said, type=AuditionAnswer)
    except msgspec.DecodeError as error:
        raise ExtractorError(f"trying the model gave no answer: {error}") from None
    if answer.error:
        raise ExtractorError(answer.error)
    return answer
