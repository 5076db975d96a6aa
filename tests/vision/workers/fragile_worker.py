"""This is where an engine process is given a decoder that dies, hangs and shouts on demand."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from edge_agent.config import PicturesConfig
from edge_agent.vision import images, worker
from edge_agent.vision.images import DecodedImage


def shout(words: bytes) -> None:
    """Insist on being heard: a full pipe takes no more until the agent listens."""
    while words:
        with contextlib.suppress(BlockingIOError):
            words = words[os.write(2, words) :]


def decode(data: bytes, *, limits: PicturesConfig, target: tuple[int, int]) -> DecodedImage:
    """Do what the first word of the file says, then decode what follows it."""
    word, _, rest = data.partition(b"\n")
    match word.split(b" "):
        case [b"ABORT"]:
            os.abort()
        case [b"EXIT"]:
            shout(b"the accelerator is on fire\n")
            os._exit(7)
        case [b"HANG"]:
            while True:
                pass
        case [b"ONCE", path]:
            marker = Path(os.fsdecode(path))
            if not marker.exists():
                marker.touch()
                os.abort()
        case [b"TIMES", count, path]:
            with Path(os.fsdecode(path)).open("a") as file:
                file.write("x")
                deaths = file.tell()
            if deaths <= int(count):
                os.abort()
        case [b"SHOUT"]:
            for _ in range(160):
                shout(b"x" * 65535 + b"\n")
        case _:
            rest = data
    return images.decode(rest, limits=limits, target=target)


if __name__ == "__main__":
    sys.exit(worker.main(decode=decode))
