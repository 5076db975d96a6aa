"""This is where threads take turns in the order in which they asked."""

from __future__ import annotations

import threading


class Turns:
    """A lock that goes to who has waited longest, for one `with` at a time; not for a thread that holds it already."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._given = 0
        self._served = 0

    def __enter__(self) -> None:
        with self._changed:
            ticket, self._given = self._given, self._given + 1
            self._changed.wait_for(lambda: self._served == ticket)

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._served += 1
            self._changed.notify_all()
