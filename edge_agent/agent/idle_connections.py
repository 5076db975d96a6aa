"""This is where connections of clients wait for another question, until their places are needed."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from edge_agent.agent.sockets import is_readable

KEEP_SECONDS = 10.0
"""So long a client that has been answered keeps its place and its thread: opening another one takes 0.6 ms."""


class IdleConnections:
    """Each waits on the thread of its client. Whatever was sent before one is ended is still read and answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[socket.socket, bool] = {}
        self._wanted = 0
        self._closed = False

    def wait(self, connection: socket.socket, *, guest: bool) -> bool:
        """Whether there is something to read, be it the end; False: the place is needed, or was idle for too long."""
        with self._lock:
            if self._closed or self._wanted:
                return is_readable(connection, 0)
            self._waiting[connection] = guest
        try:
            return is_readable(connection, KEEP_SECONDS)
        finally:
            with self._lock:
                self._waiting.pop(connection, None)

    def make_room(self, places: threading.Semaphore, seconds: float, *, guest: bool = False) -> bool:
        """Acquire one of `places`, within so many seconds; the one that is idle for longest gives way.

        With `guest`, one that is a guest's: the place is one of those that guests have.
        """
        if places.acquire(blocking=False):
            return True
        with self._lock:
            self._wanted += 1
            self._end(next((one for one, is_guest in self._waiting.items() if is_guest or not guest), None))
        try:
            return places.acquire(timeout=seconds)
        finally:
            with self._lock:
                self._wanted -= 1

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._closed = True
            for connection in list(self._waiting):
                self._end(connection)

    def _end(self, connection: socket.socket | None) -> None:
        """Have its thread see the end, and its client that nothing more is read; with the lock, so it is open."""
        if connection is not None:
            del self._waiting[connection]
            with suppress(OSError):  # its client has gone
                connection.shutdown(socket.SHUT_RD)
