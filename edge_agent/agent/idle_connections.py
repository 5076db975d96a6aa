"""This is where connections of clients wait for another question, until their places are needed."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

from edge_agent.agent.sockets import KEEP_SECONDS, is_readable

AGAIN_SECONDS = 0.05
"""Where the one that gives way was just asking something, the next one does after this time."""


class IdleConnections:
    """Each waits on the thread of its client. What was sent before one of them is ended is still read and answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[socket.socket, bool] = {}
        self._wanted = {False: 0, True: 0}
        self._closed = False

    def wait(self, connection: socket.socket, *, guest: bool) -> bool:
        """Whether there is something to read, be it the end; False: the place is needed, or was idle for too long."""
        with self._lock:
            # Also from one that has asked again already: who never is silent would never give way.
            if self._closed or self._wanted[False] or (guest and self._wanted[True]):
                return False
            self._waiting[connection] = guest
        try:
            return is_readable(connection, KEEP_SECONDS)
        finally:
            with self._lock:
                self._waiting.pop(connection, None)

    def make_room(self, places: threading.Semaphore, seconds: float, *, guest: bool = False) -> bool:
        """Acquire one of `places`, within so many seconds; those that are idle for longest give way.

        With `guest`, they are guests: it is one of the places that guests have.
        """
        if places.acquire(blocking=False):
            return True
        end = time.monotonic() + seconds
        with self._lock:
            self._wanted[guest] += 1
        try:
            while True:
                self.give_way(guest=guest)
                left = end - time.monotonic()
                if places.acquire(timeout=max(0.0, min(left, AGAIN_SECONDS))):
                    return True
                if left <= AGAIN_SECONDS:
                    return False
        finally:
            with self._lock:
                self._wanted[guest] -= 1

    def give_way(self, *, guest: bool = False) -> None:
        """End the one that is idle for longest, with `guest` of those that are guests."""
        with self._lock:
            chosen = next((one for one, is_guest in self._waiting.items() if is_guest or not guest), None)
            if chosen is not None:
                self._end(chosen)

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._closed = True
            for connection in list(self._waiting):
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        """Have its thread see the end, and its client that nothing more is read; with the lock, so it is open."""
        del self._waiting[connection]
        with suppress(OSError):  # its client has gone
            connection.shutdown(socket.SHUT_RD)
