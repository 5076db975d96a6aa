"""This is where picture files are looked at in a process that may end: small pictures for people, and hashes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from edge_agent.config import PicturesConfig
from edge_agent.vision.throwaway import places_to_import_from

SIDE = 96
"""Pixels of the longer side, at most."""
SECONDS = 60.0
"""For one child and all its pictures; a slow board takes a tenth of a second for each."""


class Order(Struct, frozen=True, kw_only=True):
    """What the child is to make."""

    paths: tuple[bytes, ...]
    """As the file system has them."""
    pictures: PicturesConfig
    side: int
    """Of thumbnails; 0 asks for difference hashes instead."""


class Thumbnail(Struct, frozen=True, array_like=True):
    """One answer of the child, behind its length in four bytes, most significant first."""

    index: int
    data: bytes
    """A JPEG file, or a hash of eight bytes, most significant first; empty when the picture was refused."""


def thumbnails(
    paths: Sequence[Path],
    *,
    pictures: PicturesConfig | None = None,
    side: int = SIDE,
    module: str = "edge_agent.vision.thumbnail_maker",
    timeout_seconds: float = SECONDS,
) -> dict[Path, bytes]:
    """JPEG files of at most `side` pixels, upright; pictures of which none can be made are not in it.

    Where the child dies of a picture, that one is left out and another child goes on behind it.
    """
    return _found(paths, pictures or PicturesConfig(), side, module, timeout_seconds)


def difference_hashes(
    paths: Sequence[Path], *, pictures: PicturesConfig | None = None, timeout_seconds: float = SECONDS
) -> dict[Path, int]:
    """Difference hashes, 64 bits each; pictures that cannot be read are not in it.

    Two that differ in five bits or fewer show the same; see `images.difference_hash`.
    """
    module = "edge_agent.vision.thumbnail_maker"
    found = _found(paths, pictures or PicturesConfig(), 0, module, timeout_seconds)
    return {path: int.from_bytes(data, "big") for path, data in found.items()}


def _found(
    paths: Sequence[Path], pictures: PicturesConfig, side: int, module: str, timeout_seconds: float
) -> dict[Path, bytes]:
    """What a child answers of each picture; where it dies of one, another goes on behind it."""
    wanted = list(dict.fromkeys(paths))
    found: dict[Path, bytes] = {}
    start = 0
    while start < len(wanted):
        rest = wanted[start:]
        order = Order(paths=tuple(map(os.fsencode, rest)), pictures=pictures, side=side)
        answers = _answers(_asked(module, msgspec.msgpack.encode(order), timeout_seconds))
        found |= {rest[one.index]: one.data for one in answers if one.data}
        start += len(answers) + 1
    return found


def _asked(module: str, order: bytes, timeout_seconds: float) -> bytes:
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=order,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": places_to_import_from()},
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return late.stdout or b""
    except OSError:
        return b""
    return child.stdout


def _answers(said: bytes) -> list[Thumbnail]:
    """The whole answers at the beginning of what a child said."""
    found: list[Thumbnail] = []
    at = 0
    while len(said) - at >= 4:
        end = at + 4 + int.from_bytes(said[at : at + 4], "big")
        if end > len(said):
            break
        found.append(msgspec.msgpack.decode(said[at + 4 : end], type=Thumbnail))
        at = end
    return found
