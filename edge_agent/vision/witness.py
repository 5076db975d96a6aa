"""This is where an exported model and its extractor look at the same pictures, in a process of their own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.config import PicturesConfig
from edge_agent.errors import ExtractorError, ImageError
from edge_agent.vision.comparison import Answer, Look, Question
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.images import decode
from edge_agent.vision.runtime import load_interpreter
from edge_agent.vision.throwaway import paths_from_text

Pixels = npt.NDArray[np.uint8]


def made_up(width: int, height: int) -> Iterator[tuple[str, Pixels]]:
    """Pictures [height, width, 3] that need no file: nothing, every level, and everything at once."""
    shape = (height, width, 3)
    yield "black", np.zeros(shape, dtype=np.uint8)
    yield "grey", np.full(shape, 127, dtype=np.uint8)
    rows, columns = np.linspace(0, 255, height), np.linspace(0, 255, width)
    ramp = np.stack([np.tile(columns, (height, 1)), np.tile(rows[:, None], (1, width))], axis=2)
    yield "ramp", np.dstack([ramp, 255 - ramp[:, :, 0]]).astype(np.uint8)
    yield "noise", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def from_files(paths: Sequence[str], size: tuple[int, int]) -> Iterator[tuple[str, Pixels]]:
    """The pictures in files, as the agent sees them; those that are refused are passed over."""
    for path in paths:
        try:
            yield path, decode(Path(path).read_bytes(), limits=PicturesConfig(), target=size).pixels
        except (ImageError, OSError):
            continue


def look(question: Question) -> Answer:
    """Show both the same."""
    card = question.card
    try:
        extractor = FeatureExtractor(card, runtime=question.runtime)
        exported = load_interpreter(question.model, runtime=question.runtime)
        looks = []
        for source in (made_up(*card.size), from_files(question.pictures, card.size)):
            for name, pixels in source:
                started = time.perf_counter()
                answer = exported.run(pixels[None])
                seconds = time.perf_counter() - started
                features = extractor.extract(pixels)
                looks.append(
                    Look(
                        picture=name,
                        features=features.tobytes(),
                        answer=answer.astype(np.float32).tobytes(),
                        seconds=seconds,
                    )
                )
    except ExtractorError as error:
        return Answer(error=str(error))
    return Answer(runtime=f"{exported.facts.name} {exported.facts.version}", looks=tuple(looks))


def main() -> int:
    """Answer one question."""
    # Native code may print; only the answer belongs on standard output.
    out = os.dup(1)
    os.dup2(2, 1)
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question, dec_hook=paths_from_text)
    with os.fdopen(out, "wb") as answer:
        answer.write(msgspec.msgpack.encode(look(question)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
