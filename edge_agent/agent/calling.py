"""This is where a running agent is asked over its socket."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent import errors
from edge_agent.agent.connection_pool import ConnectionPool
from edge_agent.agent.home import Home
from edge_agent.agent.local_files import copied
from edge_agent.agent.sockets import (
    ANSWER_SECONDS,
    IO_SECONDS,
    MAX_FDS,
    MAX_REQUEST_BYTES,
    read_line,
    short_address,
)
from edge_agent.errors import EdgeAgentError, HomeError, NotAnsweredError, UserError

_PLACE_SECONDS = 0.05
"""How often it is looked for a place among those who wait for the agent."""

PLAIN_ERRORS = frozenset(
    {
        errors.UserError,
        errors.NotAnsweredError,
        errors.LabelError,
        errors.NotFoundError,
        errors.NoModelError,
        errors.StoreError,
        errors.DiskFullError,
        errors.DamagedError,
        errors.EngineError,
        errors.ExtractorError,
    }
)
"""Errors that are rebuilt on the client's side from their text alone."""


def is_running(home: Path) -> bool:
    """Whether an agent answers on this state directory."""
    try:
        with _connect(Home(home)):
            return True
    except NotAnsweredError:  # somebody listens, and has too much to do
        return True
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return False


def ask_socket(
    home: Home,
    name: str,
    arguments: dict[str, Any],
    files: Sequence[int],
    pool: ConnectionPool | None = None,
) -> Any:
    """The answer of the agent that runs on `home`; `files` are closed whatever happens.

    With a `pool` its connections are used and kept. The agent may end one at any time, so what is asked over them must
    be harmless when it is asked twice.

    Raises what the agent raised, `HomeError` where it belongs to another user, and `NotAnsweredError` where
    none answers.
    """
    line = json.dumps({"name": name, "arguments": arguments}).encode() + b"\n"
    files = list(files)
    try:
        if files and _is_guest(home):
            for place, fd in enumerate(files):
                files[place] = copied(fd)
        if len(line) > MAX_REQUEST_BYTES or len(files) > MAX_FDS:
            raise UserError(f"too much for one request: {len(files)} files; at most {MAX_FDS}")
        reply = _kept_reply(pool, line, files) if pool else b""
        if not reply:
            reply = _reply(_connect(home), line, files, pool)
    except OSError as error:
        raise NotAnsweredError(f"the running agent did not answer: {error}") from None
    finally:
        for fd in files:
            with suppress(OSError):  # of the last write of somebody; it is closed all the same
                os.close(fd)
    if not reply.endswith(b"\n"):  # nothing, or half of it
        raise NotAnsweredError("the running agent stopped before it answered; ask again")
    answer = json.loads(reply)
    if "error" in answer:
        raise _rebuilt(str(answer["error"]), answer["message"])
    return answer["result"]


def _kept_reply(pool: ConnectionPool, line: bytes, files: Sequence[int]) -> bytes:
    """As `_reply`, over a connection that is open; empty where there is none on which the agent listens."""
    connection = pool.take()
    if connection is None:
        return b""
    reply = b""
    with suppress(ConnectionError):
        reply = _reply(connection, line, files, pool)
    if not reply:
        pool.drop()  # the others were used before that one
    return reply


def _reply(
    connection: socket.socket, line: bytes, files: Sequence[int], pool: ConnectionPool | None
) -> bytes:
    """A line, or what there is of it, and the connection is kept or closed; `OSError`."""
    reply = b""
    try:
        connection.settimeout(IO_SECONDS)
        with suppress(BrokenPipeError):  # who is not answered is told so before anything is read
            sent = socket.send_fds(connection, [line], list(files)) if files else 0
            if line[sent:]:  # after the last byte the agent may answer and close at once
                connection.sendall(line[sent:])
        connection.settimeout(ANSWER_SECONDS)
        reply = read_line(connection, limit=None)
    finally:
        if pool and reply.endswith(b"\n"):
            pool.put(connection)
        else:
            connection.close()
    return reply


def _is_guest(home: Home) -> bool:
    """Whether the agent is somebody else's: it takes only files from us that cannot keep it waiting."""
    with suppress(OSError):
        return os.geteuid() not in (0, home.path.stat().st_uid)
    return False


def _rebuilt(name: str, message: str) -> EdgeAgentError:
    """The error of that name, or the nearest plain one that it is a kind of: its family decides how a command ends."""
    kind = getattr(errors, name, None)
    family = kind.__mro__ if isinstance(kind, type) else ()
    return next((one for one in family if one in PLAIN_ERRORS), EdgeAgentError)(message)


def _connect(home: Home) -> socket.socket:
    """A connection to the agent; a place in its queue is waited for. Raises `NotAnsweredError` when none gets free."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end = time.monotonic() + IO_SECONDS
    try:
        connection.settimeout(IO_SECONDS)
        with short_address(home.socket_path) as address:
            while True:
                try:
                    connection.connect(address)
                    break
                except BlockingIOError:  # Linux does not let a socket with a timeout wait for a place
                    if time.monotonic() >= end:
                        raise NotAnsweredError(
                            f"{home.socket_path}: the agent there takes no questions: too many wait, or it hangs;"
                            " ask again later, or start it again"
                        ) from None
                threading.Event().wait(_PLACE_SECONDS)
    except PermissionError:
        connection.close()
        raise HomeError(
            f"{home.socket_path}: the agent there answers its own user and the members of its group; you are neither"
        ) from None
    except BaseException:
        connection.close()
        raise
    return connection
