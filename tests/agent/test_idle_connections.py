"""Connections that are kept open between questions, on the agent's side and on that of the program that asks."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import edge_agent
from edge_agent.agent import idle_connections
from edge_agent.agent.connection_pool import ConnectionPool
from edge_agent.agent.control import MAX_CONNECTIONS, ControlSocket
from edge_agent.agent.home import Home
from edge_agent.agent.idle_connections import IdleConnections
from edge_agent.errors import NotAnsweredError
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench

Pair = tuple[socket.socket, socket.socket]


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for what another thread does."""
    end, pause = time.monotonic() + 60.0, threading.Event()
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        pause.wait(0.01)


def clients() -> list[str]:
    """The threads that serve clients in this process."""
    return [thread.name for thread in threading.enumerate() if thread.name == "control-client"]


@pytest.fixture
def control(bench: Bench) -> Iterator[ControlSocket]:
    """An agent that knows cats and dogs, runs and listens."""
    agent = bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(4)])
    bench.settle()
    control = ControlSocket(Home(bench.home), agent)
    control.open()
    thread = threading.Thread(target=agent.run)
    thread.start()
    yield control
    agent.stop("the test is over")
    thread.join(timeout=60)
    control.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The agent's end of a connection and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.usefixtures("control")
def test_one_program_has_one_connection(bench: Bench) -> None:
    """Its questions come over it, one after the other; when it closes the place is free again."""
    wait_until(lambda: clients() == [], "others to go")
    with edge_agent.connect(bench.home) as client:
        assert [client.predict(f"cat {i}".encode()).label for i in range(20)] == ["cat"] * 20
        assert len(clients()) == 1
        assert client.versions()[0]["version"] == 1
        assert len(clients()) == 1
    wait_until(lambda: clients() == [], "the place to be free")

    assert client.predict(b"dog 3").label == "dog"
    wait_until(lambda: clients() == [], "a connection that is not kept to be closed")


@pytest.mark.usefixtures("control")
def test_threads_of_a_program_do_not_hear_each_other(bench: Bench) -> None:
    """Several at once each get the answer to their own question."""
    heard: list[tuple[str, str | None]] = []
    client = edge_agent.connect(bench.home)

    def asks(word: str) -> None:
        heard.extend((word, client.predict(f"{word} {number}".encode()).label) for number in range(25))

    threads = [threading.Thread(target=asks, args=(word,)) for word in ("cat", "dog") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    client.close()

    assert len(heard) == 150
    assert [(word, label) for word, label in heard if word != label] == []


@pytest.mark.usefixtures("control")
def test_programs_that_are_silent_give_way(bench: Bench) -> None:
    """More of them than there are places keep a connection: each is answered whenever it asks, without a wait."""
    with ExitStack() as open_clients:
        programs = [
            open_clients.enter_context(edge_agent.connect(bench.home)) for _ in range(MAX_CONNECTIONS + 8)
        ]
        begin = time.monotonic()
        answers = [program.predict(b"dog 7").label for _ in range(2) for program in programs]
        seconds = time.monotonic() - begin

        assert answers == ["dog"] * len(answers)
        assert len(clients()) <= MAX_CONNECTIONS
        assert seconds < 20.0  # a place that is waited for takes up to a second, for each of 80 questions


@pytest.mark.usefixtures("control")
def test_a_connection_that_was_idle_for_too_long_is_opened_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent ends it, and the program does not notice."""
    monkeypatch.setattr(idle_connections, "KEEP_SECONDS", 0.01)
    client = edge_agent.connect(bench.home)
    for _ in range(3):
        wait_until(lambda: clients() == [], "the agent to end it")
        assert client.predict(b"cat 3").label == "cat"
    client.close()


def test_an_agent_that_closes_ends_connections(bench: Bench, control: ControlSocket) -> None:
    """Nobody keeps a place at an agent that is gone, and the next question finds that there is none."""
    client = edge_agent.connect(bench.home, patience_seconds=0.2)
    control.close()
    wait_until(lambda: clients() == [], "the connection to be ended")

    with pytest.raises(NotAnsweredError):
        client.status()
    client.close()


def test_what_was_sent_before_the_end_is_read(pair: Pair) -> None:
    """A connection gives way just when its client asks: the question is there, and the client hears of the end."""
    ours, theirs = pair
    idle = IdleConnections()
    heard: list[bool] = []
    thread = threading.Thread(target=lambda: heard.append(idle.wait(ours, guest=False)))
    thread.start()
    wait_until(lambda: bool(idle._waiting), "the connection to be idle")
    with idle._lock:  # as if both happened at once
        theirs.sendall(b"question\n")
        idle._end(ours)
    thread.join(timeout=60)

    assert heard == [True]
    assert (ours.recv(100), ours.recv(100)) == (b"question\n", b"")
    with pytest.raises(BrokenPipeError):
        theirs.sendall(b"another\n")


def test_who_is_idle_for_longest_gives_way_and_guests_only_for_guests(pair: Pair) -> None:
    """A guest's place is made of a guest's; while somebody waits for a place nobody becomes idle."""
    idle, places = IdleConnections(), threading.BoundedSemaphore(1)
    assert idle.make_room(places, 0.0)
    pairs = [pair, *(socket.socketpair() for _ in range(2))]
    threads = []
    for number, (ours, _) in enumerate(pairs):
        threads.append(threading.Thread(target=idle.wait, args=(ours,), kwargs={"guest": number > 0}))
        threads[-1].start()
        wait_until(lambda many=number + 1: len(idle._waiting) == many, "it to be idle")  # type: ignore[misc]

    assert not idle.make_room(places, 0.0, guest=True)
    threads[1].join(timeout=60)
    assert [thread.is_alive() for thread in threads] == [True, False, True]
    assert not idle.make_room(places, 0.0)
    threads[0].join(timeout=60)
    assert [thread.is_alive() for thread in threads] == [False, False, True]

    waits = threading.Thread(target=idle.make_room, args=(places, 60.0))
    waits.start()
    threads[2].join(timeout=60)
    wait_until(lambda: idle._wanted == 1, "somebody to wait")
    pairs.append(socket.socketpair())
    begin = time.monotonic()
    assert not idle.wait(pairs[3][0], guest=False)
    assert time.monotonic() - begin < idle_connections.KEEP_SECONDS / 2
    places.release()
    waits.join(timeout=60)
    for ours, theirs in pairs[1:]:
        ours.close()
        theirs.close()


class TestPool:
    def test_the_last_one_comes_first(self, pair: Pair) -> None:
        """It was used a moment ago; there is none when all are taken."""
        pool = ConnectionPool()
        for connection in pair:
            pool.put(connection)

        assert [pool.take(), pool.take(), pool.take()] == [pair[1], pair[0], None]

    def test_what_is_put_back_after_the_end_is_closed(self, pair: Pair) -> None:
        """As is what was free."""
        pool = ConnectionPool()
        pool.put(pair[0])
        pool.close()
        pool.put(pair[1])

        assert [connection.fileno() for connection in pair] == [-1, -1]
        assert pool.take() is None

    def test_a_process_that_was_forked_off_opens_its_own(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two that read one connection would get each other's answers."""
        pool = ConnectionPool()
        pool.put(pair[0])
        monkeypatch.setattr(os, "getpid", lambda: -1)

        assert pool.take() is None
        pool.put(pair[1])
        assert pool.take() is pair[1]
