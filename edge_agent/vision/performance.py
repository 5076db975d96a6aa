"""This is where an extractor from outside is loaded and looks at pictures, in a process of its own."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.config import PicturesConfig
from edge_agent.errors import ExtractorError, ImageError
from edge_agent.vision.audition import (
    AuditionAnswer,
    AuditionQuestion,
    CutCheck,
    Performance,
    Whole,
)
from edge_agent.vision.backend import Extractor, open_extractor
from edge_agent.vision.images import decode
from edge_agent.vision.preprocessing import ExtractorCard, Preprocessor
from edge_agent.vision.runtime import load_interpreter, run_whole
from edge_agent.vision.throwaway import paths_from_text

Pixels = NDArray[np.uint8]

COMPARED = 3
"""So many pictures go through the cut file and the whole one."""
MOST_BYTES = 3 << 30
"""Of address space: a file of some hundred bytes may ask for more than a board has."""


def perform(question: AuditionQuestion) -> AuditionAnswer:
    """Show every extractor the same pictures."""
    sizes = sorted({card.size for card in question.cards})
    seen, pixels = _decoded(question.pictures, sizes)
    check, runtime = None, ""
    if question.whole is not None:
        card = question.cards[0]
        try:
            check = _check(question.whole, card, pixels[card.size][:COMPARED], question.runtime)
        except ExtractorError as error:
            return AuditionAnswer(error=str(error))
    performances = []
    for card in question.cards:
        try:
            extractor = open_extractor(card, runtime=question.runtime, threads=question.threads)
            runtime = f"{extractor.runtime.name} {extractor.runtime.version}"
            performances.append(_performance(extractor, pixels[card.size]))
        except ExtractorError as error:
            performances.append(Performance(error=str(error)))
    return AuditionAnswer(runtime=runtime, seen=tuple(seen), performances=tuple(performances), check=check)


def _decoded(
    pictures: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> tuple[list[int], dict[tuple[int, int], list[Pixels]]]:
    seen: list[int] = []
    pixels: dict[tuple[int, int], list[Pixels]] = {size: [] for size in sizes}
    for place, path in enumerate(pictures):
        try:
            data = Path(path).read_bytes()
            looks = [decode(data, limits=PicturesConfig(), target=size).pixels for size in sizes]
        except (ImageError, OSError):
            continue
        seen.append(place)
        for size, look in zip(sizes, looks, strict=True):
            pixels[size].append(look)
    return seen, pixels


def _performance(extractor: Extractor, pixels: Sequence[Pixels]) -> Performance:
    rows, times = [], []
    for look in pixels:
        started = time.perf_counter()
        rows.append(extractor.extract(look))
        times.append(time.perf_counter() - started)
    features = np.concatenate(rows).astype(np.float32) if rows else np.zeros(0, np.float32)
    return Performance(features=features.tobytes(), milliseconds=1000.0 * median(times) if times else 0.0)


def _check(whole: Whole, card: ExtractorCard, pixels: Sequence[Pixels], runtime: str) -> CutCheck:
    """Look whether the cut file and the whole agree; raises `ExtractorError` when the cut one is refused."""
    cut = load_interpreter(card.path.read_bytes(), runtime=runtime)
    prepare = Preprocessor(card.input, cut.input.dtype, cut.input.scale, cut.input.zero_point)
    inner: list[float] = []
    through: list[float] = []
    because: list[str] = []
    for look in pixels:
        tensor = prepare(look)
        features = cut.run(tensor)
        try:
            [there] = run_whole(whole.model, tensor, inner=whole.inner, runtime=runtime)
            zero = cut.output.zero_point
            read = there.astype(np.float64) - zero
            if whole.averaged is not None:
                read = read.mean(axis=whole.averaged)
            inner.append(_cosine(read, features.astype(np.float64) - zero))
        except ExtractorError as error:
            because.append(str(error))
        if whole.rest:
            try:
                given = run_whole(whole.model, tensor, runtime=runtime)
                made = run_whole(whole.rest, features, runtime=runtime)
                through.append(_cosine(given[0], made[0]))
            except ExtractorError as error:
                because.append(str(error))
    return CutCheck(
        inner=min(inner, default=None), through=min(through, default=None), because="; ".join(because[:1])
    )


def _cosine(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Of two arrays of as many numbers, 1 for two of zeros; 0 where their sizes differ."""
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    if a.size != b.size:
        return 0.0
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths == 0.0:
        return float(not a.any() and not b.any())
    return float(a @ b) / lengths


def main() -> int:
    """Answer one question."""
    # Native code may print; only the answer belongs on standard output.
    out = os.dup(1)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MOST_BYTES if hard == resource.RLIM_INFINITY else min(MOST_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    question = msgspec.msgpack.decode(
        sys.stdin.buffer.read(), type=AuditionQuestion, dec_hook=paths_from_text
    )
    with os.fdopen(out, "wb") as answer:
        answer.write(msgspec.msgpack.encode(perform(question)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
