"""This is where an older version answers while the extractor of the current one cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from edge_agent.agent.learned import learned_samples
from edge_agent.agent.pauses import Pauses
from edge_agent.agent.serving import Serving, same_extractor
from edge_agent.agent.sight import Eyes, Sight
from edge_agent.errors import EdgeAgentError, ExtractorError, NoModelError
from edge_agent.ml.model import MLModel
from edge_agent.store.registry import VersionRegistry
from edge_agent.store.samples import SampleStore

log = logging.getLogger(__name__)

_WORK = "the extractor of the current version"

Looking = tuple[int, MLModel, Eyes]
"""A version's number, its model, and what looks at pictures as that version learned to see them."""


class StandIn:
    """Finds a version that can answer: the current one, else the newest older one whose extractor can be used.

    The pointer stays: the current version answers again by itself once its extractor can be used, which is tried now
    and then. Versions that learned from something forgotten since never stand in, and neither do newer ones, which
    were rolled back. Used from the agent's thread.
    """

    def __init__(
        self,
        registry: VersionRegistry,
        serving: Serving,
        sight: Sight,
        store: SampleStore,
        monotonic: Callable[[], float],
    ) -> None:
        self._registry, self._serving, self._sight, self._store = registry, serving, sight, store
        self._pauses = Pauses(monotonic)
        self._missed: int | None = None
        self._instead: int | None = None
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Which version answers in place of the current one, why, and what to do; empty while that answers itself."""
        version = self._serving.version
        return self._trouble if version is not None and version.number == self._missed else ""

    def start(self) -> str:
        """Start the engine in use, and return the name of its extractor.

        Where it does not start and a version answers all the same, that is logged; else `EngineError` is raised.
        """
        try:
            return self._sight.start().name
        except ExtractorError as error:
            try:
                self.looking()
            except EdgeAgentError:
                raise error from None
            log.warning("pictures cannot be taken in: %s", error)
            return self._sight.card.name

    def looking(self, version: int | None = None) -> Looking:
        """A version by number, with its own extractor; without a number whichever can answer.

        Raises `NoModelError`, `NotFoundError` or `DamagedError` as `Serving.model_for` does, `NoModelError` where an
        extractor is not here any more, and `EngineError` where it does not start.
        """
        if version is not None:
            return self._ready(version)
        number, _ = self._serving.model_for(None)
        if self._instead is not None and number == self._missed and self._pauses.rests(_WORK):
            with suppress(EdgeAgentError):  # that one is lost as well: another is looked for
                return self._ready(self._instead)
        try:
            found = self._ready(number)
        except (ExtractorError, NoModelError) as error:
            return self._in_place_of(number, error)
        self._pauses.well(_WORK)
        self._missed = self._instead = None
        return found

    def tick(self) -> None:
        """See whether the current version can answer again; costs nothing where it does, or was just tried."""
        if self.trouble and not self._pauses.rests(_WORK):
            with suppress(EdgeAgentError):
                self.looking()

    def next_look(self) -> float | None:
        """The monotonic time at which `tick` has something to do, or None."""
        return min(self._pauses.ends, default=None) if self.trouble else None

    def _in_place_of(self, number: int, error: EdgeAgentError) -> Looking:
        """The newest older version that can answer; raises `error` where there is none."""
        hopeless = [self._registry.get(number).extractor_fingerprint]
        stored = {sample.digest for sample in self._store.list()}
        for version in reversed(self._registry.versions()):
            seen = version.extractor_fingerprint
            if version.number >= number or any(same_extractor(seen, one) for one in hopeless):
                continue
            try:
                if not set(learned_samples(version)) <= stored:
                    continue
                found = self._ready(version.number)
            except EdgeAgentError as another:
                log.warning("version %d cannot stand in for version %d: %s", version.number, number, another)
                if isinstance(another, ExtractorError | NoModelError):
                    hopeless.append(seen)
                continue
            self._missed, self._instead = number, version.number
            self._trouble = (
                f"version {version.number} answers in place of version {number}, whose extractor cannot be used:"
                f" {error}; mend that and version {number} answers again by itself, or keep the older one with"
                f" `edge-agent rollback {version.number}`"
            )
            self._pauses.rest(_WORK, self._trouble)
            return found
        self._missed, self._instead = number, None
        self._trouble = f"version {number} cannot answer, and no other can in its place: {error}"
        self._pauses.rest(_WORK, self._trouble)
        raise error

    def _ready(self, number: int) -> Looking:
        number, model = self._serving.model_for(number)
        eyes = self._sight.for_version(model.extractor_fingerprint)
        if eyes is None:
            raise NoModelError(
                f"version {number} was made with another extractor, which is not here any more; once the archive was"
                " read again, which a running agent does by itself, the next version answers"
            )
        eyes.start()
        return number, model, eyes
