"""This is where the extractor that looks is changed, and the one an older version was made with is kept at hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from edge_agent.agent.serving import same_extractor
from edge_agent.errors import ExtractorError
from edge_agent.vision.accelerator import Accelerator
from edge_agent.vision.delegate_spec import CPU, DelegateChange
from edge_agent.vision.engine import Engine, EngineFacts, Extraction, Job
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard, fingerprint_start

log = logging.getLogger(__name__)


class Eyes(Protocol):
    """What looks at pictures: an engine, or whichever engine is in use; see `edge_agent.vision.engine.Engine`."""

    @property
    def restarts(self) -> int:
        """How often it had to be started again."""

    @property
    def facts(self) -> EngineFacts | None:
        """What it said of itself when it last started."""

    def start(self) -> EngineFacts:
        """Raise `EngineError` when it cannot."""

    def extract(
        self, jobs: Iterable[Job], *, keep: bool = False, digest: bool = True
    ) -> Iterator[Extraction]:
        """Answer each job in order; `keep`: the features are to be learned from; `digest`: it is wanted."""


class Sight:
    """The engine in use, and at most one other, for predictions of versions that were made with its extractor.

    The other one costs a process; it is started when it is asked for, and ended when a version of the present
    extractor answers. `known` gives the extractors there are, `keep` writes down the name of the one in use.
    """

    def __init__(
        self,
        card: ExtractorCard,
        make: Callable[[ExtractorCard], Engine],
        known: Callable[[], Mapping[str, ExtractorCard]],
        keep: Callable[[str], None],
    ) -> None:
        self._make, self._known, self._keep = make, known, keep
        self._engine = make(card)
        self._other: tuple[ExtractorCard, Engine] | None = None
        self._wanted: ExtractorCard | None = None
        self._restarts = 0
        self._told = CPU
        self.card = card
        """Of the extractor in use."""
        self.trouble = ""
        """Why the extractor that was asked for last is not in use; empty when it is."""

    @property
    def facts(self) -> EngineFacts | None:
        """What the engine in use said of itself when it last started; None before."""
        return self._engine.facts

    @property
    def restarts(self) -> int:
        """How often an engine had to be started again."""
        return self._restarts + self._engine.restarts

    @property
    def accelerator(self) -> Accelerator | None:
        """What accelerates the engine in use; None where nothing is asked for."""
        return self._engine.accelerator

    @property
    def fallback_reason(self) -> str | None:
        """Why the CPU looks in place of an accelerator, also of one that a plugin's backend uses by itself."""
        accelerator, facts = self.accelerator, self._engine.facts
        if accelerator is not None:
            return accelerator.fallback_reason
        own = self.card.backend != TFLITE and facts is not None and facts.delegate == CPU
        return facts.notice or None if own and facts is not None else None

    @property
    def is_missed(self) -> bool:
        """Whether the owner expects an accelerator, and the CPU stands in for it."""
        return (
            self.accelerator.is_missed if self.accelerator is not None else self.fallback_reason is not None
        )

    def changes(self) -> Iterator[DelegateChange]:
        """What looks at pictures now and did not before, each change once."""
        while self.accelerator is not None and self.accelerator.changes:
            change = self.accelerator.changes.popleft()
            self._told = change.current
            yield change
        facts = self._engine.facts
        if facts is not None and self.accelerator is None and facts.delegate != self._told:
            before, self._told = self._told, facts.delegate
            yield DelegateChange(before, facts.delegate, facts.notice or f"{facts.name} runs on it", "auto")

    def tick(self) -> None:
        """See `Engine.tick`."""
        self._engine.tick()

    def next_look(self) -> float | None:
        """See `Engine.next_look`."""
        return self._engine.next_look()

    @property
    def wanted(self) -> ExtractorCard | None:
        """The extractor that was asked for and is not in use yet."""
        return self._wanted

    def start(self) -> EngineFacts:
        """Start the engine in use unless it runs; raises `EngineError` when it cannot."""
        return self._engine.start()

    def extract(
        self, jobs: Iterable[Job], *, keep: bool = False, digest: bool = True
    ) -> Iterator[Extraction]:
        """Have the engine in use look; see `Engine.extract`."""
        return self._engine.extract(jobs, keep=keep, digest=digest)

    def ask_for(self, name: str) -> None:
        """Use another extractor from the next `switch` on; it must be known."""
        card = self._known()[name]
        self._wanted = card if card != self.card else None
        self.trouble = ""

    def switch(self) -> None:
        """Use what was asked for; no picture may be under way.

        An extractor that does not start is not used: the one before goes on, and `trouble` says so.
        """
        card, self._wanted = self._wanted, None
        if card is None:
            return
        self._hand_over()
        engine = self._make(card)
        try:
            engine.start()
        except ExtractorError as error:
            engine.close()
            self.trouble = f"the extractor {card.name} cannot be used, {self.card.name} goes on: {error}"
            log.warning("%s", self.trouble)
            self._keep(self.card.name)
            return
        self._drop_other()
        self._restarts += self._engine.restarts
        self._other = self.card, self._engine
        self.card, self._engine = card, engine
        log.info("the extractor is %s now; archived pictures are read again", card.name)

    def _hand_over(self) -> None:
        """Let the device of the engine in use go, for the next one's sake, where the CPU may do in its place."""
        accelerator = self._engine.accelerator
        if accelerator is None or accelerator.use is None or not accelerator.cpu_may:
            return
        self._restarts += self._engine.restarts
        self._engine.close()
        self._engine = self._make(self.card)

    def for_version(self, fingerprint: str) -> Eyes | None:
        """What looks as a version of this fingerprint learned to see; None when its extractor is not here any more.

        Raises `EngineError` when it cannot start.
        """
        if self._is_for_own(fingerprint):
            return self._engine
        if self._other is None or not same_extractor(fingerprint, fingerprint_start(self._other[0])):
            found = [
                card
                for card in self._known().values()
                if same_extractor(fingerprint, fingerprint_start(card))
            ]
            if not found:
                return None
            self._drop_other()
            self._other = found[0], self._make(found[0])
        return self._other[1]

    def _is_for_own(self, fingerprint: str) -> bool:
        """Whether the engine in use sees so; it need not start for a version of another extractor that is here."""
        facts = self._engine.facts
        own = same_extractor(fingerprint, fingerprint_start(self.card))
        if facts is None and not own and self.knows(fingerprint):
            return (
                False  # it is another one's for sure: this one need not start, which may take long and fail
            )
        if facts is None or same_extractor(fingerprint, facts.fingerprint):
            try:
                return same_extractor(fingerprint, self._engine.start().fingerprint)
            except ExtractorError:
                if own:
                    raise
        return False

    def knows(self, fingerprint: str) -> bool:
        """Whether the extractor of a version of this fingerprint is here; nothing is started."""
        facts = self._engine.facts
        here = {fingerprint_start(card) for card in (self.card, *self._known().values())}
        return any(
            same_extractor(fingerprint, one) for one in here | ({facts.fingerprint} if facts else set())
        )

    def rest(self, fingerprint: str) -> None:
        """End the other engine unless the version that answers, which has this fingerprint, needs it."""
        if self._engine.facts is not None and same_extractor(fingerprint, self._engine.facts.fingerprint):
            self._drop_other()

    def close(self) -> None:
        """End both; calling it again does nothing."""
        self._engine.close()
        self._drop_other()

    def _drop_other(self) -> None:
        if self._other is not None:
            self._other[1].close()
            self._other = None
