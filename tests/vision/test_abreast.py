"""As many pictures at once as cores that nobody else needs, found out without being a burden."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from edge_agent.config import ExtractorConfig
from edge_agent.testing import FakeClock
from edge_agent.vision.abreast import (
    AHEAD_SECONDS,
    LEAST_DEPTH,
    LOOK_SECONDS,
    MOST,
    MOST_DEPTH,
    REST_SECONDS,
    Abreast,
    busy_seconds,
    most_abreast,
)

AUTOMATIC = ExtractorConfig()


class Board:
    """Cores on which others keep `others` of them busy and the agent `own`; `errors` are raised first."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._whole = 1000.0
        self._mine = 100.0
        self._at = clock()
        self.others = 0.0
        self.own = 0.0
        self.errors: list[Exception] = []
        self.looks = 0

    def __call__(self, _pid: int) -> tuple[float, float]:
        now = self._clock()
        self._whole += (self.others + self.own) * (now - self._at)
        self._mine += self.own * (now - self._at)
        self._at = now
        self.looks += 1
        if self.errors:
            raise self.errors.pop()
        return self._whole, self._mine


@pytest.fixture(name="clock")
def _clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(name="board")
def _board(clock: FakeClock) -> Board:
    return Board(clock)


def abreast(
    clock: FakeClock, board: Board, *, cores: int = 4, config: ExtractorConfig = AUTOMATIC
) -> Abreast:
    """On so many cores."""
    return Abreast(config, monotonic=clock, cores=cores, busy=board)


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_a_setting_is_kept_to(clock: FakeClock, board: Board, threads: int) -> None:
    """What the owner says holds whatever others do, on however few cores, and nothing is looked at."""
    config = ExtractorConfig(threads=threads)
    it = abreast(clock, board, config=config, cores=2)
    board.others = 2.0

    for _ in range(5):
        assert it.look(1) == threads
        clock.advance(1.0)

    assert board.looks == 0
    assert most_abreast(config) == threads


