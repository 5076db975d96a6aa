"""This is where a feature vector becomes one byte a feature, with an offset and a scale of its own.

The row of n_features numbers is `offset` and `scale` (two little-endian float32) followed by n_features bytes
q, and means offset + scale * q. The error is at most scale / 2, that is (max - min) / 510, plus the rounding
of float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_HEAD = np.dtype([("offset", "<f4"), ("scale", "<f4")])
HEAD_BYTES = _HEAD.itemsize
_SMALLEST = np.finfo(np.float32).smallest_subnormal


def encode_features(features: NDArray[np.float32]) -> bytes:
    """Encode float32 [n_features] into n_features + 8 bytes.

    Raises `ValueError` when `features` is not one finite, non-empty row.
    """
    row = np.asarray(features, dtype=np.float64)
    if row.ndim != 1 or row.size == 0:
        raise ValueError(f"features must be one row of numbers, not an array of shape {row.shape}")
    if not np.isfinite(row).all() or np.abs(row).max() > np.finfo(np.float32).max:
        raise ValueError("features must be finite float32 numbers")
    lowest, highest = np.float32(row.min()), np.float32(row.max())
    scale = np.float32((float(highest) - float(lowest)) / 255)
    if scale == 0 and highest > lowest:
        scale = _SMALLEST  # a range so small that its 255th part is not a float32
    steps = np.zeros(row.size) if scale == 0 else (row - float(lowest)) / float(scale)
    head = np.array([(lowest, scale)], dtype=_HEAD)
    return head.tobytes() + np.clip(np.rint(steps), 0, 255).astype(np.uint8).tobytes()


def decode_features(data: bytes) -> NDArray[np.float32]:
    """The float32 [n_features] that `encode_features` made `data` from, to half a step."""
    row: NDArray[np.float32] = decode_rows([data])[0]
    return row


def decode_rows(rows: Sequence[bytes]) -> NDArray[np.float32]:
    """Decode n equally long rows into float32 [n, n_features]; `ValueError` when their lengths differ."""
    width = len(rows[0])
    if width <= _HEAD.itemsize or any(len(row) != width for row in rows):
        raise ValueError("rows of features differ in length or are too short")
    table = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), width)
    head = table[:, : _HEAD.itemsize].copy().view(_HEAD)
    X = table[:, _HEAD.itemsize :].astype(np.float64)
    X *= head["scale"].astype(np.float64)
    X += head["offset"].astype(np.float64)
    return X.astype(np.float32)
