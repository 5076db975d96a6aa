"""This is where work on a model is done in a process of its own, which may die of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edge_agent.errors import ExtractorError

_LAST_WORDS = 300


def places_to_import_from() -> str:
    """What `PYTHONPATH` a child needs to import what this process imports, from the same places."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100


def done_apart(
    arguments: tuple[str, ...], data: bytes, *, doing: str, timeout_seconds: float, answers: bool = True
) -> bytes:
    """What `python -m` of these arguments says on its standard output, given `data` on its standard input.

    Raises `ExtractorError` that begins with what it was `doing`, when the process does not survive it, ends with
    an error or takes too long. Where it is to say nothing (`answers`), what native code prints is dropped.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", *arguments],
            input=data,
            stdout=subprocess.PIPE if answers else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": places_to_import_from()},
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExtractorError(f"{doing} took more than {timeout_seconds:g} seconds") from None
    except OSError as error:
        raise ExtractorError(f"{doing} cannot be done in a process of its own: {error}") from error
    if child.returncode < 0:
        raise ExtractorError(f"{doing} ended the process by signal {-child.returncode}")
    if child.returncode:
        words = " ".join(child.stderr.decode(errors="replace").split())[-_LAST_WORDS:]
        raise ExtractorError(f"{doing} failed with status {child.returncode}: {words}")
    return child.stdout or b""


def paths_as_text(value: object) -> str:
    """How msgspec writes a path."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value))


def paths_from_text(kind: type, value: object) -> object:
    """How msgspec reads a path."""
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(kind)
