"""Several threads have features extracted at once, and get those of the one extractor there is at first."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from edge_agent.errors import ExtractorError
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.extractor_crew import IDLE_SECONDS, ExtractorCrew
from edge_agent.vision.preprocessing import ExtractorCard

SECONDS = 30.0
PIXELS = np.zeros((2, 2, 3), dtype=np.uint8)


class Family:
    """Extractors that say which one they are, each slow until it is let go, and no more than `most` of them."""

    def __init__(self, most: int = 9, error: type[Exception] = ExtractorError) -> None:
        self.most = most
        self.error = error
        self.made = 0
        self.refused = 0
        self.alive: set[int] = set()
        self.inside: list[int] = []
        self._condition = threading.Condition()
        self._goes: set[int] = set()
        self._is_open = False

    def first(self) -> FeatureExtractor:
        """The one that is there at first."""
        return _Member(self)  # type: ignore[return-value]

    def begin(self, crew: ExtractorCrew, threads: ThreadPoolExecutor, count: int = 1) -> list[Future[Any]]:
        """Have so many more extract, and wait until they do; they go on until `end`."""
        expected = len(self.inside) + count
        futures = [threads.submit(crew.extract, PIXELS) for _ in range(count)]
        with self._condition:
            assert self._condition.wait_for(lambda: len(self.inside) == expected, SECONDS)
        return futures

    def end(self, *numbers: int) -> None:
        """Let these finish what they do, and wait until they have."""
        with self._condition:
            self._goes |= set(numbers)
            self._condition.notify_all()
            assert self._condition.wait_for(lambda: not self._goes, SECONDS)

    def open(self) -> None:
        """Let all of them finish from now on."""
        with self._condition:
            self._is_open = True
            self._condition.notify_all()

    def wait(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        with self._condition:
            assert self._condition.wait_for(holds, SECONDS)

    def refuse(self) -> None:
        """There is no room for another one."""
        with self._condition:
            self.refused += 1
            self._condition.notify_all()
        raise self.error("there is no room")

    def work(self, number: int) -> None:
        """One of them extracts."""
        with self._condition:
            assert number not in self.inside, "two threads use one extractor"
            self.inside.append(number)
            self._condition.notify_all()
            assert self._condition.wait_for(lambda: self._is_open or number in self._goes, SECONDS)
            self._goes.discard(number)
            self.inside.remove(number)
            self._condition.notify_all()


class _Member:
    def __init__(self, family: Family) -> None:
        self._family = family
        self._number = family.made
        family.made += 1
        family.alive.add(self._number)

    def __del__(self) -> None:
        self._family.alive.discard(self._number)

    def extract(self, _pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self._family.work(self._number)
        return np.array([self._number], dtype=np.float32)

    def twin(self) -> _Member:
        if len(self._family.alive) >= self._family.most:
            self._family.refuse()
        return _Member(self._family)


@pytest.fixture(name="threads")
def _threads() -> Any:
    with ThreadPoolExecutor(6) as threads:
        yield threads


@pytest.fixture(name="given_back")
def _given_back(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows whenever memory is given back."""
    found: list[None] = []
    monkeypatch.setattr("edge_agent.vision.extractor_crew.give_back", lambda: found.append(None))
    return found


def one(crew: ExtractorCrew, family: Family, threads: ThreadPoolExecutor, number: int) -> None:
    """A picture while nothing else is with the crew, which this extractor is to look at."""
    (future,) = family.begin(crew, threads)
    family.end(number)
    assert future.result(SECONDS) == [number]


def test_features_of_twins_are_those_of_the_first(card: ExtractorCard) -> None:
    """Bit by bit, with a real model and four at once; a fingerprint names them all."""
    first = FeatureExtractor(card)
    rng = np.random.default_rng(7)
    pixels = [rng.integers(0, 256, (card.height, card.width, 3), dtype=np.uint8) for _ in range(40)]
    expected = [first.extract(picture) for picture in pixels]
    crew = ExtractorCrew(first)
    together = threading.Barrier(4)

    def extract(number: int) -> npt.NDArray[np.float32]:
        if number < 4:
            together.wait(SECONDS)
        return crew.extract(pixels[number])

    with ThreadPoolExecutor(4) as threads:
        features = list(threads.map(extract, range(len(pixels))))

    np.testing.assert_array_equal(features, expected)
    twin = first.twin()
    assert twin.fingerprint == first.fingerprint
    np.testing.assert_array_equal([twin.extract(picture) for picture in pixels], expected)


def test_a_twin_needs_no_file(card: ExtractorCard, tmp_path: Path) -> None:
    """The model's file may be gone by then, or out of reach."""
    path = Path(shutil.copy(card.path, tmp_path / "m.tflite"))
    first = FeatureExtractor(replace(card, path=path))
    path.unlink()

    pixels = np.full((card.height, card.width, 3), 90, dtype=np.uint8)
    np.testing.assert_array_equal(first.twin().extract(pixels), first.extract(pixels))


def test_twins_are_made_only_when_they_are_needed_at_once(threads: ThreadPoolExecutor) -> None:
    """One after the other all pictures go to the first; at once each has its own, and no more are made than that."""
    family = Family()
    crew = ExtractorCrew(family.first())

    for _ in range(5):
        one(crew, family, threads, 0)
    assert family.made == 1
    for _ in range(3):
        futures = family.begin(crew, threads, 3)
        assert sorted(family.inside) == [0, 1, 2]
        family.end(0, 1, 2)
        assert sorted(future.result(SECONDS)[0] for future in futures) == [0, 1, 2]

    assert family.made == 3
    one(crew, family, threads, 0)


