"""Files of members of the group: none of theirs keeps the agent waiting."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from edge_agent.agent.control import ControlSocket
from edge_agent.agent.home import Home
from edge_agent.agent.local_files import copied, is_local
from edge_agent.agent.rights import Peer
from edge_agent.errors import EdgeAgentError, UserError

if TYPE_CHECKING:
    from edge_agent.agent.agent import Agent
    from edge_agent.agent.requests import Request
    from tests.agent.conftest import Bench

ELSEWHERE = Path("/proc/version")
"""A regular file on a file system that is not among the local ones, as those of FUSE are not."""


class _Guest:
    """Who belongs to the group."""

    is_owner, is_guest = False, True

    def check(self, _name: str = "") -> None:
        """May ask."""


class _Agent:
    """Keeps what files look like when it is asked, and closes them."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def ask(self, request: Request) -> None:
        """Answer with nothing."""
        self.kinds = [stat.filemode(os.fstat(fd).st_mode)[0] for fd in request.fds]
        request.fail(EdgeAgentError("no"))


@pytest.fixture
def memory() -> Iterator[int]:
    """A file in memory."""
    fd = os.memfd_create("picture")
    yield fd
    os.close(fd)


def open_files() -> list[str]:
    """The descriptors of this process, by number."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def told(bench: Bench, fds: list[int]) -> _Agent:
    """What an agent hears of a guest's files."""
    agent, (ours, theirs) = _Agent(), socket.socketpair()
    control = ControlSocket(Home(bench.home), cast("Agent", agent))
    with ours, theirs:
        ours.settimeout(60)
        socket.send_fds(theirs, [b'{"name": "predict", "arguments": {}}\n'], fds)
        theirs.shutdown(socket.SHUT_WR)
        control._converse(ours, cast(Peer, _Guest()))
    return agent


def test_files_in_memory_are_local_and_others_may_not_be(memory: int) -> None:
    """By what the kernel says their file system is."""
    with ELSEWHERE.open("rb") as file:
        assert (is_local(memory), is_local(file.fileno()), is_local(-1)) == (True, False, False)


def test_a_guests_file_elsewhere_never_reaches_the_agent(bench: Bench, memory: int) -> None:
    """It is refused with what to do, and all that came is closed, by the client's own thread."""
    before = open_files()
    with ELSEWHERE.open("rb") as file, pytest.raises(UserError, match=r"file 2 of 2 .*memfd"):
        told(bench, [memory, file.fileno()])
    assert open_files() == before


def test_what_is_no_file_is_exchanged(bench: Bench, memory: int) -> None:
    """The agent says of a pipe, a folder or a device that it is no regular file, and never has it in its hands."""
    reading, writing = os.pipe()
    assert told(bench, [memory, reading]).kinds == ["-", "c"]
    os.close(writing)
    os.close(reading)


def test_a_copy_is_made_of_what_is_elsewhere(memory: int) -> None:
    """The client's side makes it, of that and nothing else, and the original is closed."""
    fd = os.open(ELSEWHERE, os.O_RDONLY)
    whole = os.pread(fd, 4096, 0)
    copy = copied(fd)
    assert (is_local(copy), os.read(copy, 4096)) == (True, whole)
    fd = os.open(ELSEWHERE, os.O_RDONLY)
    for _ in range(2):  # a second try, by a descriptor that shares its position with the first
        os.close(again := copied(os.dup(fd)))
        again = copied(os.dup(fd))
        assert os.read(again, 4096) == whole
        os.close(again)
    os.close(fd)
    os.close(copy)
    assert copied(memory) == memory
