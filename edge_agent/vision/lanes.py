"""This is where pictures are worked on side by side in the engine process, and leave in the order in which they came.

Whoever waits for the next picture also works on it and sends its answer: with nobody to hand it on to, a single one
is as fast as in one thread.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from edge_agent.vision import wire

Result = TypeVar("Result")


class Lanes(Generic[Result]):
    """Threads, one for each picture that may be in work at once.

    `work` makes a result of a message and its file, on any of them; `give` gets the results one at a time, in the
    order of the messages, and `end` is called once, when nobody asks any more. What `work` or `give` raise ends the
    process: an answer that never comes would cost the agent its patience.
    """

    def __init__(
        self,
        connection: socket.socket,
        count: int,
        work: Callable[[wire.Picture, int], Result],
        give: Callable[[Result], None],
        end: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._work = work
        self._give = give
        self._end = end
        self._receiving = threading.Lock()
        self._tickets = itertools.count()
        self._giving = threading.Lock()
        self._made: dict[int, Result] = {}
        self._next = 0
        self._room = threading.Condition()
        self._busy = 0
        self._running = count

    def start(self) -> None:
        """Start the threads."""
        for number in range(self._running):
            threading.Thread(target=self._run, name=f"lane {number + 1}", daemon=True).start()

    def _run(self) -> None:
        finished = False
        try:
            self._serve()
            finished = True
        finally:
            if not finished:  # also by a `SystemExit`, which would end only this thread
                try:
                    traceback.print_exc()
                finally:  # also where nobody takes in what is printed
                    os._exit(1)
            with self._giving:
                self._running -= 1
                last = not self._running
            if last:
                self._end()

    def _serve(self) -> None:
        try:
            while True:
                with self._receiving:
                    received = wire.receive(self._connection)
                    if received is None:
                        return
                    message, _payload, fds = received
                    assert isinstance(message, wire.Picture)
                    self._enter(message.abreast)
                    ticket = next(self._tickets)
                try:
                    result = self._work(message, fds[0])
                finally:
                    self._leave()
                self._made_one(ticket, result)
        except (BrokenPipeError, ConnectionResetError):
            return  # the agent is gone; so is the reason to be here

    def _enter(self, abreast: int) -> None:
        """Wait until fewer than so many are in work."""
        with self._room:
            self._room.wait_for(lambda: self._busy < max(1, abreast))
            self._busy += 1

    def _leave(self) -> None:
        with self._room:
            self._busy -= 1
            self._room.notify()

    def _made_one(self, ticket: int, result: Result) -> None:
        """Give what can be given by now; who made the one that was waited for gives the others too."""
        with self._giving:
            self._made[ticket] = result
            while self._next in self._made:
                made = self._made.pop(self._next)
                # First: where the agent is gone, the next one finds that out for itself and ends as well.
                self._next += 1
                self._give(made)
