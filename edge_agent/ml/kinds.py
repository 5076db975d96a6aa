"""This is where a kind of model or stage that needs native code is found by its name, when one is opened.

A table of names and no imports: the agent's own process brings its heads itself and opens none of these, so
nothing native is loaded there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.front import FrozenStage
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.heads.features import FeaturesHead
from edge_agent.ml.heads.protocol import Head

_HEADS = {"tflite": "edge_agent.vision.trainable_head:TrainableHead"}
_STAGES = {
    "extractor": "edge_agent.vision.extractor_stage:open_stage",
    "link": "edge_agent.ml.links:open_stage",
}
_CARD = "edge_agent.vision.extractor_stage:open_card"


class StageOpener(Protocol):
    """How a frozen stage is opened again."""

    def __call__(
        self,
        description: Mapping[str, Any],
        files: Mapping[str, Path],
        *,
        folder: Path,
        parameters: Mapping[Any, object],
    ) -> FrozenStage:
        """The stage that `describe` and `files` of another told of, in the model's `folder`; `parameters` go
        before the description. Raises `MLModelError`."""


def every_head() -> dict[str, type[Head]]:
    """All learning methods that need no plugin, those of native code among them."""
    native = {name: cast("type[Head]", _found(place)) for name, place in _HEADS.items()}
    return {**BUILT_IN_HEADS, FeaturesHead.name: FeaturesHead, **native}


def heads_for(name: str, heads: Mapping[str, type[Head]] | None) -> Mapping[str, type[Head]] | None:
    """The heads among which one of this name is looked for; None for the built-in ones."""
    if heads is None and name in _HEADS:
        return every_head()
    return {FeaturesHead.name: FeaturesHead} if name == FeaturesHead.name else heads


def stage_opener(kind: str) -> StageOpener:
    """What opens a stage of a kind; raises `MLModelError` CUSTOM_MODEL for one that is not known."""
    if kind not in _STAGES:
        raise MLModelError(
            MLModelErrorCode.CUSTOM_MODEL,
            f"the kind of stage {kind!r} is not known here (known: {', '.join(sorted(_STAGES))})",
        )
    return cast("StageOpener", _found(_STAGES[kind]))


def card_opener() -> Callable[[Path], FrozenStage]:
    """What opens an extractor by its card; it raises `MLModelError` IO."""
    return cast("Callable[[Path], FrozenStage]", _found(_CARD))


def _found(place: str) -> object:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
