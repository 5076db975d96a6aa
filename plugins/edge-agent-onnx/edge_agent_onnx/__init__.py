"""This is where the plugin `onnx` offers an ONNX model as an extractor.

One name in four places: distribution `edge-agent-onnx`, module `edge_agent_onnx`, entry point `onnx`, settings
`[plugins.onnx]`. ONNX Runtime is loaded by `edge_agent_onnx.backend`, which only the engine process imports.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent import hookimpl
from edge_agent.errors import ExtractorError
from edge_agent.vision.preprocessing import ExtractorCard, load_card

BACKEND = "edge_agent_onnx.backend:OnnxExtractor"


class OnnxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[plugins.onnx]`."""

    model: str = ""
    """An absolute path of a `.onnx` file; its card, a `.json` of the same name, lies beside it."""
    output: str = ""
    """The name of the output that is the features; empty: the one the card names, or the only one there is."""
    providers: tuple[str, ...] = ()
    """What may compute, as ONNX Runtime names it, the best first; the processor always comes last."""
    strict: bool = False
    """Rather not start than without one of these providers."""

    def __post_init__(self) -> None:
        """Raise `ValueError`, which the agent reports as a problem of this table."""
        if self.model and not Path(self.model).expanduser().is_absolute():
            raise ValueError(f"model: {self.model!r} is not an absolute path; a daemon's folder is not yours")
        for name in self.providers:
            if not name.endswith("ExecutionProvider"):
                raise ValueError(
                    f"providers: {name!r} is no name of a provider; one is written 'CUDAExecutionProvider'"
                )


class Onnx:
    """Offers the model that the settings name, and without one nothing."""

    Settings = OnnxSettings

    def __init__(self, settings: OnnxSettings) -> None:
        self._settings = settings

    @hookimpl
    def register_extractors(self, register: Callable[[ExtractorCard], None]) -> None:
        """The card beside the model; raises `ExtractorError` where it is missing or wrong."""
        if not self._settings.model:
            return
        model = Path(self._settings.model).expanduser()
        card = load_card(model.with_suffix(".json"))
        if card.path != model:
            raise ExtractorError(
                f"{model.with_suffix('.json')}: describes {card.path.name}, not {model.name}"
            )
        options = {"providers": list(self._settings.providers), "strict": self._settings.strict}
        output = self._settings.output or card.output
        register(msgspec.structs.replace(card, backend=BACKEND, output=output, options=options))