def test_twins_go_when_they_are_not_needed(threads: ThreadPoolExecutor, given_back: list[None]) -> None:
    """From one look to the next without need of them, though the first works on; and come back when they are needed."""
    family = Family()
    crew = ExtractorCrew(family.first())
    family.begin(crew, threads, 3)
    family.end(0, 1, 2)

    assert crew.look() == IDLE_SECONDS
    assert family.alive == {0, 1, 2}
    one(crew, family, threads, 0)
    assert not given_back
    assert crew.look() == IDLE_SECONDS
    assert family.alive == {0}
    assert len(given_back) == 1
    assert crew.look() is None

    family.begin(crew, threads, 2)
    assert sorted(family.inside) == [0, 3]
    family.end(0, 3)


def test_a_twin_at_work_stays(threads: ThreadPoolExecutor) -> None:
    """Also when a picture takes longer than the patience with idle ones; it goes afterwards."""
    family = Family()
    crew = ExtractorCrew(family.first())
    futures = family.begin(crew, threads, 2)
    for _ in range(3):
        assert crew.look() == IDLE_SECONDS
    family.end(0, 1)
    assert sorted(future.result(SECONDS)[0] for future in futures) == [0, 1]

    assert crew.look() == IDLE_SECONDS
    assert family.alive == {0, 1}
    crew.look()
    assert family.alive == {0}


def test_memory_goes_back_when_there_is_nothing_to_do(
    threads: ThreadPoolExecutor, given_back: list[None]
) -> None:
    """Also where no twin was ever needed, once; and then nothing is looked at until the next picture."""
    family = Family()
    crew = ExtractorCrew(family.first())
    assert crew.look() is None

    for times in (1, 2):
        one(crew, family, threads, 0)
        assert crew.look() == IDLE_SECONDS
        assert crew.look() is None
        assert crew.look() is None
        assert len(given_back) == times


@pytest.mark.parametrize("error", [ExtractorError, MemoryError])
def test_where_there_is_no_room_the_others_go_on(threads: ThreadPoolExecutor, error: type[Exception]) -> None:
    """A picture for which no twin can be made waits for one that is there; nobody waits for ever."""
    family = Family(most=2, error=error)
    crew = ExtractorCrew(family.first())
    family.begin(crew, threads, 2)
    waiting = [threads.submit(crew.extract, PIXELS) for _ in range(3)]

    family.wait(lambda: family.refused > 0)
    family.open()

    assert all(future.result(SECONDS)[0] in (0, 1) for future in waiting)
    assert family.made == 2


def test_room_that_is_there_later_is_used(threads: ThreadPoolExecutor, given_back: list[None]) -> None:
    """Once twins are let go it is tried again, as after another program has taken and given back memory."""
    family = Family(most=1)
    crew = ExtractorCrew(family.first())
    family.begin(crew, threads)
    waiting = threads.submit(crew.extract, PIXELS)
    family.wait(lambda: family.refused > 0)
    family.end(0)
    family.wait(lambda: family.inside == [0])
    family.end(0)
    waiting.result(SECONDS)

    family.most = 2
    crew.look()
    crew.look()

    family.begin(crew, threads, 2)
    family.end(0, 1)
    assert given_back


def test_no_twin_is_made_without_room_for_it(threads: ThreadPoolExecutor) -> None:
    """Two pictures at once are looked at one after the other then, by the first."""
    family, asked = Family(), []

    def has_room() -> bool:
        asked.append(True)
        return False

    crew = ExtractorCrew(family.first(), has_room)
    family.begin(crew, threads)
    waiting = threads.submit(crew.extract, PIXELS)
    family.wait(lambda: bool(asked))
    family.end(0)
    family.wait(lambda: family.inside == [0])
    family.end(0)

    waiting.result(SECONDS)
    assert family.made == 1


def test_an_extractor_that_refuses_is_given_back(threads: ThreadPoolExecutor) -> None:
    """What it raises reaches the caller, and the next picture finds it free."""

    class Refusing(_Member):
        def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            super().extract(pixels)
            raise ExtractorError("not finite")

    family = Family(most=1)
    crew = ExtractorCrew(Refusing(family))  # type: ignore[arg-type]
    for _ in range(2):
        (future,) = family.begin(crew, threads)
        family.end(0)
        with pytest.raises(ExtractorError, match="not finite"):
            future.result(SECONDS)


@pytest.mark.parametrize("busy", [False, True])
def test_tending_ends_when_it_is_closed(threads: ThreadPoolExecutor, busy: bool) -> None:
    """At once, whether it waits for a picture or for the time to look; before it began as well."""
    family = Family()
    crew = ExtractorCrew(family.first())
    tending: Callable[[], threading.Thread] = lambda: threading.Thread(target=crew.tend, daemon=True)  # noqa: E731
    thread = tending()
    thread.start()
    if busy:
        family.begin(crew, threads, 2)
        family.end(0, 1)

    crew.close()
    thread.join(SECONDS / 10)
    late = tending()
    late.start()
    late.join(SECONDS / 10)

    assert not thread.is_alive()
    assert not late.is_alive()
