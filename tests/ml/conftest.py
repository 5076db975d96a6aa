"""Fixtures of the learning tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Clouds = Callable[..., tuple[NDArray[np.float32], list[str]]]


@pytest.fixture(name="clouds", scope="session")
def _clouds() -> Clouds:
    """Makes n samples of C Gaussian classes in D dimensions, kept above 0 as features of a network are."""

    def make(
        n: int, *, D: int = 12, C: int = 3, noise: float = 0.5, seed: int = 0
    ) -> tuple[NDArray[np.float32], list[str]]:
        rng = np.random.default_rng(seed)
        means = np.abs(np.random.default_rng(99).normal(size=(C, D))) * 2
        y = np.arange(n) % C
        X = np.maximum(means[y] + noise * rng.normal(size=(n, D)), 0.0).astype(np.float32)
        return X, [f"class {k}" for k in y]

    return make
