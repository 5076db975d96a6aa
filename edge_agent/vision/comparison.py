"""This is where an exported model is run beside the extractor it came from, in a process that may end.

What the two processes say to each other is one question on standard input and one answer on standard output.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edge_agent.errors import ExtractorError
from edge_agent.vision.preprocessing import ExtractorCard

COMPARISON_SECONDS = 300.0
"""Two runs on a few pictures take a second; this is for a slow board that is busy."""

_LAST_WORDS = 200


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


def paths_as_text(value: object) -> str:
    """How msgspec writes a path."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value))


def paths_from_text(kind: type, value: object) -> object:
    """How msgspec reads a path."""
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind)


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
    # The child imports what this process imports, from the same places.
    places = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=msgspec.msgpack.encode(question, enc_hook=paths_as_text),
            capture_output=True,
            env={**os.environ, "PYTHONPATH": places},
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExtractorError(
            f"trying the exported model took more than {timeout_seconds:g} seconds"
        ) from None
    except OSError as error:
        raise ExtractorError(
            f"the exported model cannot be tried in a process of its own: {error}"
        ) from error
    if child.returncode:
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit status {child.returncode}"
        words = " ".join(child.stderr.decode(errors="replace").split())[-_LAST_WORDS:]
        raise ExtractorError(f"trying the exported model ended in {how}: {words}")
    try:
        answer = msgspec.msgpack.decode(child.stdout, type=Answer)
    except msgspec.DecodeError as error:
        raise ExtractorError(f"trying the exported model gave no answer: {error}") from None
    if answer.error:
        raise ExtractorError(answer.error)
    return answer


def numbers(data: bytes) -> npt.NDArray[np.float32]:
    """The float32 of a look."""
    return np.frombuffer(data, dtype=np.float32)
