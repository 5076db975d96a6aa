"""This is where a GPU answers some pictures, fails at one, and is away from then on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from edge_agent_gpu.backend import GpuExtractor

from edge_agent.vision.preprocessing import ExtractorCard


class FailingGpu(GpuExtractor):
    """The processor stands in for the GPU until it fails."""

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        super().__init__(card, threads=threads)
        self._marker = Path(card.options["marker"])
        self._left = 2
        self._cpu = self._extract
        if not self._marker.exists():
            self.delegate, self.notice, self._extract = "gpu", "", self._failing

    def _failing(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if not self._left:
            self._marker.touch()
            raise RuntimeError("device lost\nand gone")
        self._left -= 1
        return self._cpu(pixels)
