"""This is where the GPU is tried against the processor, in a process that it may end.

A GPU's driver can crash, hang, or compute something else. Whether it does is found out by a process that is thrown
away: the card comes as its argument, and one line of JSON goes to standard output.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.errors import ExtractorError
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import ExtractorCard

REPEATS = 3


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    problem: str = ""
    """Why the GPU cannot be used; empty when it can."""
    cosine: float = 0.0
    """The least of its features to the processor's."""
    gpu_seconds: float = 0.0
    """For a picture, the median."""
    cpu_seconds: float = 0.0

    def objection(self, min_cosine: float) -> str:
        """Why the GPU is not to be used; empty when it can be."""
        if self.problem or self.cosine >= min_cosine:
            return self.problem
        return (
            f"the GPU computes something else: its features have a cosine of {self.cosine:.4f} to the processor's, less"
            f" than {min_cosine:g} (`min_cosine`)"
        )

    def slowness(self) -> str:
        """What is said of a GPU that takes longer than the processor; empty for one that does not."""
        if self.gpu_seconds <= self.cpu_seconds:
            return ""
        gpu, cpu = 1000 * self.gpu_seconds, 1000 * self.cpu_seconds
        return f"the GPU takes {gpu:.1f} ms for a picture, and the processor would take {cpu:.1f} ms"


def try_gpu(
    card: ExtractorCard, *, threads: int, timeout_seconds: float, module: str = "edge_agent_gpu.trial"
) -> Trial:
    """Run the trial in a process of its own; whatever becomes of it is an answer."""
    argument = msgspec.json.encode([card, threads, timeout_seconds], enc_hook=str).decode()
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, argument],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Trial(problem=f"the GPU was not ready within {timeout_seconds:g} seconds (`trial_seconds`)")
    try:
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Trial)
    except (msgspec.DecodeError, IndexError):
        pass
    how = f"exit status {done.returncode}"
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
    words = " | ".join(done.stderr.decode(errors="replace").split("\n")[-4:]).strip(" |")
    return Trial(problem=f"the GPU's driver ended the process that tried it ({how}: {words[-300:]})")


def compare(card: ExtractorCard, threads: int) -> Trial:
    """Show both the same pictures; raises nothing that a GPU or a file can be blamed for."""
    from edge_agent_gpu.compiled import CompiledExtractor

    try:
        gpu = CompiledExtractor(card)
        cpu = FeatureExtractor(card, threads=threads)
        seen = [(_timed(gpu, one), _timed(cpu, one)) for one in _pictures(card) for _ in range(REPEATS)]
    except (ExtractorError, RuntimeError, ValueError) as error:
        return Trial(problem=" ".join(str(error).split()))
    return Trial(
        cosine=min(_cosine(mine, other) for (mine, _), (other, _) in seen),
        gpu_seconds=median(seconds for (_, seconds), _ in seen),
        cpu_seconds=median(seconds for _, (_, seconds) in seen),
    )


def _pictures(card: ExtractorCard) -> Iterator[npt.NDArray[np.uint8]]:
    """Smooth and rough ones."""
    rng = np.random.default_rng(0)
    shape = (card.height, card.width, 3)
    for cells in (2, 4, 16):
        coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        rows, columns = (
            np.arange(card.height) * cells // card.height,
            np.arange(card.width) * cells // card.width,
        )
        yield np.ascontiguousarray(coarse[rows][:, columns])
    yield rng.integers(0, 256, shape, dtype=np.uint8)


def _timed(extractor: Any, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], float]:
    started = time.perf_counter()
    features = extractor.extract(pixels)
    return features, time.perf_counter() - started


def _cosine(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> float:
    one, other = left.astype(np.float64), right.astype(np.float64)
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length > 0 else float(np.array_equal(one, other))


def main() -> int:
    """Answer on the real standard output; whatever native code prints goes to standard error."""
    card, threads, seconds = msgspec.json.decode(
        sys.argv[1], type=tuple[ExtractorCard, int, float], dec_hook=lambda _kind, value: Path(value)
    )
    # Whoever asked may be gone by then; nothing may stay behind.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(seconds) + 5)
    out = os.dup(1)
    os.dup2(2, 1)
    trial = compare(card, threads)
    with os.fdopen(out, "wb") as answer:
        answer.write(msgspec.json.encode(trial) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
