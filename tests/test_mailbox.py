"""One plugin's queue and thread: order, room, ends."""

from __future__ import annotations

import threading

import pytest

from edge_agent.mailbox import Mailbox

PATIENCE = 10.0


@pytest.fixture
def gate():
    """An event that holds up whoever waits for it; it is open again after the test."""
    gate = threading.Event()
    yield gate
    gate.set()


def held_up(box: Mailbox, gate: threading.Event) -> None:
    """Post a call that waits for the gate, and return when the thread is inside it."""
    inside = threading.Event()

    def call() -> None:
        inside.set()
        gate.wait(PATIENCE)

    assert box.post(call)
    assert inside.wait(PATIENCE)


def test_calls_are_made_in_order_on_one_other_thread():
    """Calls keep their order and never run on the thread that posted them."""
    box, seen = Mailbox("x", 100), []
    for number in range(50):
        box.post(lambda number=number: seen.append((number, threading.get_ident())))

    assert box.flush(PATIENCE)

    assert [number for number, _ in seen] == list(range(50))
    assert len({thread for _, thread in seen} | {threading.get_ident()}) == 2
    assert box.close(PATIENCE)


def test_no_thread_without_a_call():
    """A mailbox that nothing is posted to costs no thread."""
    before = threading.active_count()
    box = Mailbox("x", 10)

    assert threading.active_count() == before
    assert box.flush(0.0)
    assert box.close(0.0)


def test_full_mailbox_drops_and_counts(gate):
    """What finds no room is dropped and counted, and what was queued is still made."""
    box, seen = Mailbox("x", 3), []
    held_up(box, gate)

    taken = [box.post(lambda number=number: seen.append(number)) for number in range(5)]

    assert taken == [True, True, True, False, False]
    assert box.dropped == 2
    gate.set()
    assert box.close(PATIENCE)
    assert seen == [0, 1, 2]


def test_minor_calls_leave_half_of_the_room(gate):
    """A flood of minor calls leaves room for the others."""
    box = Mailbox("x", 4)
    held_up(box, gate)

    taken = [box.post(bool, minor=True) for _ in range(4)] + [box.post(bool) for _ in range(3)]

    assert taken == [True, True, False, False, True, True, False]
    gate.set()
    assert box.close(PATIENCE)


def test_flush_says_when_a_call_takes_too_long(gate):
    """`flush` gives up at its limit, also when the queue is empty but a call is still running."""
    box = Mailbox("x", 4)
    held_up(box, gate)

    assert not box.flush(0.0)

    gate.set()
    assert box.flush(PATIENCE)
    assert box.close(PATIENCE)


def test_close_drops_what_a_hanging_call_holds_up(gate):
    """`close` returns at its limit, and what waited behind the hanging call is counted and never made."""
    box, seen = Mailbox("x", 4), []
    held_up(box, gate)
    box.post(lambda: seen.append("late"))

    assert not box.close(0.0)

    assert box.dropped == 1
    gate.set()
    assert box.flush(PATIENCE)
    assert seen == []


def test_closed_mailbox_takes_nothing():
    """After `close`, which may be called twice, calls are counted as dropped."""
    box = Mailbox("x", 4)
    assert box.close(0.0)

    assert box.close(0.0)
    assert not box.post(bool)
    assert box.dropped == 1


def test_close_ends_the_thread():
    """A mailbox that was drained leaves no thread behind."""
    box = Mailbox("thread that ends", 4)
    box.post(bool)

    assert box.close(PATIENCE)

    assert "plugin thread that ends" not in {thread.name for thread in threading.enumerate()}
