"""Asking a running agent through its socket, with the agent stepping on another thread."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.agent import calling
from edge_agent.agent import control as control_module
from edge_agent.agent.asking import session
from edge_agent.agent.calling import ask_socket, is_running
from edge_agent.agent.client import connect
from edge_agent.agent.control import MAX_CONNECTIONS, ControlSocket, _Reply
from edge_agent.agent.home import Home
from edge_agent.agent.requests import Request
from edge_agent.agent.sockets import short_address
from edge_agent.errors import NoModelError, NotAnsweredError, NotFoundError, UserError
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


@pytest.fixture
def running(bench: Bench) -> Iterator[Bench]:
    """An agent that knows cats and dogs and listens."""
    agent = bench.open()
    drop_texts(bench.drop, "cat", [f"cat {i}" for i in range(4)])
    drop_texts(bench.drop, "dog", [f"dog {i}" for i in range(4)])
    bench.settle()
    control = ControlSocket(Home(bench.home), agent)
    control.open()
    thread = threading.Thread(target=agent.run)
    thread.start()
    yield bench
    agent.stop("the test is over")
    thread.join(timeout=10)
    control.close()
    assert not thread.is_alive()


def never() -> None:
    """In place of an agent of one's own: asking a running one must not need it."""
    raise AssertionError("an agent runs, so none is made")


def test_files_travel_as_descriptors(running: Bench, tmp_path: Path) -> None:
    """A picture the agent could not open by name is classified through the client's descriptor."""
    path = tmp_path / "gone.jpg"
    path.write_text("dog 99")
    fd = os.open(path, os.O_RDONLY)
    path.unlink()
    with session(running.home, never) as ask:  # type: ignore[arg-type]
        answers = ask("predict", {"names": ["gone.jpg"]}, files=[fd])

    assert (answers[0]["path"], answers[0]["label"]) == ("gone.jpg", "dog")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_errors_keep_their_kind_and_text(running: Bench) -> None:
    """A user's mistake is raised on the client's side as what it was, with the same words."""
    with session(running.home, never) as ask:  # type: ignore[arg-type]
        with pytest.raises(NotFoundError, match="bird"):
            ask("forget", {"label": "bird"})
        with pytest.raises(UserError, match="predict"):
            ask("sing")


def test_an_update_is_answered_when_it_is_done(running: Bench) -> None:
    """`update` waits for the version and names it."""
    with session(running.home, never) as ask:  # type: ignore[arg-type]
        answer = ask("update", {"force": True})

    assert (answer["state"], answer["version"]) == ("published", 2)


def test_a_slow_answer_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that takes longer than anybody looks after the client, or waits for a sentence, arrives."""
    monkeypatch.setattr("edge_agent.agent.control.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("edge_agent.agent.control.IO_SECONDS", 0.2)
    agent = bench.open()
    control = ControlSocket(Home(bench.home), agent)
    control.open()
    answers: list[object] = []

    def client() -> None:
        with session(bench.home, never) as ask:  # type: ignore[arg-type]
            answers.append(ask("versions"))

    thread = threading.Thread(target=client)
    thread.start()
    thread.join(timeout=1.0)  # the agent is busy: nobody steps it
    assert thread.is_alive()
    agent.step(patience_seconds=5.0)
    thread.join(timeout=10)
    control.close()

    assert answers == [[]]


def test_its_group_can_reach_it(running: Bench) -> None:
    """The socket's mode is 0660, and its group is that of the state directory."""
    found = (running.home / "agent.sock").stat()

    assert stat.S_IMODE(found.st_mode) == 0o660
    assert found.st_gid == running.home.stat().st_gid


