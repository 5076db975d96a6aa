"""This is where extractors of one model stand ready, so that several pictures are looked at side by side.

Each has one thread. That many threads of one interpreter may be 20 times slower than one where other programs want
the cores too; as many interpreters of one thread each never are slower, because none waits for another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_agent.errors import ExtractorError
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.spare_memory import give_back

IDLE_SECONDS = 10.0
"""What was not needed for so long goes, twins and memory that is kept: on small boards others need it."""


class ExtractorCrew:
    """The extractor that is always there, and twins of it as they are needed, at most one for each thread that calls.

    Twins give the same features bit by bit. `has_room` says whether there is memory for another one.
    """

    def __init__(self, first: FeatureExtractor, has_room: Callable[[], bool] = lambda: True) -> None:
        self._first = first
        self._has_room = has_room
        self._free = [first]
        self._given_back = threading.Condition()
        self._twins = 0
        self._twins_used = False
        self._used = False
        self._holds_memory = False
        self._may_grow = True
        self._closed = False
        self._wake = threading.Event()

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `FeatureExtractor.extract`, by whichever is free; raises what that raises."""
        extractor = self._borrow()
        try:
            return extractor.extract(pixels)
        finally:
            with self._given_back:
                # The first lies on top of the pile: the others are taken when it is not free.
                self._free.insert(len(self._free) if extractor is self._first else 0, extractor)
                self._note_use(twin=extractor is not self._first)
                self._given_back.notify()

    def tend(self) -> None:
        """Until it is closed, `look` whenever it is time; for a thread that does nothing else."""
        while not self._closed:
            self._wake.wait(self.look())
            self._wake.clear()

    def look(self) -> float | None:
        """Let go of what was not needed since the last look; after how many seconds to look again, None: once used."""
        rest: list[FeatureExtractor] = []
        with self._given_back:
            if not self._twins_used:
                rest = [one for one in self._free if one is not self._first]
                self._free = [one for one in self._free if one is self._first]
                self._twins -= len(rest)
                self._may_grow = True
            spare = bool(rest) or (self._holds_memory and not self._used)
            if not self._used:
                self._holds_memory = False
            self._used = self._twins_used = False
            again = IDLE_SECONDS if self._twins or self._holds_memory else None
        rest.clear()
        if spare:
            give_back()
        return again

    def close(self) -> None:
        """Have `tend` return."""
        self._closed = True
        self._wake.set()

    def _note_use(self, *, twin: bool) -> None:
        self._used = True
        self._twins_used |= twin
        if not self._holds_memory:
            self._holds_memory = True
            self._wake.set()

    def _borrow(self) -> FeatureExtractor:
        with self._given_back:
            while not self._free and not (self._may_grow and self._has_room()):
                self._given_back.wait()
            if self._free:
                return self._free.pop()
            self._twins += 1
            self._note_use(twin=True)
        try:
            return self._first.twin()
        except (ExtractorError, MemoryError):
            # There is no room for another one: those that are there go on.
            with self._given_back:
                self._twins -= 1
                self._may_grow = False
            return self._borrow()
