"""This is where an engine process makes a twin of its extractor whenever a picture asks for one."""

from __future__ import annotations

import gc
import sys

import numpy as np

from edge_agent.config import PicturesConfig
from edge_agent.errors import ExtractorError, ImageError
from edge_agent.vision import images, worker
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.images import DecodedImage


def decode(data: bytes, *, limits: PicturesConfig, target: tuple[int, int]) -> DecodedImage:
    """Refuse a picture that is called `TWIN` with what became of the twin; decode all others."""
    if data != b"TWIN":
        return images.decode(data, limits=limits, target=target)
    first = next(thing for thing in gc.get_objects() if isinstance(thing, FeatureExtractor))
    pixels = np.full((target[1], target[0], 3), 90, dtype=np.uint8)
    try:
        alike = np.array_equal(first.twin().extract(pixels), first.extract(pixels))
    except ExtractorError as error:
        raise ImageError(f"no twin: {error}") from None
    raise ImageError("alike" if alike else "different")


if __name__ == "__main__":
    sys.exit(worker.main(decode=decode))
