"""This is where the running agent is asked, or the work is done in this process, under the lock, when none runs."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from edge_agent import errors
from edge_agent.agent.agent import Agent
from edge_agent.agent.home import Home
from edge_agent.agent.opening import open_patiently
from edge_agent.agent.requests import UPDATE, Request
from edge_agent.agent.sockets import (
    ANSWER_SECONDS,
    IO_SECONDS,
    MAX_FDS,
    MAX_REQUEST_BYTES,
    read_line,
    short_address,
)
from edge_agent.errors import EdgeAgentError, HomeError, HomeLockedError, UserError

PLAIN_ERRORS = frozenset(
    {
        errors.UserError,
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


class Ask(Protocol):
    """Put one question; `files` are descriptors that are closed whatever happens.  Raises what the agent raised."""

    def __call__(
        self, name: str, arguments: dict[str, Any] | None = None, *, files: Sequence[int] = ()
    ) -> Any:
        """Return the answer as plain data."""


@contextmanager
def session(home: Path, in_process: Callable[[], Agent]) -> Iterator[Ask]:
    """Yield a way to ask the agent of `home`; the answers are the same whether one runs or not.

    `in_process` makes an agent that is not open yet; it is called, opened and closed only when none runs.
    Raises `HomeLockedError` when an agent holds the state directory but does not listen (it is just starting).
    """
    place = Home(home)
    agent = None if is_running(home) else in_process()
    if agent is not None:
        try:
            open_patiently(agent, give_up=lambda: is_running(home))
        except HomeLockedError:
            if not is_running(home):
                raise
            agent = None
    if agent is None:
        yield lambda name, arguments=None, *, files=(): _ask_socket(place, name, arguments or {}, files)
        return
    try:
        yield lambda name, arguments=None, *, files=(): _ask_here(agent, name, arguments or {}, files)
    finally:
        agent.close()


def is_running(home: Path) -> bool:
    """Whether an agent answers on this state directory."""
    try:
        with _connect(Home(home)):
            return True
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return False


def _ask_here(agent: Agent, name: str, arguments: dict[str, Any], files: Sequence[int]) -> Any:
    request = Request(name, arguments, list(files))
    if name != UPDATE:
        agent.answer(request)  # a question must not take in, learn or publish on the way
        while not request.reply.done():  # except that what is forgotten must be unlearned
            agent.unlearn()
        return request.reply.result()
    agent.ask(request)
    while not request.reply.done():
        agent.step_when_due()
    return request.reply.result()


def _ask_socket(home: Home, name: str, arguments: dict[str, Any], files: Sequence[int]) -> Any:
    line = json.dumps({"name": name, "arguments": arguments}).encode() + b"\n"
    try:
        if len(line) > MAX_REQUEST_BYTES or len(files) > MAX_FDS:
            raise UserError(f"too much for one request: {len(files)} files; at most {MAX_FDS}")
        with _connect(home) as connection:
            sent = socket.send_fds(connection, [line], list(files)) if files else 0
            if line[sent:]:  # after the last byte the agent may answer and close at once
                connection.sendall(line[sent:])
            connection.settimeout(ANSWER_SECONDS)
            reply = read_line(connection, limit=None)
    except OSError as error:
        raise EdgeAgentError(f"the running agent did not answer: {error}") from None
    finally:
        for fd in files:
            os.close(fd)
    if not reply:
        raise EdgeAgentError("the running agent stopped before it answered; ask again")
    answer = json.loads(reply)
    if "error" in answer:
        kind = getattr(errors, str(answer["error"]), EdgeAgentError)
        raise (kind if kind in PLAIN_ERRORS else EdgeAgentError)(answer["message"])
    return answer["result"]


def _connect(home: Home) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(IO_SECONDS)
        with short_address(home.socket_path) as address:
            connection.connect(address)
    except PermissionError:
        connection.close()
        raise HomeError(f"{home.socket_path}: the agent there belongs to another user") from None
    except BaseException:
        connection.close()
        raise
    return connection
