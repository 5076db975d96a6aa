"""This is where an engine process says how often it has decoded: as the width of its pictures."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

from edge_agent.config import PicturesConfig
from edge_agent.vision import images, worker
from edge_agent.vision.images import DecodedImage

numbers = itertools.count(1)


def decode(data: bytes, *, limits: PicturesConfig, target: tuple[int, int]) -> DecodedImage:
    """Decode, and count."""
    return replace(images.decode(data, limits=limits, target=target), width=next(numbers))


if __name__ == "__main__":
    sys.exit(worker.main(decode=decode))
