"""This is where threads take turns in the order in which they asked."""

from __future__ import annotations

import threading


class Turns:
    """A lock that goes to who has waited longest, for one `with` at a time; not for a thread that holds it already."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._given = 0
        self._served = 0
        self._left: set[int] = set()

    def __enter__(self) -> None:
        with self._changed:
            ticket, self._given = self._given, self._given + 1
            mine = False
            try:
                self._changed.wait_for(lambda: self._served == ticket)
                mine = True
            finally:
                if not mine:  # interrupted; who comes after must not wait for it
                    self._left.add(ticket)
                    self._go_on()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._left.add(self._served)
            self._go_on()

    def _go_on(self) -> None:
        while self._served in self._left:
            self._left.remove(self._served)
            self._served += 1
        self._changed.notify_all()
