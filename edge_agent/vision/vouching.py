"""This is where it is seen to that no feature is kept which a comparison with the CPU does not vouch for.

An accelerator that agreed when it was tried may compute something else later: it is hot, its power is weak, its
memory is broken. So the last picture of a group is looked at by the CPU too before any of the group is given out.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from edge_agent.vision.extraction import Extraction, Job

GROUP = 16
"""So many pictures are vouched for together: the CPU looks at one of them."""

SLOW_GROUP = 4
"""While pictures take long, or an accelerator was just lost, so that nothing else has to wait for a group."""

QUICK_SECONDS = 0.1
"""For a picture."""

EVERY_PICTURES = 50
"""At least one of so many is looked at by the CPU too, also of those whose features nobody keeps."""

EVERY_SECONDS = 60.0
"""After so long the next picture is."""


class Looks(Protocol):
    """An engine with an accelerator, as seen from here."""

    @property
    def losses(self) -> int:
        """How often an accelerator was lost, for whatever reason."""

    def look(self, jobs: Iterable[Job], *, check: int) -> Iterator[Extraction]:
        """Answer each job in order; the one with this number, counted from 1, is compared with the CPU's."""


def vouched(engine: Looks, jobs: Iterable[Job]) -> Iterator[Extraction]:
    """Look at pictures, and give out what can be kept: an `Extraction` for each job, in the order they came.

    A group in which an accelerator was lost is looked at once more, as a whole. Descriptors are closed here.
    """
    source = iter(jobs)
    waiting: deque[Job] = deque()
    size = SLOW_GROUP
    try:
        while True:
            waiting.extend(itertools.islice(source, max(0, size - len(waiting))))
            if not waiting:
                return
            group = list(itertools.islice(waiting, size))
            losses = engine.losses
            seen = list(engine.look(_copies(group), check=len(group)))
            if engine.losses != losses:
                size = SLOW_GROUP
                continue
            for _ in group:
                os.close(waiting.popleft()[1])
            quick = sum(one.seconds for one in seen) < QUICK_SECONDS * len(seen)
            size = GROUP if quick else SLOW_GROUP
            yield from seen
    finally:
        for job in waiting:
            os.close(job[1])


def _copies(group: list[Job]) -> Iterator[Job]:
    """The same pictures, by descriptors that the engine may close."""
    for key, fd, *variant in group:
        yield key, os.dup(fd), variant[0] if variant else None


class Schedule:
    """When a picture is next to be compared, apart from those that are to be vouched for."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self.unchecked = 0
        """How many pictures the accelerator answered since it was last seen to agree."""
        self._asked = 0
        self._asked_at = self._agreed_at = monotonic()
        self.start()

    def start(self) -> None:
        """An accelerator begins to answer: its first picture is compared."""
        self.unchecked = 0
        self._asked = EVERY_PICTURES
        self._agreed_at = self._now()

    def ask(self, *, check: bool) -> bool:
        """Whether the picture that is sent now is to be compared; `check`: it is in any case."""
        self._asked += 1
        if not (check or self._asked > EVERY_PICTURES or self._now() - self._asked_at >= EVERY_SECONDS):
            return False
        self._asked, self._asked_at = 0, self._now()
        return True

    def answered(self, cosine: float | None, min_cosine: float) -> str:
        """The accelerator answered, with this cosine where it was compared: what is to be told if it did not agree."""
        if cosine is None:
            self.unchecked += 1
            return ""
        told = ""
        if not cosine >= min_cosine:
            told = f"gave other features: cosine {cosine:.3f}, at least {min_cosine:g} is asked for"
            if self.unchecked:
                seconds = self._now() - self._agreed_at
                told += (
                    f"; {self.unchecked} answers since the last comparison, {seconds:.0f} s ago, may be wrong"
                )
        self.unchecked, self._agreed_at = 0, self._now()
        return told
