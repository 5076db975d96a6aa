"""This is where it is watched whether the pictures asked about still look like those learned from.

No picture and no features are kept of them: one number each, and nothing on the disk.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.learned import read_learned
from edge_agent.agent.serving import Serving
from edge_agent.errors import EdgeAgentError
from edge_agent.ml.drift import Reference, drift
from edge_agent.store.registry import Version
from edge_agent.store.samples import SampleStore

log = logging.getLogger(__name__)

REMEMBERED = 200
"""So many of the newest pictures are compared."""
FEWEST = 30
"""With fewer nothing is said."""
MOST_LEARNED = 400
"""So many of the pictures learned from are held in memory to compare with: 2 MB with 1280 features."""


class Incoming:
    """The distances of the newest pictures that the current version was asked about, as ranks.

    What they are compared with is read from the store when the first question to a version comes.
    """

    def __init__(self, store: SampleStore, serving: Serving) -> None:
        self._store = store
        self._serving = serving
        self._version: int | None = None
        self._reference: Reference | None = None
        self._ranks: deque[float] = deque(maxlen=REMEMBERED)

    def note(self, features: Sequence[NDArray[np.float32]]) -> None:
        """Compare pictures, each float32 [n_features]; a failure is logged and changes no answer."""
        version = self._serving.version
        self._begin_anew_with(version)
        if version is None or not features:
            return
        try:
            if self._version is None:
                self._version = version.number
                self._reference = self._learned(version)
        except EdgeAgentError as error:
            log.warning("it cannot be told whether pictures drift: %s", error)
        if self._reference is not None:
            self._ranks.extend(self._reference.ranks(np.stack(features)).tolist())

    def drift(self) -> dict[str, Any]:
        """`pictures`, `changed` (None: too few to say), `mean_rank`, `z`, and `finding` in words."""
        self._begin_anew_with(self._serving.version)
        ranks = list(self._ranks)
        answer: dict[str, Any] = {
            "pictures": len(ranks),
            "fewest": FEWEST,
            "changed": None,
            "mean_rank": None,
            "z": None,
            "finding": "",
        }
        if self._reference is None or len(ranks) < FEWEST:
            return answer
        seen = drift(ranks, len(self._reference))
        answer |= {"changed": seen.changed, "mean_rank": round(seen.mean_rank, 3), "z": round(seen.z, 2)}
        if seen.changed and seen.z > 0:
            answer["finding"] = (
                f"The camera's pictures have changed: the last {seen.count} look less like those learned from than"
                " these look like each other. Likely causes: a dirty or fogged lens, focus, other light or"
                " night, a camera that was moved, stronger compression, or things that were never learned."
                " Look at some; if they are as they should be, label some of them and let it learn them."
            )
        elif seen.changed:
            answer["finding"] = (
                f"The last {seen.count} pictures look more like those learned from than these look like each other, as"
                " when a camera always sees the same, or when pictures that were learned from are asked about. The"
                " figures say little about anything else."
            )
        return answer

    def _begin_anew_with(self, version: Version | None) -> None:
        """Let go of all that was said of another version, or of one that is no more."""
        if version is None or version.number != self._version:
            self._version, self._reference = None, None
            self._ranks.clear()

    def _learned(self, version: Version) -> Reference | None:
        """Some of the pictures a version learned from: those with the lowest digests that are still there."""
        snapshot = self._store.snapshot(version.extractor_fingerprint)
        chosen = snapshot.chosen.only(read_learned(version).has(snapshot.table))[:MOST_LEARNED]
        if len(chosen) < FEWEST:
            return None
        return Reference(snapshot.provider(chosen).arrays(range(len(chosen)))[0])
