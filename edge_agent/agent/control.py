"""This is where a running agent listens to what other processes ask of it."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from edge_agent.agent.agent import Agent
from edge_agent.agent.home import Home
from edge_agent.agent.idle_connections import IdleConnections
from edge_agent.agent.local_files import admit
from edge_agent.agent.requests import WITH_FILES, Request
from edge_agent.agent.rights import Peer
from edge_agent.agent.sockets import (
    IO_SECONDS,
    MAX_FDS,
    MAX_REQUEST_BYTES,
    is_readable,
    read_line,
    short_address,
)
from edge_agent.errors import EdgeAgentError, HomeError, NotAnsweredError, UserError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
"""Clients that are served at once, each by a thread; the unit allows 64 tasks and files for all that these may send."""

LOOK_SECONDS = 1.0
"""How often it is looked whether a client that waits is still there."""

AGAIN_SECONDS = 0.1
"""What could not be accepted or served is tried again after this time."""

MAX_GUESTS = 16
"""So many of those places are for members of the group: the others stay for the agent's own user."""

MAX_GUEST_BYTES = 64 << 10
"""A longer question of theirs is refused: a line can take 25 times its length when it is understood."""

AT_ONCE = ("predict", "status")
"""Answers that the agent's thread sends itself: whoever waits for it would have to wait for another thread as well."""

AT_ONCE_BYTES = 64 << 10
"""Longer ones are left to the client's own thread; so much always fits into a socket that nothing was sent to."""


