"""This is where an extractor offers itself that starts at once: the mean colours of sixteen fields of a picture.

With `learn = false` in its settings the plugin also keeps the agent from learning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent import Decision, hookimpl
from edge_agent.agent.policy import UpdateSituation
from edge_agent.vision.preprocessing import ExtractorCard, InputCard, fingerprint_of
from edge_agent.vision.runtime import RuntimeFacts

SIDE = 16
FIELDS = 4


def card() -> ExtractorCard:
    """What the agent is told; the file named is this one."""
    return ExtractorCard(
        name="torture-eyes",
        path=Path(__file__),
        sha256=hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        n_features=3 * FIELDS * FIELDS,
        input=InputCard(width=SIDE, height=SIDE, mean=0.0, std=1.0),
        backend="torture_eyes:Eyes",
    )


class TortureSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[plugins.torture-eyes]`."""

    learn: bool = True


class Torture:
    """The plugin."""

    Settings = TortureSettings

    def __init__(self, settings: TortureSettings) -> None:
        self._settings = settings

    @hookimpl
    def register_extractors(self, register: Callable[[ExtractorCard], None]) -> None:
        """Offer the one extractor of this plugin."""
        register(card())

    @hookimpl
    def ready_to_update(self, situation: UpdateSituation) -> Decision | None:
        """No, where that was set, unless somebody insists."""
        if self._settings.learn or situation.forced:
            return None
        return Decision(answer=False, reason="it is not to learn now")


class Eyes:
    """Looks at pictures with nothing but numpy."""

    delegate = "cpu"
    notice = ""

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:  # noqa: ARG002  # every extractor is told
        self.runtime = RuntimeFacts("numpy", np.__version__)
        self.fingerprint = fingerprint_of(card, self.runtime.release, self.delegate)

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Mean colours, float32 [48], for RGB pixels uint8 [16, 16, 3]."""
        step = SIDE // FIELDS
        fields = pixels.reshape(FIELDS, step, FIELDS, step, 3).mean(axis=(1, 3), dtype=np.float32)
        return (fields / 255).astype(np.float32).reshape(-1)
