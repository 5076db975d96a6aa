"""This is where a delegate is tried, in a process that it may end: loaded, run, and compared with the CPU.

One question comes on standard input. What is said of it goes to the real standard output, a line of JSON for each
stage that begins and one for the result; whatever the library prints goes to standard error.
"""

from __future__ import annotations

import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.errors import ExtractorError
from edge_agent.vision.canary import cosine
from edge_agent.vision.delegate_question import Found, Question, Refused, Stage
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.throwaway import paths_from_text
from edge_agent.vision.witness import from_files, made_up

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]

ENOUGH_SECONDS = 5.0
"""After this long no further round of pictures is begun."""


def try_delegate(question: Question, say: Callable[[Stage], None]) -> Found | Refused:
    """Show the same pictures to the CPU and to the delegate, again and again; `say` hears what begins."""
    card = question.card
    stage = "cpu"

    def begin(name: str) -> None:
        nonlocal stage
        stage = name
        say(Stage(name))

    try:
        pictures = [
            one for _name, one in chain(made_up(*card.size), from_files(question.pictures, card.size))
        ]
        begin("cpu")
        expected: list[Features] = []
        cpu_seconds: float | None = None
        if question.compare:
            plain = FeatureExtractor(card, runtime=question.runtime, threads=question.threads)
            expected, cpu_seconds = _run(plain, pictures, question.repeats)
            del plain
        if question.use is None:
            return Found(cpu_seconds=cpu_seconds)
        before, started = _resident_bytes(), time.perf_counter()
        extractor = FeatureExtractor(
            card,
            runtime=question.runtime,
            threads=question.threads,
            delegate=question.use,
            progress=begin,
        )
        load_seconds = time.perf_counter() - started
        begin("run")
        extractor.warm_up()
        warm = _resident_bytes()
        seen, seconds = _run(extractor, pictures, question.repeats)
        after = _resident_bytes()
    except ExtractorError as error:
        return Refused(stage, str(error))
    return Found(
        cpu_seconds=cpu_seconds,
        seconds=seconds,
        load_seconds=load_seconds,
        cosine=min(map(cosine, expected, seen), default=None),
        taken=extractor.taken,
        memory_bytes=max(0, after - before),
        grown_bytes=max(0, after - warm),
    )


def _run(extractor: FeatureExtractor, pictures: list[Pixels], repeats: int) -> tuple[list[Features], float]:
    """Features of each picture, the last time it was shown, and the median of the seconds that a picture took."""
    seconds = []
    features: list[Features] = []
    extractor.warm_up()
    begun = time.perf_counter()
    for repeat in range(repeats):
        if repeat and time.perf_counter() - begun > ENOUGH_SECONDS:
            break  # a slow board with a large model
        features = []
        for pixels in pictures:
            started = time.perf_counter()
            features.append(extractor.extract(pixels))
            seconds.append(time.perf_counter() - started)
    return features, statistics.median(seconds)


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def main() -> int:
    """Answer one question."""
    # Libraries print; only what is said here belongs on standard output.
    out = os.dup(1)
    os.dup2(2, 1)
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question, dec_hook=paths_from_text)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(question.seconds)
    # Whoever answers meanwhile goes first; both that are compared are slowed down alike.
    os.nice(10)
    # Data, not addresses: drivers reserve far more of these than they use.
    resource.setrlimit(resource.RLIMIT_DATA, (question.memory_bytes, question.memory_bytes))

    def say(message: Stage | Found | Refused) -> None:
        os.write(out, msgspec.json.encode(message) + b"\n")

    say(try_delegate(question, say))
    sys.stdout.flush()
    # Without tidying up: a library that hangs or dies in its last breath has done its work by then.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