class ControlSocket:
    """The Unix socket of a running agent: 0660, of the group that the state directory has; see `agent.rights`."""

    def __init__(self, home: Home, agent: Agent) -> None:
        self.home = home.path
        self._path = home.socket_path
        self._agent = agent
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._guests = threading.BoundedSemaphore(MAX_GUESTS)
        self._idle = IdleConnections()
        self._group = -1
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
            with suppress(OSError):  # a group that its user is not in: its own keeps the socket
                os.chown(self._path, -1, self.home.stat().st_gid)
            self._group = self._path.stat().st_gid
            self._path.chmod(0o660)
            server.listen(MAX_CONNECTIONS)
        except OSError as error:
            server.close()
            raise HomeError(f"{self._path}: cannot listen there: {error.strerror}") from None
        self._server, self._idle = server, IdleConnections()
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
        self._idle.close()
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
            while not self._idle.make_room(self._places, LOOK_SECONDS):
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
                self._idle.give_way()  # its thread may do, or what it had in memory
                if self._closing.wait(AGAIN_SECONDS):
                    return

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._hear(connection)
        finally:
            self._places.release()

    def _hear(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(IO_SECONDS)
            peer = Peer(connection, self._group)
            peer.check()
            if peer.is_owner:
                self._converse(connection, peer)
            elif self._idle.make_room(self._guests, AGAIN_SECONDS, guest=True):
                try:
                    self._converse(connection, peer)
                finally:
                    self._guests.release()
            else:
                raise NotAnsweredError("too many of its group ask the agent at once; ask again")
        except EdgeAgentError as error:
            with suppress(OSError):
                connection.sendall(_told(error))
        except (OSError, MemoryError) as error:
            log.debug("a client went away, or nothing can be told it: %s", error)

    def _converse(self, connection: socket.socket, peer: Peer) -> None:
        """Hear one request after the other and see to it that it is answered; `UserError` for what is none."""
        limit = MAX_GUEST_BYTES if peer.is_guest else MAX_REQUEST_BYTES
        while (request := _receive(connection, limit)) and self._answer(request, connection, peer):
            if not self._idle.wait(connection, guest=peer.is_guest):
                return

    def _answer(self, request: Request, connection: socket.socket, peer: Peer) -> bool:
        """Whether the client is still there when its request is answered."""
        try:
            peer.check(request.name)
            if peer.is_guest:
                admit(request.fds)  # here, where waiting for a file holds up nobody else
        except (UserError, OSError):
            request.close_files()
            raise
        request.guest = peer.is_guest
        if request.name not in WITH_FILES:
            request.close_files()  # it may wait long, and its client may leave
        reply = _Reply(connection, request)
        self._agent.ask(request)
        while not reply.ready.wait(LOOK_SECONDS):
            gone = not _listens(connection)
            # Whoever leaves closes the descriptor: not while the agent's thread may be sending.
            if (gone or self._closing.is_set()) and reply.claim():
                request.withdraw()  # its files are closed with its place: places are what bounds both
                if gone:
                    return False
                raise NotAnsweredError("the agent stopped before it could answer")
        reply.finish()
        return True


class _Reply:
    """An answer on its way to a client: short ones that are waited for go out on the thread that made them."""

    def __init__(self, connection: socket.socket, request: Request) -> None:
        self._connection = connection
        self._at_once = request.name in AT_ONCE
        self._lock = threading.Lock()
        self._claimed = False
        self._rest: bytes | None = None
        self._made: Future[Any] = request.reply
        self.ready = threading.Event()
        request.reply.add_done_callback(self._take)

    def claim(self) -> bool:
        """Whether the caller is the one who answers; once."""
        with self._lock:
            claimed, self._claimed = self._claimed, True
        return not claimed

    def finish(self) -> None:
        """Send what is not sent yet; the client's thread, once it is `ready`."""
        if (
            self._rest is None
        ):  # also where it could not be made, for want of memory: whoever waits is told, or let go
            self._rest = _line(self._made)
        if self._rest:
            self._connection.sendall(self._rest)

    def _take(self, made: Future[Any]) -> None:
        """The agent's thread: it must not wait for a client, nor fail because of one."""
        if not self.claim():
            return
        try:
            if self._at_once:
                self._rest = _line(made)
                if len(self._rest) <= AT_ONCE_BYTES:
                    with suppress(OSError):  # the client's thread finds out
                        # A socket with a timeout would wait in `send`, whatever its flags; its descriptor never does.
                        self._rest = self._rest[os.write(self._connection.fileno(), self._rest) :]
        finally:
            self.ready.set()


def _listens(connection: socket.socket) -> bool:
    """Whether the other side is still there; a client that has asked says nothing more, so an end is all to be read."""
    try:
        return not is_readable(connection, 0) or connection.recv(1, socket.MSG_PEEK) != b""
    except OSError:
        return False


def _receive(connection: socket.socket, limit: int) -> Request | None:
    """One request with its descriptors, or None when the client sent none (it only looked whether we run)."""
    data, fds, _, _ = socket.recv_fds(connection, 65536, MAX_FDS)
    if not data:
        return None
    request = Request("", {}, list(fds))
    try:
        if not data.endswith(b"\n"):
            data += read_line(connection, limit=limit)
        if len(data) > limit:
            raise UserError(f"it is longer than {limit} bytes")
        message = json.loads(data)
        request.name, request.arguments = str(message["name"]), dict(message["arguments"])
    except OSError:
        request.close_files()
        raise
    except (ValueError, KeyError, TypeError, RecursionError, UserError) as error:
        request.close_files()
        raise UserError(f"not a request: {error}") from None
    return request


def _line(made: Future[Any]) -> bytes:
    """An answer, or why there is none, as it travels."""
    error = made.exception()
    if error is None:
        try:
            return json.dumps({"result": made.result()}).encode() + b"\n"
        except (TypeError, ValueError, RecursionError) as unfit:
            error = EdgeAgentError(f"the answer cannot be sent: {unfit}")
    return _told(error if isinstance(error, EdgeAgentError) else EdgeAgentError(f"it failed: {error!r}"))


def _told(error: EdgeAgentError) -> bytes:
    return json.dumps({"error": type(error).__name__, "message": str(error)}).encode() + b"\n"
