"""This is where what happens on one thread is told to others, from the beginning and in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Stream(Generic[T]):
    """Values that come one after the other until there are no more; what Apple calls a publisher.

    Whoever comes late gets the earlier ones first. Iterating waits for the next value and ends with the
    stream.
    """

    def __init__(self) -> None:
        self._values: list[T] = []
        self._listeners: list[Callable[[T], None]] = []
        self._closed = False
        self._news = threading.Condition()
        # One value is told to everybody before the next.
        self._telling = threading.RLock()

    def send(self, value: T) -> None:
        """Add a value; listeners are called on this thread."""
        with self._telling:
            with self._news:
                self._values.append(value)
                listeners = list(self._listeners)
                self._news.notify_all()
            for listener in listeners:
                listener(value)

    def close(self) -> None:
        """There will be no more values."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def sink(self, listener: Callable[[T], None]) -> None:
        """Call `listener` with every value so far, here, and with every later one on the thread it comes from."""
        with self._telling:
            for value in self.values:
                listener(value)
            self._listeners.append(listener)

    @property
    def values(self) -> tuple[T, ...]:
        """All values so far."""
        with self._news:
            return tuple(self._values)

    def __iter__(self) -> Iterator[T]:
        at = 0
        while True:
            with self._news:
                while at >= len(self._values) and not self._closed:
                    self._news.wait()
                if at >= len(self._values):
                    return
                value = self._values[at]
            yield value
            at += 1
