"""Groups of pictures that are kept only once they are vouched for, and when an accelerator is compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.testing import FakeClock
from edge_agent.vision.extraction import Extraction
from edge_agent.vision.vouching import EVERY_PICTURES, EVERY_SECONDS, GROUP, SLOW_GROUP, Schedule, vouched


class Looker:
    """Looks as an engine would; an accelerator is lost at the calls that are told."""

    def __init__(self, lost_at=(), seconds=0.0, fails_at=0):
        self.losses, self.calls = 0, []
        self._lost_at, self._seconds, self._fails_at = lost_at, seconds, fails_at

    def look(self, jobs, *, check) -> Iterator[Extraction]:
        taken = list(jobs)
        self.calls.append(len(taken))
        for _key, fd, _variant in taken:
            os.close(fd)
        if len(self.calls) == self._fails_at:
            raise RuntimeError("no accelerator, no answer")
        assert check == len(taken)
        self.losses += len(self.calls) in self._lost_at
        by = np.full(1, len(self.calls), np.float32)
        for key, _fd, _variant in taken:
            yield Extraction(key, "", by, 1, 1, None, permanent=True, seconds=self._seconds)


@pytest.fixture(name="jobs")
def _jobs(tmp_path):
    """Jobs whose descriptors must all be closed in the end."""
    (tmp_path / "picture").touch()
    opened = []

    def jobs(count: int):
        for key in range(count):
            opened.append(os.open(tmp_path / "picture", os.O_RDONLY))
            yield key, opened[-1]

    before = set(Path("/proc/self/fd").iterdir())
    yield jobs
    assert opened
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_pictures_are_vouched_for_in_groups(jobs):
    """The first group is small; the next ones are larger where pictures are quick. All come in order."""
    quick, slow = Looker(), Looker(seconds=0.5)

    assert [one.key for one in vouched(quick, jobs(40))] == list(range(40))
    assert [one.key for one in vouched(slow, jobs(10))] == list(range(10))
    assert quick.calls == [SLOW_GROUP, GROUP, GROUP, 40 - SLOW_GROUP - 2 * GROUP]
    assert slow.calls == [SLOW_GROUP, SLOW_GROUP, 2]


def test_a_group_in_which_an_accelerator_was_lost_is_looked_at_again(jobs):
    """Nothing of what was seen then is given out."""
    looker = Looker(lost_at=(2, 3))

    seen = list(vouched(looker, jobs(24)))

    assert [one.key for one in seen] == list(range(24))
    assert looker.calls == [4, 16, 4, 4, 16]
    assert {int(one.features[0]) for one in seen} == {1, 4, 5}


def test_every_file_is_closed_whatever_happens(jobs):
    """Also where the engine gives up, or whoever asked does."""
    with pytest.raises(RuntimeError, match="no answer"):
        list(vouched(Looker(fails_at=2), jobs(40)))
    some = vouched(Looker(), jobs(40))
    next(some)
    some.close()


def test_the_first_picture_and_then_now_and_then_one_is_compared():
    """After so many pictures or so long; one that is to be vouched for counts as well."""
    clock = FakeClock()
    schedule = Schedule(clock)

    asked = [schedule.ask(check=False) for _ in range(2 * EVERY_PICTURES + 3)]
    assert [number for number, one in enumerate(asked) if one] == [
        0,
        EVERY_PICTURES + 1,
        2 * EVERY_PICTURES + 2,
    ]
    clock.advance(EVERY_SECONDS)
    assert [schedule.ask(check=False), schedule.ask(check=False), schedule.ask(check=True)] == [
        True,
        False,
        True,
    ]


def test_what_may_be_wrong_is_counted():
    """From the last comparison that agreed."""
    clock = FakeClock()
    schedule = Schedule(clock)

    assert schedule.answered(0.995, 0.99) == ""
    for _ in range(7):
        assert schedule.answered(None, 0.99) == ""
    clock.advance(12.0)
    told = schedule.answered(0.5, 0.99)

    assert told == (
        "gave other features: cosine 0.500, at least 0.99 is asked for; 7 answers since the last comparison, 12 s ago,"
        " may be wrong"
    )
    assert "nan" in schedule.answered(float("nan"), 0.99)
