"""This is where questions and their answers travel over the agent's Unix socket.

A request is a line of JSON, with the files it is about as open descriptors beside it (so the agent needs no permission
of its own to read them), and one line of JSON comes back. A connection carries one after the other; the agent may end
it whenever nothing is under way, so a client has to be ready to open another one.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import UserError

MAX_FDS = 64
MAX_REQUEST_BYTES = 1 << 20
IO_SECONDS = 5.0
"""Patience with the other side when it does not finish its sentence."""

KEEP_SECONDS = 10.0
"""So long a client that has been answered keeps its connection, and with it a place and a thread of the agent."""

ANSWER_SECONDS = 3600.0
"""Patience with the work itself, for instance an update."""


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """A name for `path` that fits into the 108 bytes of a socket address, however deep the directory lies."""
    # Members of the socket's group may pass through the directory, and not look into it.
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def read_line(connection: socket.socket, limit: int | None) -> bytes:
    """Read up to and with the next newline, or to the end; raises `UserError` beyond `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while not (parts and parts[-1].endswith(b"\n")):
        part = connection.recv(65536)
        if not part:
            break
        size += len(part)
        if limit is not None and size > limit:
            raise UserError(f"the request is longer than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


def is_readable(connection: socket.socket, seconds: float) -> bool:
    """Whether something can be read within so many seconds, be it the end; for any number of open files."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(1000 * seconds))
