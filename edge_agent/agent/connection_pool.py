"""This is where a program keeps connections to the agent open between its questions."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from edge_agent.agent.sockets import KEEP_SECONDS

_Owner = tuple[int, int]


class ConnectionPool:
    """Connections that nobody uses just now; any thread may take one, and it is that thread's until it is put back.

    A process that was forked off has none of them, because two would read each other's answers, nor has one that has
    become another user since, to whom the agent would tell other things. There is no lock, which a fork or a signal
    handler could find taken: adding to a list and taking from it are one step each.
    """

    def __init__(self) -> None:
        self._free: list[tuple[socket.socket, _Owner, float]] = []
        self._closed = False

    def take(self) -> socket.socket | None:
        """The one that was used last, which is the least likely to have been ended meanwhile."""
        with suppress(IndexError):
            while True:
                connection, owner, _ = self._free.pop()
                if owner == _owner():
                    return connection
                connection.close()
        return None

    def put(self, connection: socket.socket) -> None:
        """Keep a connection on which nothing is under way; those that the agent has ended by now are closed."""
        now = time.monotonic()
        self._free.append((connection, _owner(), now))
        with suppress(IndexError):
            # Where another thread takes the last one in between, a connection is closed that could have been used.
            while self._closed or self._free[0][2] < now - KEEP_SECONDS:
                self._free.pop(0)[0].close()

    def drop(self) -> None:
        """Close those that are free."""
        with suppress(IndexError):
            while True:
                self._free.pop()[0].close()

    def close(self) -> None:
        """Close those that are free, and those that are put back from now on."""
        self._closed = True
        self.drop()


def _owner() -> _Owner:
    return os.getpid(), os.geteuid()
