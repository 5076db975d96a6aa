"""This is where the plugin `gpu` offers a TFLite model that the GPU runs.

One name in four places: distribution `edge-agent-gpu`, module `edge_agent_gpu`, entry point `gpu`, settings
`[plugins.gpu]`. Nothing native is loaded here: `edge_agent_gpu.backend` is imported by the engine process only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edge_agent import hookimpl
from edge_agent.errors import ExtractorError
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard, load_card

BACKEND = "edge_agent_gpu.backend:GpuExtractor"


class GpuSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[plugins.gpu]`."""

    model: str = ""
    """An absolute path of a float32 `.tflite` file; its card, a `.json` of the same name, lies beside it."""
    name: str = ""
    """What the extractor is called; empty: the name in the card with `-gpu` behind it."""
    strict: bool = False
    """Rather not start than on the processor."""
    min_cosine: Annotated[float, Meta(ge=0.9, le=1)] = 0.999
    """What the GPU's features must have to the processor's."""
    driver: str = ""
    """An absolute path of a Vulkan driver's JSON file; empty: whichever the system has."""
    trial_seconds: Annotated[float, Meta(gt=0, le=600)] = 30.0
    """Patience with the GPU while it is tried, at each start of the engine."""

    def __post_init__(self) -> None:
        """Raise `ValueError`, which the agent reports as a problem of this table."""
        for key in ("model", "driver"):
            value = getattr(self, key)
            if value and not Path(value).expanduser().is_absolute():
                raise ValueError(f"{key}: {value!r} is not an absolute path; a daemon's folder is not yours")


class Gpu:
    """Offers the model that the settings name, and without one nothing."""

    Settings = GpuSettings

    def __init__(self, settings: GpuSettings) -> None:
        self._settings = settings

    @hookimpl
    def register_extractors(self, register: Callable[[ExtractorCard], None]) -> None:
        """The card beside the model; raises `ExtractorError` where it is missing or wrong."""
        settings = self._settings
        if not settings.model:
            return
        model = Path(settings.model).expanduser()
        card = load_card(model.with_suffix(".json"))
        if card.path != model:
            raise ExtractorError(
                f"{model.with_suffix('.json')}: describes {card.path.name}, not {model.name}"
            )
        if card.backend != TFLITE:
            raise ExtractorError(
                f"{model.with_suffix('.json')}: is for {card.backend}; the GPU runs TFLite models"
            )
        options = {
            "strict": settings.strict,
            "min_cosine": settings.min_cosine,
            "driver": str(Path(settings.driver).expanduser()) if settings.driver else "",
            "trial_seconds": settings.trial_seconds,
        }
        name = settings.name or f"{card.name}-gpu"
        register(msgspec.structs.replace(card, name=name, backend=BACKEND, options=options))
