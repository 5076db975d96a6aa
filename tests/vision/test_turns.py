"""Threads take turns in the order in which they asked."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from edge_agent.vision.turns import Turns

SECONDS = 60.0


def test_who_asked_first_is_first() -> None:
    """Also when all of them wait at once, and never two at the same time."""
    turns, entered, inside = Turns(), [], []

    def work(number: int) -> None:
        with turns:
            inside.append(number)
            entered.append(number)
            assert inside == [number]
            inside.remove(number)

    threads = []
    with turns:
        for number in range(5):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            asked = number + 2  # with the one that holds it
            while turns._given < asked:
                threads[-1].join(0.001)

    for thread in threads:
        thread.join(SECONDS)
    assert entered == [0, 1, 2, 3, 4]


def test_a_turn_ends_with_an_error_too() -> None:
    """Nobody waits for one that has failed."""
    turns = Turns()
    for _ in range(2):
        with pytest.raises(ValueError, match="no picture"), turns:
            raise ValueError("no picture")

    thread = threading.Thread(target=turns.__enter__, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_who_is_interrupted_is_not_waited_for() -> None:
    """As by Ctrl-C while another thread decodes: the next one gets its turn."""

    class Interrupted(threading.Condition):
        def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:  # type: ignore[override]
            if threading.current_thread().name == "interrupted":
                raise KeyboardInterrupt
            return super().wait_for(predicate, timeout)

    turns = Turns()
    turns._changed = Interrupted()
    found: list[str] = []

    def work() -> None:
        try:
            with turns:
                found.append("in")
        except KeyboardInterrupt:
            found.append("interrupted")

    with turns:
        one = threading.Thread(target=work, name="interrupted")
        one.start()
        one.join(SECONDS)
        other = threading.Thread(target=work, daemon=True)
        other.start()
    other.join(SECONDS)

    assert found == ["interrupted", "in"]
