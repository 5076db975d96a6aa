"""This is where arrays that come back from disk are held to what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode


def stored_array(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], dtype: Any = np.float64
) -> NDArray[Any]:
    """An array read from disk; raises `MLModelError` IO unless shape (None: any), dtype and values fit."""
    array = arrays.get(name)
    if array is None:
        raise MLModelError(MLModelErrorCode.IO, f"the array {name!r} is missing")
    fits = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        raise MLModelError(
            MLModelErrorCode.IO,
            f"the array {name!r} is {array.dtype} of shape {array.shape}, expected {shape}",
        )
    if not np.isfinite(array).all():
        raise MLModelError(MLModelErrorCode.IO, f"the array {name!r} has values that are not finite")
    return array
