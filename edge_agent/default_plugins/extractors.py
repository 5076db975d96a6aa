"""This is where the embedded extractor is offered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_agent import extractors
from edge_agent.hookspecs import hookimpl
from edge_agent.vision.preprocessing import ExtractorCard, load_card

CARD_PATH = Path(extractors.__file__).parent / "efficientnet_lite0_int8.json"


@hookimpl
def register_extractors(register: Callable[[ExtractorCard], None]) -> None:
    """EfficientNet-Lite0 int8, which works offline from the first start."""
    register(load_card(CARD_PATH))
