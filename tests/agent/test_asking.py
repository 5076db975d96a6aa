"""Asking over the socket and in this process: errors come back, files are closed, who leaves frees a place."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent.agent.asking import session
from edge_agent.agent.calling import is_running
from edge_agent.agent.control import MAX_CONNECTIONS, ControlSocket
from edge_agent.agent.home import Home
from edge_agent.agent.sockets import MAX_FDS, short_address
from edge_agent.config import Config, LearningConfig, UpdateConfig
from edge_agent.errors import EdgeAgentError, NoModelError, NotFoundError, UserError
from edge_agent.hookspecs import hookimpl
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


TRUSTED = UpdateConfig(probation_predictions=0)
"""A version that fails is not taken back."""


class MoodyHead(LDAHead):
    """Learns like its parent and predicts only as long as it likes to."""

    name = "moody"
    moody = False

    def predict_proba(self, X: Any) -> np.ndarray:
        """Refuse when in the mood."""
        if MoodyHead.moody:
            raise RuntimeError("not in the mood")
        return super().predict_proba(X)


class Heads:
    """A plugin that offers the moody head."""

    @hookimpl
    def register_heads(self, register: Callable[[type], None]) -> None:
        register(MoodyHead)


def never() -> Any:
    """In place of an agent of one's own."""
    raise AssertionError("an agent runs, so none is made")


def still_open(folder: Path) -> list[str]:
    """The pictures of `folder` that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(link.readlink()))
    return [path for path in found if path.startswith(str(folder)) and path.endswith(".jpg")]


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for what another thread does."""
    end, pause = time.monotonic() + 10.0, threading.Event()
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        pause.wait(0.01)


def opened(folder: Path, *texts: str) -> list[int]:
    """Descriptors of text pictures."""
    fds = []
    for i, text in enumerate(texts):
        (folder / f"{i}.jpg").write_text(text)
        fds.append(os.open(folder / f"{i}.jpg", os.O_RDONLY))
    return fds


def connected(bench: Bench) -> socket.socket:
    """A client of one's own making."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    with short_address(bench.home / "agent.sock") as address:
        client.connect(address)
    return client


@pytest.fixture
def running(bench: Bench) -> Iterator[Bench]:
    """An agent that knows cats, whose head can be moody and is trusted, and that listens."""
    MoodyHead.moody = False
    agent = bench.open(
        Config(learning=LearningConfig(head="moody"), update=TRUSTED), extra=[("heads", Heads())]
    )
    drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
    bench.settle()
    control = ControlSocket(Home(bench.home), agent)
    control.open()
    thread = threading.Thread(target=agent.run)
    thread.start()
    yield bench
    MoodyHead.moody = False
    agent.stop("the test is over")
    thread.join(timeout=10)
    control.close()
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("forget", {}),
        ("relabel", {"digest": 5, "label": "cat"}),
        ("predict", {"names": ["only one"]}),
        ("predict", {"names": {"a": 1}}),
        ("samples", {"limit": [1]}),
        ("rollback", {"to": True}),
        ("sing", {}),
    ],
)
def test_bad_questions_leave_nothing_behind(
    running: Bench, tmp_path: Path, name: str, arguments: dict[str, Any]
) -> None:
    """Each is answered with an error, every descriptor on both sides is closed, and the agent goes on."""
    for _ in range(3):
        with session(running.home, never) as ask, pytest.raises(UserError):
            ask(name, arguments, files=opened(tmp_path, "cat 3", "cat 4"))
    wait_until(lambda: still_open(tmp_path) == [], "the descriptors to be closed")

    with session(running.home, never) as ask:
        assert ask("status")["state"] == "ok"


def test_a_head_that_raises_leaves_nothing_behind(running: Bench, tmp_path: Path) -> None:
    """A RuntimeError out of a plugin's head is an error of that question only."""
    MoodyHead.moody = True
    with session(running.home, never) as ask, pytest.raises(EdgeAgentError, match="not in the mood"):
        ask("predict", {"names": ["a", "b", "c"]}, files=opened(tmp_path, "cat 3", "cat 4", "cat 5"))
    MoodyHead.moody = False
    wait_until(lambda: still_open(tmp_path) == [], "the descriptors to be closed")

    with session(running.home, never) as ask:
        answer = ask("predict", {"names": ["a"]}, files=opened(tmp_path, "cat 3"))
    assert answer[0]["label"] == "cat"