def test_without_a_setting_there_are_no_more_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that this process may use count, and no more than four, which memory is for."""
    for cores, most in [({3}, 1), ({0, 1}, 2), (set(range(8)), MOST)]:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid, cores=cores: cores)
        assert most_abreast(AUTOMATIC) == most


@pytest.mark.parametrize(
    ("others", "own", "expected"),
    [
        (0.0, 0.0, 4),
        (0.0, 4.0, 4),
        (0.4, 3.6, 4),
        (1.0, 3.0, 4),
        (2.2, 1.8, 3),
        (3.0, 1.0, 2),
        (3.4, 0.6, 2),
        (3.6, 0.4, 1),
        (4.0, 0.0, 1),
        (40.0, 0.0, 1),
    ],
)
def test_one_more_than_the_cores_that_others_leave(
    clock: FakeClock, board: Board, others: float, own: float, expected: int
) -> None:
    """All cores where nobody else works, one more than are free where others do; its own work does not count."""
    it = abreast(clock, board)
    assert it.look(1) == 4
    board.others, board.own = others, own
    clock.advance(1.0)

    assert it.look(1) == expected
    assert it.now == expected


def test_cores_come_back(clock: FakeClock, board: Board) -> None:
    """Once others are done, all are used again."""
    it = abreast(clock, board)
    it.look(1)

    for board.others, expected in ((3.0, 2), (4.0, 1), (2.0, 3), (0.0, 4)):
        clock.advance(1.0)
        assert it.look(1) == expected


def test_one_core_needs_no_look(clock: FakeClock, board: Board) -> None:
    """There is nothing to decide."""
    it = abreast(clock, board, cores=1)

    assert [it.look(1) for _ in range(3)] == [1, 1, 1]
    assert board.looks == 0


@pytest.mark.parametrize("mute", [False, True])
def test_it_is_looked_at_now_and_then(clock: FakeClock, board: Board, mute: bool) -> None:
    """However many pictures there are, and also where the system does not say."""
    it = abreast(clock, board)
    if mute:
        board.errors = [OSError(13, "Permission denied") for _ in range(100)]

    for _ in range(64):  # a power of two, so that the times add up exactly
        assert it.look(1) == 4
        clock.advance(LOOK_SECONDS / 16)

    assert board.looks == 4


@pytest.mark.parametrize("error", [OSError(2, "No such file"), ValueError("no number"), IndexError("short")])
def test_where_the_system_does_not_say_all_stays(clock: FakeClock, board: Board, error: Exception) -> None:
    """What was decided holds, and nothing is concluded over a gap."""
    it = abreast(clock, board)
    it.look(1)
    board.others = 4.0
    clock.advance(1.0)
    assert it.look(1) == 1
    board.others = 0.0
    board.errors = [error]
    clock.advance(1.0)

    assert it.look(1) == 1
    clock.advance(1.0)
    assert it.look(1) == 1
    clock.advance(1.0)
    assert it.look(1) == 4


def test_a_system_that_says_nothing_at_first(clock: FakeClock, board: Board) -> None:
    """The first figures that there are have nothing to be compared with."""
    it = abreast(clock, board)
    board.errors = [OSError(2, "No such file")]
    it.look(1)
    clock.advance(1.0)

    assert it.look(1) == 4


def test_what_others_did_in_a_pause_does_not_count(clock: FakeClock, board: Board) -> None:
    """They may have begun or ended: the last decision holds until it was looked again for a while."""
    it = abreast(clock, board)
    it.look(1)
    board.others = 4.0
    it.answered(0.1, rests=True)
    clock.advance(1.0)
    assert it.look(1) == 4
    assert board.looks == 1  # and a picture that comes alone costs none
    clock.advance(1.0)
    assert it.look(1) == 4
    clock.advance(1.0)

    assert it.look(1) == 1


def test_a_short_pause_is_none(clock: FakeClock, board: Board) -> None:
    """While a batch is stored the engine may have nothing to do; what others do counts all the same."""
    it = abreast(clock, board)
    it.look(1)
    board.others = 4.0
    for _ in range(16):
        it.answered(0.1, rests=True)
        clock.advance(REST_SECONDS / 2)
        it.look(1)

    assert it.now == 1


def test_another_process_is_looked_at_afresh(clock: FakeClock, board: Board) -> None:
    """The seconds of a process that was started again cannot be compared with those of the old one."""
    it = abreast(clock, board)
    it.look(1)
    board.others = 4.0
    clock.advance(1.0)

    assert it.look(2) == 4
    clock.advance(1.0)
    assert it.look(2) == 1


@pytest.mark.parametrize("threads", [1, 2, 4, 64])
def test_more_quick_pictures_than_slow_ones_are_underway(
    clock: FakeClock, board: Board, threads: int
) -> None:
    """So few slow ones that a question does not wait long, so many quick ones that nobody waits for the agent."""
    it = abreast(clock, board, config=ExtractorConfig(threads=threads))
    depths = []
    for seconds in (1.0, AHEAD_SECONDS, 0.05, 0.02, 0.0):
        for _ in range(200):
            it.answered(seconds)
        depths.append(it.depth)

    assert depths == sorted(depths)
    assert depths[0] == min(MOST_DEPTH, max(LEAST_DEPTH, threads + 2))
    assert depths[-1] == MOST_DEPTH


BUSY = """
import sys, time
print(flush=True)
sys.stdin.readline()
end = time.process_time() + 0.3
while time.process_time() < end: pass
print(flush=True)
sys.stdin.read()
"""


def test_the_real_figures_count_a_busy_child_once() -> None:
    """What the engine's process computes is part of all the work, and is the agent's own; idle cores do no work."""
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdout.readline()
            mine = time.process_time()
            whole, own = busy_seconds(child.pid)
            child.stdin.write("\n")
            child.stdin.flush()
            child.stdout.readline()
            more_whole, more_own = busy_seconds(child.pid)
            mine = time.process_time() - mine
            elapsed = time.monotonic() - started
        finally:
            child.kill()

    ticks = 8 / os.sysconf("SC_CLK_TCK")
    assert 0.3 - ticks < more_own - own < 0.4 + mine + ticks
    assert more_own - own - ticks < more_whole - whole < (os.cpu_count() or 1) * elapsed + ticks


def test_a_process_that_is_gone_cannot_be_looked_at() -> None:
    """As when the engine ended between two pictures."""
    with subprocess.Popen(["true"]) as child:
        pass

    with pytest.raises(OSError, match="No such file"):
        busy_seconds(child.pid)
