"""This is where a program keeps connections to the agent open between its questions."""

from __future__ import annotations

import os
import socket
import threading


class ConnectionPool:
    """Connections that nobody uses just now; any thread may take one, and it is that thread's until it is put back.

    A process that was forked off has none of them: two processes would read each other's answers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[socket.socket] = []
        self._pid = os.getpid()
        self._closed = False

    def take(self) -> socket.socket | None:
        """The one that was used last, which is the least likely to have been ended meanwhile."""
        with self._lock:
            if self._pid != os.getpid():
                self._drop()
                self._pid = os.getpid()
            return self._free.pop() if self._free else None

    def put(self, connection: socket.socket) -> None:
        """Keep a connection on which nothing is under way, in the process that took it."""
        with self._lock:
            if not self._closed:
                self._free.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close those that are free, and those that are put back from now on."""
        with self._lock:
            self._closed = True
            self._drop()

    def _drop(self) -> None:
        while self._free:
            self._free.pop().close()