def test_too_much_for_one_question_is_not_sent(running: Bench, tmp_path: Path) -> None:
    """More files than travel at once are refused on this side, and closed."""
    fds = opened(tmp_path, *(f"cat {i}" for i in range(MAX_FDS + 1)))
    with session(running.home, never) as ask, pytest.raises(UserError, match=str(MAX_FDS)):
        ask("predict", {"names": ["x"] * len(fds)}, files=fds)
    wait_until(lambda: still_open(tmp_path) == [], "the descriptors to be closed")


def test_who_leaves_while_waiting_frees_a_place(bench: Bench) -> None:
    """More clients than there are places ask for something that takes long, and leave: the next is served."""
    agent = bench.open()  # nobody steps yet, so no question is answered
    control = ControlSocket(Home(bench.home), agent)
    control.open()
    before = threading.active_count()
    clients = [connected(bench) for _ in range(MAX_CONNECTIONS)]
    for client in clients:
        client.sendall(b'{"name": "status", "arguments": {}}\n')
    wait_until(lambda: threading.active_count() == before + MAX_CONNECTIONS, "every place to be taken")
    for client in clients:
        client.close()
    wait_until(lambda: threading.active_count() == before, "the places to be free")

    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        with session(bench.home, never) as ask:
            assert ask("status")["samples"] == 0
    finally:
        agent.stop("the test is over")
        thread.join(timeout=10)
        control.close()


def test_an_agent_that_stops_does_not_leave_its_client_waiting(bench: Bench) -> None:
    """A question that is still open when the agent closes comes back as an error."""
    agent = bench.open()
    control = ControlSocket(Home(bench.home), agent)
    control.open()
    with connected(bench) as client:
        client.sendall(b'{"name": "update", "arguments": {}}\n')
        wait_until(lambda: not agent._inbox.empty(), "the question to arrive")
        bench.close()
        answer = json.loads(client.makefile("rb").readline())
    control.close()

    assert "stopped before it could answer" in answer["message"]


def test_files_of_who_came_too_late_are_closed(bench: Bench, tmp_path: Path) -> None:
    """The agent has looked into its inbox for the last time: the client is told, and nothing stays open."""
    agent = bench.open()
    control = ControlSocket(Home(bench.home), agent)
    control.open()
    (fd,) = opened(tmp_path, "cat 1")
    with connected(bench) as client:
        socket.send_fds(client, [b'{"name": "predict", "arguments": {"names": ["a"]}}\n'], [fd])
        os.close(fd)
        wait_until(lambda: not agent._inbox.empty(), "the question to arrive")
        assert len(list(agent._inbox.left())) == 1
        control.close()
        answer = json.loads(client.makefile("rb").readline())

    assert "stopped before it could answer" in answer["message"]
    wait_until(lambda: still_open(tmp_path) == [], "the file to be closed")


class TestHere:
    def test_the_answers_are_the_same(self, bench: Bench, tmp_path: Path) -> None:
        """Without a running agent a prediction is made in this process, and everything is closed again."""
        bench.open()
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        bench.settle()
        bench.close()
        assert not is_running(bench.home)
        with session(bench.home, bench.make) as ask:
            answer = ask("predict", {"names": ["a"]}, files=opened(tmp_path, "cat 3"))
            with pytest.raises(NotFoundError):
                ask("forget", {"label": "bird"})

        assert answer[0]["label"] == "cat"
        assert still_open(tmp_path) == []

    def test_a_question_learns_nothing_on_the_way(self, bench: Bench) -> None:
        """What waits in the drop folder is counted, not taken in."""
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        with session(bench.home, bench.make) as ask:
            assert (ask("status")["pending"], ask("status")["samples"]) == (2, 0)
            with pytest.raises(NoModelError):
                ask("predict", {"names": []})
