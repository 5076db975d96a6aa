"""This is where the GPU is used once it was seen to agree with the processor, and the processor where it was not."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_agent.errors import ExtractorError
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import ExtractorCard
from edge_agent_gpu.compiled import CompiledExtractor
from edge_agent_gpu.trial import try_gpu


class GpuExtractor:
    """A float32 TFLite model on the GPU.

    The fingerprint is the one the processor's features have, whichever computes: the GPU is only used where both were
    seen to give the same. So the agent goes on with what it has learned when the GPU goes away.

    Raises `ExtractorError` when the model cannot be run at all, or, when `strict`, not by the GPU.
    """

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        cpu = FeatureExtractor(card, threads=threads)
        self.runtime = cpu.runtime
        self.fingerprint = cpu.fingerprint
        self.delegate = "gpu"
        trial = try_gpu(card, threads=threads, timeout_seconds=float(card.options["trial_seconds"]))
        problem = trial.objection(float(card.options["min_cosine"]))
        gpu: CompiledExtractor | None = None
        if not problem:
            try:
                gpu = CompiledExtractor(card)
            except ExtractorError as error:
                problem = str(error)
        self._extract: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]] = cpu.extract
        self.notice = ""
        if gpu is not None:
            self._extract = gpu.extract
            self.notice = trial.slowness()
        elif card.options["strict"]:
            raise ExtractorError(f"{card.path}: {problem}; `strict` is set, so the processor is not used")
        else:
            self.delegate = cpu.delegate
            self.notice = f"the processor works in place of the GPU: {problem}"

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Features float32 [n_features] for RGB pixels uint8 [height, width, 3] as the card has them.

        A GPU that fails ends the engine process. The next one tries it again, and the processor answers where it is
        gone: the picture is not lost.
        """
        try:
            return self._extract(pixels)
        except (RuntimeError, ValueError) as error:
            if self.delegate != "gpu":
                raise
            sys.exit(f"the GPU failed: {' '.join(str(error).split())}")
