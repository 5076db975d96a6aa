"""Connections that are kept open between questions, on the agent's side and on that of the program that asks."""

from __future__ import annotations

import os
import pickle
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
from edge_agent.agent.sockets import KEEP_SECONDS
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
def test_one_program_has_one_connection(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its questions come over it, one after the other; when it closes the place is free again."""
    monkeypatch.setattr(idle_connections, "KEEP_SECONDS", 600.0)
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
        wait_until(lambda: len(clients()) <= MAX_CONNECTIONS, "those that gave way to end")
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


def test_an_agent_that_closes_ends_connections(
    bench: Bench, control: ControlSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody keeps a place at an agent that is gone, and the next question finds that there is none."""
    monkeypatch.setattr(idle_connections, "KEEP_SECONDS", 600.0)
    client = edge_agent.connect(bench.home, patience_seconds=0.2)
    wait_until(lambda: bool(control._idle._waiting), "the connection to be idle")
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
        if ours in idle._waiting:
            idle._end(ours)
    thread.join(timeout=60)

    assert heard == [True]
    assert (ours.recv(100), ours.recv(100)) == (b"question\n", b"")
    with pytest.raises(BrokenPipeError):
        theirs.sendall(b"another\n")


@pytest.fixture
def idlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[IdleConnections, list[threading.Thread]]]:
    """Three that are idle for long, first of a user, then two of guests."""
    monkeypatch.setattr(idle_connections, "KEEP_SECONDS", 600.0)
    idle, threads = IdleConnections(), []
    with ExitStack() as pairs:
        for guest in (False, True, True):
            ours, theirs = map(pairs.enter_context, socket.socketpair())
            threads.append(threading.Thread(target=idle.wait, args=(ours,), kwargs={"guest": guest}))
            threads[-1].start()
            wait_until(lambda: len(idle._waiting) == len(threads), "it to be idle")
            pairs.callback(theirs.close)
        yield idle, threads
        idle.close()
        for thread in threads:
            thread.join(timeout=60)


def taken() -> threading.BoundedSemaphore:
    """A place, and it is taken."""
    places = threading.BoundedSemaphore(1)
    places.acquire()
    return places


def ended(threads: list[threading.Thread]) -> list[bool]:
    """Which of them came to an end."""
    return [not thread.is_alive() for thread in threads]


def test_who_is_idle_for_longest_gives_way(idlers: tuple[IdleConnections, list[threading.Thread]]) -> None:
    """For a guest's place a guest does; one after the other, until there is a place or none is left."""
    idle, threads = idlers
    assert not idle.make_room(taken(), 0.0, guest=True)
    threads[1].join(timeout=60)
    assert ended(threads) == [False, True, False]
    assert not idle.make_room(taken(), 0.0)
    threads[0].join(timeout=60)
    assert ended(threads) == [True, True, False]
    assert not idle.make_room(taken(), 0.0)
    threads[2].join(timeout=60)
    assert not idle.make_room(taken(), 0.0)


def test_the_next_one_gives_way_where_the_first_was_asking(
    idlers: tuple[IdleConnections, list[threading.Thread]],
) -> None:
    """None of those that are ended may have a place to give: all of them are, in turn."""
    idle, threads = idlers
    assert not idle.make_room(taken(), 10 * idle_connections.AGAIN_SECONDS)
    for thread in threads:
        thread.join(timeout=60)
    assert ended(threads) == [True, True, True]


@pytest.mark.parametrize(("wanted", "kept"), [(False, [False, False]), (True, [True, False])])
def test_while_a_place_is_wanted_nobody_becomes_idle(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, wanted: bool, kept: list[bool]
) -> None:
    """Also who has asked again already; a user keeps a connection where only a guest's place is wanted."""
    monkeypatch.setattr(idle_connections, "KEEP_SECONDS", 600.0)
    idle, places = IdleConnections(), taken()
    waits = threading.Thread(target=idle.make_room, args=(places, 600.0), kwargs={"guest": wanted})
    waits.start()
    wait_until(lambda: idle._wanted[wanted] == 1, "somebody to wait")
    ours, theirs = pair
    theirs.sendall(b"again\n")

    assert [idle.wait(ours, guest=guest) for guest in (False, True)] == kept
    places.release()
    waits.join(timeout=60)


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

    @pytest.mark.parametrize("who", ["getpid", "geteuid"])
    def test_another_process_and_another_user_open_their_own(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch, who: str
    ) -> None:
        """Two processes would get each other's answers; a user who was root before is answered as himself."""
        pool = ConnectionPool()
        pool.put(pair[0])
        monkeypatch.setattr(os, who, lambda: -1)

        assert pool.take() is None
        assert pair[0].fileno() == -1
        pool.put(pair[1])
        assert pool.take() is pair[1]

    def test_what_the_agent_has_ended_by_now_is_closed(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a program whose threads asked all at once, and then only one of them."""
        pool = ConnectionPool()
        pool.put(pair[0])
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + KEEP_SECONDS + 1.0)
        pool.put(pair[1])

        assert (pair[0].fileno(), pool.take()) == (-1, pair[1])

    @pytest.mark.usefixtures("control")
    def test_where_one_was_ended_the_others_are_not_tried(self, bench: Bench, pair: Pair) -> None:
        """They were used before it, so the agent has ended them as well."""
        client = edge_agent.connect(bench.home)
        dead = socket.socketpair()
        dead[1].close()
        for connection in (pair[0], dead[0]):
            client._pool.put(connection)

        assert client.predict(b"cat 5").label == "cat"
        assert (dead[0].fileno(), pair[0].fileno(), len(client._pool._free)) == (-1, -1, 1)
        client.close()


@pytest.mark.usefixtures("control")
def test_a_client_can_be_sent_to_another_process(bench: Bench) -> None:
    """Its copy asks the same agent, over connections of its own."""
    with edge_agent.connect(bench.home) as client:
        copy = pickle.loads(pickle.dumps(client))  # its own
        assert copy.predict(b"dog 5").label == "dog"
        copy.close()
