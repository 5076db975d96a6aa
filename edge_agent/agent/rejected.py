"""This is where refused files get their names, beside which their reasons lie."""

from __future__ import annotations

import os
from pathlib import Path

REASON_SUFFIX = ".reason.txt"

MOST_NAME_BYTES = 200
"""Longer names are shortened when a file is put aside: a reason must fit beside it in 255 bytes."""


def free_name(folder: Path, name: str) -> Path:
    """Where a refused file can go, whatever lies there already."""
    target = folder / name
    count = 1
    while os.path.lexists(target):  # a reason without its file was written just before the power went
        count += 1
        target = folder / f"{Path(name).stem}-{count}{Path(name).suffix}"
    return target


def shortened(name: str) -> str:
    """A name that leaves room for a number and the suffix of the reason; its end, which tells the kind, is kept."""
    data = name.encode()
    if len(data) <= MOST_NAME_BYTES:
        return name
    half = MOST_NAME_BYTES // 2
    return data[:half].decode(errors="ignore") + "..." + data[-half:].decode(errors="ignore")


def count_rejected(folder: Path) -> int:
    """How many refused files lie below `rejected/`."""
    return sum(1 for path in folder.glob("*/*") if not path.name.endswith(REASON_SUFFIX))
