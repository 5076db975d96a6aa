"""This is where an engine process is given a decoder that loses memory: as much as the first word says."""

from __future__ import annotations

import sys

from edge_agent.config import PicturesConfig
from edge_agent.vision import images, worker
from edge_agent.vision.images import DecodedImage

lost: list[bytearray] = []


def decode(data: bytes, *, limits: PicturesConfig, target: tuple[int, int]) -> DecodedImage:
    """Decode what follows `LEAK n` in a line of its own, and never give n MB back."""
    word, _, rest = data.partition(b"\n")
    match word.split(b" "):
        case [b"LEAK", megabytes]:
            lost.append(bytearray(b"x") * (int(megabytes) << 20))
        case _:
            rest = data
    return images.decode(rest, limits=limits, target=target)


if __name__ == "__main__":
    sys.exit(worker.main(decode=decode))
