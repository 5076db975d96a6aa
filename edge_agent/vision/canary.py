"""This is where the engine's process compares what an accelerator made of a picture with what the CPU makes of it."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import numpy.typing as npt

from edge_agent.errors import ExtractorError
from edge_agent.vision.delegate_spec import DelegateUse
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import ExtractorCard

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]


class Canary:
    """Remembers the last picture with its features, and looks at it again when it is asked.

    The CPU's own interpreter is opened at once: later the process may not read files any more. A model that the CPU
    cannot run is compared with what the accelerator made of one picture when it started: that shows that it changed,
    not that it was right.
    """

    def __init__(
        self,
        card: ExtractorCard,
        extractor: FeatureExtractor,
        use: DelegateUse,
        *,
        runtime: str,
        threads: int,
    ) -> None:
        self._accelerator = extractor
        self._last: tuple[Pixels, Features] | None = None
        self._cpu: FeatureExtractor | None = None
        self._before: tuple[Pixels, Features] | None = None
        if use.comparable:
            with suppress(ExtractorError):  # nothing is known against the accelerator then
                self._cpu = FeatureExtractor(card, runtime=runtime, threads=threads)
                self._cpu.warm_up()
        else:
            pixels = np.random.default_rng(0).integers(0, 256, (card.height, card.width, 3), dtype=np.uint8)
            self._before = pixels, extractor.extract(pixels)

    def saw(self, pixels: Pixels, features: Features) -> None:
        """Remember what the accelerator made of a picture."""
        self._last = pixels, features

    def cosine(self) -> float | None:
        """How far the last picture's features agree; None where there was none, or where nothing can be compared.

        Raises `ExtractorError` where the accelerator refuses.
        """
        if self._last is None:
            return None
        if self._before is not None:
            pixels, before = self._before
            return cosine(before, self._accelerator.extract(pixels))
        pixels, seen = self._last
        if self._cpu is None:
            return None
        try:
            return cosine(self._cpu.extract(pixels), seen)
        except ExtractorError:
            return None  # nothing is known against the accelerator


def cosine(expected: Features, seen: Features) -> float:
    """The cosine of two vectors of one length; 1 for two that are nothing, 0 where only one is."""
    one, other = expected.astype(np.float64), seen.astype(np.float64)
    length, other_length = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    if not length or not other_length:
        return float(length == other_length)
    return float(one @ other / (length * other_length))
