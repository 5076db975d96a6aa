"""This is where thumbnails and hashes are made, in the child process that `edge_agent.vision.thumbnails` starts."""

from __future__ import annotations

import os
import stat
import sys
from typing import BinaryIO

import msgspec

from edge_agent.config import PicturesConfig
from edge_agent.errors import ImageError
from edge_agent.vision.images import check_bytes, difference_hash, thumbnail
from edge_agent.vision.thumbnails import Order, Thumbnail


def make(order: Order, out: BinaryIO) -> None:
    """Answer for each picture as soon as it is made: what comes after may end the process."""
    for index, path in enumerate(order.paths):
        try:
            data = _made(_read(path, order.pictures), order)
        except (ImageError, OSError):
            data = b""
        answer = msgspec.msgpack.encode(Thumbnail(index, data))
        out.write(len(answer).to_bytes(4, "big") + answer)
        out.flush()


def _made(picture: bytes, order: Order) -> bytes:
    if order.side:
        return thumbnail(picture, limits=order.pictures, side=order.side)
    return difference_hash(picture, limits=order.pictures).to_bytes(8, "big")


def _read(path: bytes, limits: PicturesConfig) -> bytes:
    # Opening a pipe that nobody writes to would wait for ever.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ImageError("it is not a file")
        check_bytes(facts.st_size, limits)
        return file.read()


def main() -> int:
    """Carry out one order."""
    # Native code may print; only answers belong on standard output.
    out = os.dup(1)
    os.dup2(2, 1)
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    with os.fdopen(out, "wb") as answers:
        make(order, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
