"""Telling one thread what happens on another."""

from __future__ import annotations

import threading

from edge_agent.ml.streams import Stream


def test_listeners_hear_all_in_order_whenever_they_come() -> None:
    """One that comes late gets the earlier values first."""
    stream: Stream[int] = Stream()
    early: list[int] = []
    late: list[int] = []

    stream.sink(early.append)
    stream.send(1)
    stream.send(2)
    stream.sink(late.append)
    stream.send(3)

    assert early == late == [1, 2, 3]
    assert stream.values == (1, 2, 3)


def test_iterating_waits_for_the_next_and_ends_with_the_stream() -> None:
    """A reader on another thread sees everything, also what was sent before it began."""
    stream: Stream[int] = Stream()
    stream.send(0)
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(stream))
    reader.start()

    for value in range(1, 100):
        stream.send(value)
    stream.close()
    reader.join(10)

    assert seen == list(range(100))
    assert list(stream) == seen