@pytest.mark.parametrize("sent", [b"\n", b"nonsense\n", b"[]\n", b'{"name": 3}\n', b'{"name": "status"}\n'])
def test_what_is_no_request_gets_one_error(running: Bench, sent: bytes) -> None:
    """Nonsense is answered with an error and the agent goes on."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        with short_address(running.home / "agent.sock") as address:
            client.connect(address)
        client.sendall(sent)
        answer = json.loads(client.makefile("rb").readline())

    assert "not a request" in answer["message"]
    assert is_running(running.home)


def test_a_client_that_hangs_up_is_forgotten(running: Bench) -> None:
    """Clients that connect and leave, or leave in the middle, cost nothing."""
    for sent in (b"", b'{"name": "sta', b'{"name": "status", "arguments": {}}\n'):
        with socket.socket(socket.AF_UNIX) as client:
            with short_address(running.home / "agent.sock") as address:
                client.connect(address)
            client.sendall(sent)

    with session(running.home, never) as ask:  # type: ignore[arg-type]
        assert ask("status")["state"] == "ok"


def test_without_descriptors_it_waits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no connection can be accepted it is tried once a second, not as often as the processor can."""
    calls: list[float] = []
    twice = threading.Event()

    class Full(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            calls.append(time.monotonic())
            if len(calls) == 2:
                twice.set()
            raise OSError(errno.EMFILE, "Too many open files")

    control = ControlSocket(Home(bench.home), bench.open())
    with monkeypatch.context() as patched:
        patched.setattr("edge_agent.agent.control.socket.socket", Full)
        control.open()
    assert twice.wait(60)
    control.close()

    assert len(calls) <= 2 + calls[-1] - calls[0]


def test_a_deep_home_is_no_obstacle(tmp_path: Path) -> None:
    """A path longer than a socket address can be is bound and reached all the same."""
    folder = tmp_path
    while len(str(folder)) < 200:
        folder /= "a-rather-long-name-of-a-folder"
    folder.mkdir(parents=True)
    unix = socket.AF_UNIX
    with (
        socket.socket(unix) as server,
        socket.socket(unix) as client,
        short_address(folder / "agent.sock") as name,
    ):
        server.bind(name)
        server.listen()
        client.connect(name)

    assert (folder / "agent.sock").is_socket()


def test_without_a_running_agent_the_work_is_done_here(bench: Bench) -> None:
    """When none runs an agent is opened for the question, and closed again."""
    bench.open()
    drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
    bench.close()
    assert not is_running(bench.home)

    with session(bench.home, bench.make) as ask:
        assert ask("status")["samples"] == 0
        with pytest.raises(NoModelError):
            ask("predict", {"names": []})


def test_without_threads_for_clients_it_listens_on(running: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of threads that refuses one to a client does not make the agent deaf: the next one is answered."""

    class Refused(threading.Thread):
        refusals = 3

        def start(self) -> None:
            if self.name == "control-client" and Refused.refusals:
                Refused.refusals -= 1
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr(threading, "Thread", Refused)

    assert connect(running.home).status()["state"] == "ok"
    assert Refused.refusals == 0


def test_a_place_in_a_full_queue_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more ask than may wait, the next one waits for a place, and a queue that never moves is named in a line."""
    monkeypatch.setattr(calling, "IO_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as other:
        with short_address(tmp_path / "agent.sock") as address:
            server.bind(address)
            server.listen(0)
            other.connect(address)
            assert is_running(tmp_path)
        asked: list[bool] = []
        with pytest.raises(NotAnsweredError, match="too many wait"):
            ask_socket(Home(tmp_path), "status", {}, [])
        monkeypatch.setattr(calling, "IO_SECONDS", 60.0)
        waiting = threading.Thread(target=lambda: asked.append(is_running(tmp_path)))
        waiting.start()
        server.accept()[0].close()
        waiting.join(timeout=60)

    assert asked == [True]


@pytest.mark.parametrize("letters", [10, 60_000, 1_000_000])
def test_the_agent_waits_for_no_reader(letters: int) -> None:
    """What a client does not read yet waits in the client's thread, and arrives whole, however long it is."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.settimeout(60)
    request = Request("predict")
    reply = _Reply(ours, request)
    made = threading.Thread(target=request.reply.set_result, args=("x" * letters,), daemon=True)
    made.start()
    assert reply.ready.wait(20), "the agent's thread waits for the client"
    rest = threading.Thread(target=lambda: (reply.finish(), ours.close()))
    rest.start()
    with theirs, theirs.makefile("rb") as lines:
        assert json.loads(lines.read()) == {"result": "x" * letters}
    rest.join(timeout=60)


def test_a_client_that_went_away_fails_nothing() -> None:
    """The agent's thread goes on; the client's own thread finds out."""
    ours, theirs = socket.socketpair()
    request = Request("predict")
    reply = _Reply(ours, request)
    theirs.close()
    request.reply.set_result([])
    with ours:
        assert reply.ready.is_set()


def test_a_client_gets_one_answer() -> None:
    """Whoever was told that the agent stops is not answered besides."""
    ours, theirs = socket.socketpair()
    request = Request("predict")
    reply = _Reply(ours, request)
    assert [reply.claim(), reply.claim()] == [True, False]
    request.reply.set_result([])
    with ours, theirs:
        assert not reply.ready.is_set()
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


def test_a_place_is_given_back(running: Bench) -> None:
    """One after the other, any number of clients is answered."""
    agent = connect(running.home)
    for _ in range(MAX_CONNECTIONS + 1):
        assert agent.status()["state"] == "ok"


def test_a_full_socket_is_not_waited_for() -> None:
    """Whatever was sent to a client before, the agent's thread leaves to the client's what does not fit at once."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(b" " * 4096)
        ours.settimeout(600)
        request = Request("predict")
        reply = _Reply(ours, request)
        threading.Thread(target=request.reply.set_result, args=([],), daemon=True).start()
        assert reply.ready.wait(60), "the agent's thread waits for the client"


@pytest.mark.parametrize("answer", [{1, 2}, ZeroDivisionError("of a plugin")])
def test_an_answer_that_cannot_be_told_is_an_error(answer: object) -> None:
    """Its client is told so, and holds no thread and no place for it."""
    ours, theirs = socket.socketpair()
    request = Request("status")
    reply = _Reply(ours, request)
    if isinstance(answer, Exception):
        request.reply.set_exception(answer)
    else:
        request.reply.set_result(answer)
    assert reply.ready.is_set()
    with ours:
        reply.finish()
    with theirs, theirs.makefile("rb") as lines:
        assert json.loads(lines.read())["error"] == "EdgeAgentError"


def test_a_line_that_fails_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the memory for an answer is missing its client's thread goes on."""

    def fail(_made: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(control_module, "_line", fail)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request = Request("status")
        reply = _Reply(ours, request)
        request.reply.set_result({})
        assert reply.ready.is_set()


def test_who_cannot_be_told_is_let_go(
    conversation: tuple[_Asked, threading.Thread, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer for which there is no memory ends the connection; nobody is kept waiting for it."""
    asked, _, theirs = conversation
    made: list[str] = []

    def fail(_made: object) -> bytes:
        made.append(threading.current_thread().name)
        if len(made) == 1:
            raise MemoryError
        return b"at last\n"

    monkeypatch.setattr(control_module, "_line", fail)
    assert asked.request is not None
    asked.request.reply.set_result({})
    theirs.settimeout(60)

    assert theirs.recv(100) == b"at last\n"
    assert made[0] != made[1]


class _Asked:
    """In place of an agent: it keeps what it is asked."""

    def __init__(self) -> None:
        self.request: Request | None = None
        self.heard = threading.Event()

    def ask(self, request: Request) -> None:
        """To be answered by the test."""
        self.request = request
        self.heard.set()


@pytest.fixture
def conversation(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[tuple[_Asked, threading.Thread, socket.socket]]:
    """An agent that was asked (for its status or what the test says), its client's thread, and the client's end."""
    monkeypatch.setattr(control_module, "LOOK_SECONDS", 0.01)
    asked, (ours, theirs) = _Asked(), socket.socketpair()
    ours.settimeout(60)
    control = ControlSocket(Home(bench.home), asked)  # type: ignore[arg-type]
    name = getattr(request, "param", "status")
    message = json.dumps({"name": name, "arguments": {"top": 3}}).encode() + b"\n"
    with (tmp_path / "sent").open("w+b") as file:
        socket.send_fds(theirs, [message], [file.fileno()])
    peer = control_module.Peer(ours, -1)
    thread = threading.Thread(target=control._converse, args=(ours, peer))
    thread.start()
    assert asked.heard.wait(60)
    with ours, theirs:
        yield asked, thread, theirs
        theirs.shutdown(socket.SHUT_WR)
        thread.join(timeout=60)


@pytest.mark.parametrize("conversation", ["predict"], indirect=True)
def test_a_question_of_who_left_is_withdrawn_with_its_files(
    conversation: tuple[_Asked, threading.Thread, socket.socket],
) -> None:
    """Its place is free again and its files are closed, so who asks and leaves over and over is bounded by places."""
    asked, thread, theirs = conversation
    assert asked.request is not None
    files = list(asked.request.fds)
    assert len(files) == 1
    theirs.shutdown(socket.SHUT_WR)
    thread.join(timeout=60)

    assert not thread.is_alive()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(files[0])
    assert not asked.request.begin()
    assert asked.request.arguments == {}  # it stays in the inbox until the agent looks there


@pytest.mark.parametrize("conversation", ["predict"], indirect=True)
def test_what_is_being_answered_is_not_withdrawn(
    conversation: tuple[_Asked, threading.Thread, socket.socket],
) -> None:
    """The agent's thread reads the files: nobody else closes them, and nothing is sent to who left."""
    asked, thread, theirs = conversation
    assert asked.request is not None
    assert asked.request.begin()
    theirs.shutdown(socket.SHUT_WR)
    thread.join(timeout=60)

    os.fstat(asked.request.fds[0])
    asked.request.reply.set_result({})
    asked.request.close_files()
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def test_a_guests_question_is_short(bench: Bench) -> None:
    """What it becomes when it is understood is many times as long; its own user's may be longer."""
    line = b'{"name": "status", "arguments": {"names": "' + b"x" * 70_000 + b'"}}\n'
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    with ours, theirs:
        asked = _Asked()
        control = ControlSocket(Home(bench.home), asked)  # type: ignore[arg-type]
        peer = control_module.Peer(ours, -1)
        peer.is_owner, peer.is_guest = False, True
        theirs.sendall(line)
        with pytest.raises(UserError, match="longer"):
            control._converse(ours, peer)
        assert asked.request is None


@pytest.mark.parametrize("conversation", ["update"], indirect=True)
def test_files_that_nobody_asked_for_are_not_kept(
    conversation: tuple[_Asked, threading.Thread, socket.socket],
) -> None:
    """An update may wait long, and its client may leave."""
    asked, _, _ = conversation
    assert asked.request is not None
    assert asked.request.fds == []


@pytest.mark.parametrize("conversation", ["rollback", "update"], indirect=True)
def test_nothing_is_sent_to_who_left(conversation: tuple[_Asked, threading.Thread, socket.socket]) -> None:
    """Its descriptor may be another client's by then."""
    asked, thread, theirs = conversation
    theirs.shutdown(socket.SHUT_WR)
    thread.join(timeout=60)
    assert asked.request is not None
    asked.request.reply.set_result({})
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def test_a_descriptor_is_kept_while_it_is_sent_to(
    conversation: tuple[_Asked, threading.Thread, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that leaves while the agent's thread answers it is waited for by its own thread."""
    asked, thread, theirs = conversation
    sending, go = threading.Event(), threading.Event()

    def slow(_made: object) -> bytes:
        sending.set()
        go.wait(60)
        return b"{}\n"

    monkeypatch.setattr(control_module, "_line", slow)
    assert asked.request is not None
    answering = threading.Thread(target=asked.request.reply.set_result, args=({},))
    answering.start()
    assert sending.wait(60)
    theirs.shutdown(socket.SHUT_WR)
    thread.join(timeout=0.5)
    held = thread.is_alive()
    go.set()
    for one in (answering, thread):
        one.join(timeout=60)
    assert held
    assert theirs.recv(3) == b"{}\n"
