"""This is where what others have to say to the agent waits until its thread listens."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_agent.agent.requests import Request
from edge_agent.ml.update import TaskStateChange, TrainingEvent


@dataclass(frozen=True)
class Bell:
    """Something may have changed in the drop folder, or the agent is to stop."""


Message = Request | TaskStateChange | TrainingEvent | Bell


class Inbox:
    """Any thread puts something in; the agent's thread has each handled, which says whether it changed nothing."""

    def __init__(self, handle: Callable[[Message], bool]) -> None:
        self._handle = handle
        self._waiting: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """Leave a message; safe in a signal handler."""
        self._waiting.put(message)

    def ring(self) -> None:
        """Wake the agent."""
        self._waiting.put(Bell())

    def empty(self) -> bool:
        """Whether nothing waits."""
        return self._waiting.empty()

    def drain(self, patience_seconds: float = 0.0) -> bool:
        """Handle what is here, not what comes meanwhile; wait for the first up to `patience_seconds`.

        Returns whether there was something, and all of it changed nothing.
        """
        harmless = False
        try:
            block = patience_seconds > 0
            harmless = self._handle(self._waiting.get(block=block, timeout=patience_seconds or None))
            for _ in range(self._waiting.qsize()):  # not those who ask again: the work must be done, too
                harmless &= self._handle(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return harmless

    def left(self) -> Iterator[Message]:
        """What nobody handled."""
        while True:
            try:
                yield self._waiting.get_nowait()
            except queue.Empty:
                return
