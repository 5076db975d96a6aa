"""The other side of the agent's socket: what a program makes of the answers, whole or not."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from edge_agent import errors
from edge_agent.agent.calling import ask_socket
from edge_agent.agent.home import Home
from edge_agent.agent.sockets import short_address
from edge_agent.errors import NotAnsweredError


def said(home: Home, answer: bytes) -> threading.Thread:
    """Somebody who says this to whoever asks first."""
    server = socket.socket(socket.AF_UNIX)
    with short_address(home.socket_path) as address:
        server.bind(address)
    server.listen()

    def half_an_agent() -> None:
        with server, server.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=half_an_agent)
    thread.start()
    return thread


@pytest.mark.parametrize("answer", [b"", b'{"result": {"labels": ["ca', b'{"result": 7}'])
def test_an_answer_that_was_cut_off_is_none(answer: bytes, tmp_path: Path) -> None:
    """An agent that dies while it answers has not answered, however much of it arrived."""
    home = Home(tmp_path)
    thread = said(home, answer)
    with pytest.raises(NotAnsweredError, match="stopped before it answered"):
        ask_socket(home, "status", {}, [])
    thread.join(timeout=60)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NotFoundError", errors.NotFoundError),
        ("PluginError", errors.UserError),
        ("HomeLockedError", errors.UserError),
        ("ConfigError", errors.UserError),
        ("DiskFailedError", errors.StoreError),
        ("MLModelError", errors.EdgeAgentError),
        ("annotations", errors.EdgeAgentError),
        ("Path", errors.EdgeAgentError),
        ("OfANewerAgent", errors.EdgeAgentError),
    ],
)
def test_an_error_stays_in_its_family(name: str, kind: type[Exception], tmp_path: Path) -> None:
    """What a person can mend is a mistake of theirs wherever it was found: a command ends as without an agent."""
    home = Home(tmp_path)
    thread = said(home, b'{"error": "%s", "message": "it is so"}\n' % name.encode())
    with pytest.raises(errors.EdgeAgentError, match="it is so") as found:
        ask_socket(home, "status", {}, [])
    thread.join(timeout=60)
    assert type(found.value) is kind
