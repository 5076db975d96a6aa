"""Nobody hears warnings while pictures are decoded, and everybody does afterwards."""

from __future__ import annotations

import itertools
import threading
import warnings

import pytest

from edge_agent.vision.silence import Silence

SECONDS = 30.0


class Visitor:
    """A thread that goes in and out as it is told."""

    def __init__(self, silence: Silence) -> None:
        self._silence = silence
        self._steps = [threading.Event(), threading.Event()]
        self._done = [threading.Event(), threading.Event()]
        self._thread = threading.Thread(target=self._visit, daemon=True)
        self._thread.start()

    def go(self, step: int) -> None:
        """Have it go in (0) or out (1), and wait until it has."""
        self._steps[step].set()
        assert self._done[step].wait(SECONDS)

    def _visit(self) -> None:
        self._steps[0].wait(SECONDS)
        with self._silence:
            self._done[0].set()
            self._steps[1].wait(SECONDS)
        self._done[1].set()


@pytest.mark.parametrize("leaving", list(itertools.permutations(range(3))))
def test_filters_are_as_before_when_the_last_one_is_done(leaving: tuple[int, ...]) -> None:
    """In whatever order threads that overlap are done: quiet while one is inside, and then as it was, twice over."""
    silence = Silence()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        for _ in range(2):
            visitors = [Visitor(silence) for _ in range(3)]
            for visitor in visitors:
                visitor.go(0)
            for number in leaving:
                warnings.warn("a picture is odd", UserWarning, stacklevel=1)
                assert not heard
                visitors[number].go(1)
            assert warnings.filters == before

        warnings.warn("something else", UserWarning, stacklevel=1)

    assert [str(warning.message) for warning in heard] == ["something else"]


def test_filters_are_as_before_after_a_refusal() -> None:
    """An error passes through and leaves nothing changed."""
    silence = Silence()
    before = list(warnings.filters)

    with pytest.raises(ValueError, match="damaged"), silence:
        raise ValueError("damaged")

    assert warnings.filters == before
