"""Pictures are worked on side by side and leave as they came, whatever becomes of some of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from edge_agent.vision import wire
from edge_agent.vision.lanes import Lanes

SECONDS = 30.0
"""The longest that anything here is waited for."""

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture(name="ends")
def _ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        with ours:
            yield ours, theirs
        assert lanes_left() == 0


def lanes_left() -> int:
    """How many lanes of this process still run, once those that are about to end have."""
    lanes = [thread for thread in threading.enumerate() if thread.name.startswith("lane ")]
    for lane in lanes:
        lane.join(SECONDS)
    return sum(lane.is_alive() for lane in lanes)


class Kitchen:
    """Lanes that work on pictures until a test lets them, and what was given and when it was over."""

    def __init__(self, ends: Ends, count: int, *, held: bool = True) -> None:
        self._ours = ends[0]
        self._condition = threading.Condition()
        self._ready: set[int] = set()
        self._held = held
        self.inside: set[int] = set()
        """Numbers that are in work."""
        self.most = 0
        self.given: list[int] = []
        self.over: list[list[int]] = []
        """What had been given, for each time that it was over."""
        self._lanes = Lanes(ends[1], count, self._work, self._give, self._end)
        self._lanes.start()

    def order(self, *numbers: int, abreast: int) -> None:
        """Send so many pictures."""
        with open(os.devnull, "rb") as file:  # noqa: PTH123
            for number in numbers:
                wire.send(self._ours, wire.Picture(number, abreast=abreast), fd=file.fileno())

    def finish(self, *numbers: int) -> None:
        """Let these be ready, and wait until they have left their lane's hands."""
        with self._condition:
            self._ready |= set(numbers)
            self._condition.notify_all()
        self.wait(lambda: not self.inside & set(numbers))

    def wait(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        with self._condition:
            assert self._condition.wait_for(holds, SECONDS)

    def _work(self, message: wire.Picture, fd: int) -> int:
        os.close(fd)
        with self._condition:
            self.inside.add(message.number)
            self.most = max(self.most, len(self.inside))
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._held or message.number in self._ready, SECONDS)
            self.inside.discard(message.number)
            self._condition.notify_all()
        return message.number

    def _give(self, number: int) -> None:
        with self._condition:
            self.given.append(number)
            self._condition.notify_all()

    def _end(self) -> None:
        with self._condition:
            self.over.append(list(self.given))
            self._condition.notify_all()


def test_results_leave_in_the_order_of_the_messages(ends: Ends) -> None:
    """What is ready before the one ahead of it waits for that one, and then leaves at once."""
    kitchen = Kitchen(ends, 3)
    kitchen.order(1, 2, 3, 4, abreast=3)
    kitchen.wait(lambda: kitchen.inside == {1, 2, 3})

    kitchen.finish(3)
    kitchen.wait(lambda: kitchen.inside == {1, 2, 4})
    kitchen.finish(2)
    assert kitchen.given == []
    kitchen.finish(1)
    kitchen.wait(lambda: kitchen.given == [1, 2, 3])
    kitchen.finish(4)

    kitchen.wait(lambda: kitchen.given == [1, 2, 3, 4])


@pytest.mark.parametrize(("abreast", "most"), [(0, 1), (1, 1), (2, 2), (3, 3), (9, 4)])
def test_as_many_are_in_work_at_once_as_is_said(ends: Ends, abreast: int, most: int) -> None:
    """So many and no more, but never fewer than one nor more than there are lanes."""
    kitchen = Kitchen(ends, 4)
    kitchen.order(*range(12), abreast=abreast)

    for number in range(12):
        kitchen.wait(lambda: len(kitchen.inside) >= min(most, 12 - number))  # noqa: B023
        kitchen.finish(number)

    kitchen.wait(lambda: kitchen.given == list(range(12)))
    assert kitchen.most == most


def test_fewer_are_begun_once_fewer_are_asked_for(ends: Ends) -> None:
    """The picture that comes says how many may be in work, so those before it are waited for."""
    kitchen = Kitchen(ends, 4)
    kitchen.order(0, 1, 2, abreast=3)
    kitchen.wait(lambda: kitchen.inside == {0, 1, 2})
    kitchen.order(3, abreast=1)

    kitchen.finish(0, 1)
    assert kitchen.inside == {2}
    kitchen.finish(2)

    kitchen.wait(lambda: kitchen.inside == {3})
    kitchen.finish(3)
    assert kitchen.most == 3


@pytest.mark.parametrize("count", [1, 4])
def test_the_end_is_told_once_after_everything(ends: Ends, count: int) -> None:
    """When the other side closes, what it had asked for is given first, and then it is over, once."""
    kitchen = Kitchen(ends, count, held=False)
    kitchen.order(*range(20), abreast=count)

    ends[0].close()

    kitchen.wait(lambda: bool(kitchen.over))
    assert kitchen.over == [list(range(20))]
    assert lanes_left() == 0
    assert len(kitchen.over) == 1


def test_a_broken_connection_ends_all_lanes(ends: Ends) -> None:
    """Where nobody takes results any more, each lane stops at its next one, and no file is left open."""
    ours, theirs = ends
    over = threading.Semaphore(0)
    given: list[int] = []
    gate = threading.Barrier(3)
    broken = threading.Event()

    def work(message: wire.Picture, fd: int) -> int:
        os.close(fd)
        if message.number < 2:
            gate.wait(SECONDS)
        else:
            broken.wait(SECONDS)
        return message.number

    def give(number: int) -> None:
        given.append(number)
        broken.set()
        theirs.send(b"a result")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    lanes = Lanes(theirs, 2, work, give, over.release)
    with open(os.devnull, "rb") as file:  # noqa: PTH123
        for number in range(16):
            wire.send(ours, wire.Picture(number, abreast=2), fd=file.fileno())
    lanes.start()
    ours.shutdown(socket.SHUT_RD)
    gate.wait(SECONDS)

    assert over.acquire(timeout=SECONDS)
    assert lanes_left() == 0
    assert not over.acquire(blocking=False)
    assert len(given) == 2
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


CHILD = """
import os, socket, sys, threading
from edge_agent.vision import wire
from edge_agent.vision.lanes import Lanes
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
def work(message, fd):
    if "work" in sys.argv:
        raise {"SystemExit": SystemExit, "LookupError": LookupError}[sys.argv[1]](0)
    return 1
def give(result):
    raise {"SystemExit": SystemExit, "LookupError": LookupError}[sys.argv[1]](0)
if "deaf" in sys.argv:
    os.set_blocking(2, False)
    try:
        while True:
            os.write(2, b"x" * 4096)
    except BlockingIOError:
        pass
Lanes(theirs, 2, work, give, lambda: None).start()
wire.send(ours, wire.Picture(1, abreast=2), fd=0)
threading.Event().wait()
"""


@pytest.mark.parametrize("place", ["work", "give"])
@pytest.mark.parametrize("error", ["LookupError", "SystemExit"])
def test_a_mistake_ends_the_process(place: str, error: str) -> None:
    """Whatever is raised in a lane, also what would end only its thread, is printed and ends the process as failed."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, error, place],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert f"{error}: 0" in done.stderr


def test_a_mistake_that_cannot_be_printed_ends_the_process() -> None:
    """Where what is printed goes nowhere, because nobody takes it in, the process ends all the same."""
    ear, mouth = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, "LookupError", "work", "deaf"],
            stdin=subprocess.DEVNULL,
            stderr=mouth,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process:
            try:
                assert process.wait(SECONDS) == 1
            finally:
                process.kill()
    finally:
        os.close(ear)
        os.close(mouth)
