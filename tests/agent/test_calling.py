"""The other side of the agent's socket: what a program makes of the answers, whole or not."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from edge_agent.agent.calling import ask_socket
from edge_agent.agent.home import Home
from edge_agent.agent.sockets import short_address
from edge_agent.errors import NotAnsweredError


@pytest.mark.parametrize("answer", [b"", b'{"result": {"labels": ["ca', b'{"result": 7}'])
def test_an_answer_that_was_cut_off_is_none(answer: bytes, tmp_path: Path) -> None:
    """An agent that dies while it answers has not answered, however much of it arrived."""
    home = Home(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        with short_address(home.socket_path) as address:
            server.bind(address)
        server.listen()

        def half_an_agent() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=half_an_agent)
        thread.start()
        with pytest.raises(NotAnsweredError, match="stopped before it answered"):
            ask_socket(home, "status", {}, [])
        thread.join(timeout=60)
