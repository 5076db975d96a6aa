"""This is where an extractor that a plugin brings is held to what the agent relies on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import PluginError
from edge_agent.vision.engine import Engine
from edge_agent.vision.preprocessing import ExtractorCard


def check_extractor(card: ExtractorCard, pictures: Sequence[Path]) -> NDArray[np.float32]:
    """Look at pictures through a real engine process, twice; features [n, n_features] of the first look.

    `pictures`: two files or more that show different things. Raises `PluginError` that says what is wrong with
    the features, `EngineError` when the extractor cannot be loaded or is not what its card says.
    """
    who = f"extractor {card.name!r}"
    if len(pictures) < 2:
        raise ValueError("two pictures or more are needed to see whether they are told apart")
    with closing(Engine(card, PicturesConfig(), ExtractorConfig())) as engine:
        first, second = _look(engine, who, pictures), _look(engine, who, pictures)
    if not np.isfinite(first).all():
        raise PluginError(f"{who}: features must be finite numbers")
    if not np.array_equal(first, second):
        raise PluginError(f"{who}: the same picture must have the same features every time")
    if (first == first[0]).all():
        raise PluginError(
            f"{who}: different pictures have the same features; mean and std may not be the model's"
        )
    return first


def _look(engine: Engine, who: str, pictures: Sequence[Path]) -> NDArray[np.float32]:
    rows = []
    for seen in engine.extract((path, os.open(path, os.O_RDONLY)) for path in pictures):
        if seen.features is None:
            raise PluginError(f"{who}: {seen.key}: {seen.error}")
        rows.append(seen.features)
    return np.stack(rows)
