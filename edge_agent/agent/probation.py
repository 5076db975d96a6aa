"""This is where a new version is watched for a while, and taken back by itself when it misbehaves."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.opinions import Opinion, UnsoundError, full_opinion, opinion
from edge_agent.agent.serving import Serving, same_extractor
from edge_agent.config import UpdateConfig
from edge_agent.errors import EdgeAgentError, NoModelError, StoreError
from edge_agent.ml.model import MLModel
from edge_agent.plugins import PluginHost
from edge_agent.store.registry import Version, VersionRegistry
from edge_agent.store.samples import SampleStore

log = logging.getLogger(__name__)

NOTE = "probation"
"""Where the store keeps which version is watched, and which was taken back."""

SLOWER = 5.0
"""A version that takes so many times as long as the one before, in the median over the same pictures, is taken back."""
SLOW_SECONDS = 0.02
"""A prediction below this is never slow, whatever the one before took: that is what a busy machine does."""
ENDINGS = 2
"""A version is taken back when the agent ended so many times while that version answered its first pictures: crashed,
out of memory, or without power, which twice in those milliseconds is no chance."""
TIMED = 20
"""So many predictions make a median; the pictures of the last ones are what both versions are timed on."""

Row = NDArray[np.float32]
_A = TypeVar("_A")


@dataclass(frozen=True)
class TakenBack:
    """A version that misbehaved. Nothing is learned again from the very same samples unless somebody insists."""

    version: int
    because: str
    instead: int | None
    """What answers in its place; None when there is nothing."""
    revision: int
    """Of the store when it was taken back."""


class Probation:
    """Watches the version published last for some predictions and some time; the agent's thread.

    It is taken back when it raises, or answers what is no probability, for a picture that another version
    answers, when the agent ended twice while it answered its first picture (a library that crashes takes the process
    with it), and when it is much slower than its parent. Its parent answers instead, or the newest older version
    that answers that picture soundly. Where there is none a version that raises is withdrawn, because no answer is
    better than none that can be relied on, and the status says so; one that is only slow stays.
    """

    def __init__(
        self,
        store: SampleStore,
        registry: VersionRegistry,
        serving: Serving,
        plugins: PluginHost,
        config: UpdateConfig,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._registry = registry
        self._serving = serving
        self._plugins = plugins
        self._config = config
        self._monotonic = monotonic
        self._watched: int | None = None
        self._left = 0
        self._until = 0.0
        self._endings = 0
        self._proved = False
        self._recent: deque[tuple[Row, float]] = deque(maxlen=TIMED)
        self.taken_back: TakenBack | None = None
        self._read()

    @property
    def facts(self) -> dict[str, Any] | None:
        """Which version is watched, and for how long; None when none is."""
        if not self._on(self._watched):
            return None
        seconds = max(0.0, self._until - self._monotonic())
        return {"version": self._watched, "predictions_left": self._left, "seconds_left": round(seconds)}

    def begin(self, version: Version) -> None:
        """Watch a version that was just published; what was taken back before is history."""
        self.taken_back = None
        self._watch(version.number)
        self._write()

    def end(self) -> None:
        """Watch nothing: the owner chose the version that answers."""
        self._watched = None
        self._write()

    def holds(self, revision: int) -> str:
        """Why nothing is to be learned by itself from the samples as they are; empty when it may be."""
        back = self.taken_back
        if back is None or back.revision != revision:
            return ""
        return (
            f"version {back.version}, made from the same samples, was taken back: {back.because}; add or correct"
            " pictures, or insist with `edge-agent update --force`"
        )

    def answer(
        self,
        number: int,
        model: MLModel,
        rows: Sequence[Row],
        answer: Callable[[int, MLModel, Sequence[Opinion | None]], _A],
    ) -> _A:
        """What `answer` makes of the version that answers, which is another one when this one is taken back.

        `rows` are the features of the pictures that it is about; `answer` is told what that version was just heard to
        say of each, None or nothing at all where it was not asked. Raises `NoModelError` when none is left, and
        whatever `answer` raises where no version is to blame.
        """
        if not rows or not self._on(number):
            return answer(number, model, ())
        self._left -= len(rows)
        fault, said = self._deadly(), list[Opinion | None]()
        if not fault:
            self._before_the_first()
            fault = next(filter(None, (self._fault(model, row, said) for row in rows)), "")
            self._after_the_first()
        if not fault:
            fault = self._slow(model)
        if fault:
            number, model = self._take_back(number, model, fault, rows)
            said.clear()
        elif not self._on(number):
            log.info("version %d has passed its probation", number)
            self.end()
        return answer(number, model, said)

    # ------------------------------------------------------------------

    def _on(self, number: int | None) -> bool:
        return (
            number is not None
            and number == self._watched
            and self._left > 0
            and self._monotonic() < self._until
            and self._serving.version is not None
            and self._serving.version.number == number
        )

    def _watch(self, number: int) -> None:
        self._watched = number
        self._left = self._config.probation_predictions
        self._until = self._monotonic() + self._config.probation_seconds
        self._endings, self._proved = 0, False
        self._recent.clear()

    def _deadly(self) -> str:
        if self._endings < ENDINGS:
            return ""
        return f"the agent ended {self._endings} times while it answered its first picture"

    def _before_the_first(self) -> None:
        """Note that it is asked, once for a version: a process that dies of it can say so only before."""
        if not self._proved:
            self._endings += 1
            self._write()

    def _after_the_first(self) -> None:
        if not self._proved:
            self._endings, self._proved = 0, True
            self._write()

    def _fault(self, model: MLModel, row: Row, said: list[Opinion | None] | None = None) -> str:
        """What is wrong with how a model answers one picture; nothing for one that nobody could answer.

        With `said`, for the version that is watched, its answer is added there and counts for how long it takes.
        """
        heard, begin = None, self._monotonic()
        if np.isfinite(row).all():
            try:
                heard = full_opinion(model, row[None, :])
            except UnsoundError as error:
                return str(error)
        if said is not None:
            said.append(heard)
            if heard is not None:
                self._recent.append((row, self._monotonic() - begin))
        return ""

    def _slow(self, model: MLModel) -> str:
        if len(self._recent) < TIMED or median(seconds for _, seconds in self._recent) <= SLOW_SECONDS:
            return ""
        rows = [row for row, _ in self._recent]
        self._recent.clear()  # what is found now holds for these pictures; the next ones are timed anew
        before = self._parent()
        if before is None:
            return ""
        now, then = self._seconds(model, rows), self._seconds(before, rows)
        if then is None or now is None or now <= max(SLOW_SECONDS, SLOWER * then):
            return ""
        return f"it took {1000 * now:.0f} ms for a picture where the one before took {1000 * then:.1f} ms"

    def _parent(self) -> MLModel | None:
        assert self._serving.version is not None, "it is watched"
        with suppress(EdgeAgentError):
            return (
                self._serving.model_for(self._serving.version.parent)[1]
                if self._serving.version.parent
                else None
            )
        return None

    def _seconds(self, model: MLModel, rows: Sequence[Row]) -> float | None:
        taken = []
        for row in rows:
            begin = self._monotonic()
            try:
                opinion(model, row[None, :])
            except UnsoundError:
                return None
            taken.append(self._monotonic() - begin)
        return median(taken)

    def _take_back(self, number: int, model: MLModel, fault: str, rows: Sequence[Row]) -> tuple[int, MLModel]:
        bad = self._serving.version
        assert bad is not None, "it is watched"
        others = list(self._others(bad))
        instead = next(
            (one for one, other in others if not any(self._fault(other, row) for row in rows)), None
        )
        if others and instead is None:
            return number, model  # the picture is odd, not the version
        self._watched = None
        because = (
            f"{fault}; version {instead} answers again" if instead else f"{fault}; there is no other version"
        )
        self.taken_back = TakenBack(number, fault, instead, self._store.revision)
        if instead is None:
            self._serving.withdraw()
            self._serving.trouble = _nothing(self.taken_back)
        else:
            self._serving.roll_back(instead)
        log.warning("version %d was taken back: %s", number, because)
        self._note(bad, because)
        if instead is None:
            raise NoModelError(self._serving.trouble)
        assert self._serving.version is not None, "it was rolled back to"
        self._plugins.version_rolled_back(version=self._serving.version, previous=number)
        return self._serving.model_for(None)

    def _others(self, bad: Version) -> Iterator[tuple[int, MLModel]]:
        """The parent, then all older versions that can see the same, the newest first."""
        older = sorted((one for one in self._registry.numbers() if one < bad.number), reverse=True)
        for number in sorted(older, key=lambda one: one != bad.parent):
            with suppress(EdgeAgentError):
                known = self._registry.get(number)
                if same_extractor(known.extractor_fingerprint, bad.extractor_fingerprint):
                    yield self._serving.model_for(number)

    def _note(self, bad: Version, because: str) -> None:
        """In the journal, too."""
        self._write()
        try:
            self._store.record_update(
                state="rolled_back",
                version=bad.number,
                samples=bad.n_samples,
                seconds=0.0,
                message=f"version {bad.number} was taken back: {because}",
            )
        except StoreError as error:
            log.warning("that version %d was taken back cannot be noted: %s", bad.number, error)

    def _write(self) -> None:
        """For the next start; a full disk keeps nobody from a version."""
        back = self.taken_back
        note = {
            "watched": self._watched,
            "endings": self._endings,
            "proved": self._proved,
            "taken_back": asdict(back) if back else None,
        }
        try:
            self._store.set_meta(NOTE, json.dumps(note))
        except StoreError as error:
            log.warning("the probation of a version cannot be noted: %s", error)

    def _read(self) -> None:
        try:
            known = json.loads(self._store.meta(NOTE) or "{}")
            if known.get("watched") is not None:
                self._watch(int(known["watched"]))
                self._endings, self._proved = int(known.get("endings", 0)), bool(known.get("proved"))
            if known.get("taken_back"):
                self.taken_back = TakenBack(**known["taken_back"])
                if self._serving.version is None:
                    self._serving.trouble = _nothing(self.taken_back)
        except (ValueError, TypeError, AttributeError):
            log.warning("what was noted of a version's probation cannot be read")


def _nothing(back: TakenBack) -> str:
    return (
        f"version {back.version} was taken back because {back.because}, and there is no other version; add or correct"
        " pictures, choose another learning.head, or insist with `edge-agent update --force`"
    )
