"""This is where a running agent listens to what other processes ask of it."""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import struct
import threading
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any

from edge_agent.agent.agent import Agent
from edge_agent.agent.home import Home
from edge_agent.agent.requests import Request
from edge_agent.agent.sockets import (
    IO_SECONDS,
    MAX_FDS,
    MAX_REQUEST_BYTES,
    read_line,
    short_address,
)
from edge_agent.errors import EdgeAgentError, HomeError, UserError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
"""Clients that are served at once, each by a thread; the unit allows 64 tasks and files for all that these may send."""

LOOK_SECONDS = 1.0
"""How often it is looked whether a client that waits is still there."""

AGAIN_SECONDS = 0.1
"""What could not be accepted or served is tried again after this time."""

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class ControlSocket:
    """The Unix socket of a running agent: 0600, and only its own user or root is answered."""

    def __init__(self, home: Home, agent: Agent) -> None:
        self.home = home.path
        self._path = home.socket_path
        self._agent = agent
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._closing = threading.Event()
        self._server: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Listen; the home's lock is held, so whatever lies at the path is a leftover."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise HomeError(f"{self._path}: cannot be removed: {error.strerror}; remove it by hand") from None
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_address(self._path) as short:
                mask = os.umask(0o177)
                try:
                    server.bind(short)
                finally:
                    os.umask(mask)
            server.listen(MAX_CONNECTIONS)
        except OSError as error:
            server.close()
            raise HomeError(f"{self._path}: cannot listen there: {error.strerror}") from None
        self._server = server
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def tend(self) -> None:
        """Listen anew when somebody removed the socket from the state directory."""
        if self._server is not None and not self._path.is_socket() and not self._closing.is_set():
            log.warning("%s was removed; it is made again", self._path)
            self.close()
            self._closing.clear()
            self.open()

    def close(self) -> None:
        """Stop listening; requests that are being answered end on their own."""
        self._closing.set()
        if self._server is None:
            return
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        if self._thread is not None:
            self._thread.join(timeout=IO_SECONDS)
        with suppress(OSError):
            self._path.unlink()

    def _accept(self) -> None:
        assert self._server is not None
        while not self._closing.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                # Without descriptors it fails at once, over and over, until some are free again.
                if self._closing.wait(LOOK_SECONDS):
                    return
                continue
            while not self._places.acquire(timeout=LOOK_SECONDS):
                if self._closing.is_set():
                    connection.close()
                    return
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="control-client", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # a limit of threads or of memory; the client asks again
                log.warning("a client cannot be served: %s; raise TasksMax of the service", error)
                connection.close()
                self._places.release()
                if self._closing.wait(AGAIN_SECONDS):
                    return

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(IO_SECONDS)
                if not _trusted(connection):
                    _send(
                        connection, {"error": "UserError", "message": "this agent answers only its own user"}
                    )
                    return
                request = _receive(connection)
                if request is not None:
                    self._agent.ask(request)
                    outcome = self._outcome(request, connection)
                    if outcome is not None:
                        _send(connection, outcome)
        except OSError as error:
            log.debug("a client went away: %s", error)
        finally:
            self._places.release()

    def _outcome(self, request: Request, connection: socket.socket) -> dict[str, Any] | None:
        """The answer, or None when the client went away before there was one."""
        while not self._closing.is_set():
            try:
                return {"result": request.reply.result(timeout=LOOK_SECONDS)}
            except EdgeAgentError as error:
                return {"error": type(error).__name__, "message": str(error)}
            except FutureTimeoutError:
                if not _listens(connection):
                    return None
        return {"error": "NotAnsweredError", "message": "the agent stopped before it could answer"}


def _listens(connection: socket.socket) -> bool:
    """Whether the other side is still there; a client that has asked says nothing more, so an end is all to be read."""
    readable, _, _ = select.select([connection], [], [], 0)
    return not readable or connection.recv(1, socket.MSG_PEEK) != b""


def _trusted(connection: socket.socket) -> bool:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return uid in (0, os.getuid())


def _receive(connection: socket.socket) -> Request | None:
    """One request with its descriptors, or None when the client sent none (it only looked whether we run)."""
    data, fds, _, _ = socket.recv_fds(connection, 65536, MAX_FDS)
    if not data:
        return None
    try:
        if not data.endswith(b"\n"):
            data += read_line(connection, limit=MAX_REQUEST_BYTES)
        message = json.loads(data)
        name, arguments = str(message["name"]), dict(message["arguments"])
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    except (ValueError, KeyError, TypeError, RecursionError, UserError) as error:
        for fd in fds:
            os.close(fd)
        _send(connection, {"error": "UserError", "message": f"not a request: {error}"})
        return None
    return Request(name, arguments, list(fds))


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")
