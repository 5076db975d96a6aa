"""The engine with accelerators that fail in every way: each picture is answered."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from edge_agent.config import ExtractorConfig
from edge_agent.errors import EngineError
from edge_agent.testing import FakeClock
from edge_agent.vision import wire
from edge_agent.vision.accelerator import FIRST_SECONDS, Accelerator
from edge_agent.vision.delegate_bench import MOST_DEATHS, DelegateBench
from edge_agent.vision.delegate_records import DelegateRecords
from edge_agent.vision.delegate_spec import DelegateSpec
from edge_agent.vision.delegate_verdict import Verdict
from edge_agent.vision.engine import Engine
from edge_agent.vision.vouching import EVERY_SECONDS

NAMED = ExtractorConfig(delegate="test", timeout_seconds=3.0)
FIGURES = {"ms_per_image": 1.0, "cpu_ms_per_image": 2.0, "cosine": 1.0, "load_seconds": 0.1}


class Board:
    """An engine with one delegate, of which it is known already that it is fit."""

    def __init__(self, make_engine, card, spec, config, path=None, *, known=True, told_time=False, **more):
        self.clock = FakeClock()
        more |= {"monotonic": self.clock} if told_time else {}
        self.bench = DelegateBench(card, config, DelegateRecords(path), monotonic=self.clock)
        self.spec = spec
        if known:
            looked = self.bench.look(spec)
            self.bench.settled(spec, looked, Verdict(code="ok", **FIGURES))
        self.engine: Engine = make_engine(card=card, extractor=config, **more)
        self.engine.accelerator = self.accelerator = Accelerator(self.bench, [spec])

    def until(self, done: Callable[[], bool]) -> None:
        """Look again and again, as the agent does, until something holds."""
        for _ in range(2_000):
            self.engine.tick()
            if done():
                return
            successor, trial = self.engine._successor, self.accelerator._round
            if successor is not None:
                successor.wait()
            elif trial is not None:
                trial.advance(wait=True)
        raise AssertionError(f"not in 2,000 looks; {self.accelerator.found}")

    @property
    def serving(self) -> str:
        return self.engine.facts.delegate


@pytest.fixture(name="board")
def _board(make_engine, card, library) -> Callable[..., Board]:
    def make(options=(), *, macros=(), config=NAMED, **more) -> Board:
        spec = DelegateSpec(name="test", libraries=(str(library(*macros)),), options=dict(options))
        return Board(make_engine, card, spec, config, **more)

    return make


@pytest.fixture(name="looks")
def _looks(drop, photo) -> Callable[..., Iterator]:
    """Looks at so many copies of a photograph; all must be answered, alike, whoever answered."""

    def looks(engine: Engine, count: int) -> None:
        seen = list(engine.extract(drop(photo, key) for key in range(count)))
        assert [one.key for one in seen] == list(range(count))
        assert [one.error for one in seen] == [None] * count
        first = seen[0].features
        for one in seen:
            cosine = one.features @ first / np.linalg.norm(first) / np.linalg.norm(one.features)
            assert cosine > 0.999

    return looks


def test_a_delegate_that_is_known_to_be_fit_answers(board, looks):
    """Its name is in the facts, and its features count as the CPU's, with which they agree."""
    here = board()
    facts = here.engine.start()

    assert facts.delegate == "test"
    assert facts.fingerprint.endswith(":cpu")
    looks(here.engine, 3)
    assert here.accelerator.fallback_reason is None
    [change] = here.accelerator.changes
    assert (change.previous, change.current, change.is_fallback) == ("cpu", "test", False)


def test_one_that_was_never_tried_is_tried_while_the_cpu_answers(board, looks, caplog):
    """The first pictures are the CPU's; then the delegate takes over, between two pictures; nobody is warned."""
    here = board(known=False)

    assert here.engine.start().delegate == "cpu"
    assert here.accelerator.fallback_reason == "test: untried"
    looks(here.engine, 2)
    here.until(lambda: here.serving == "test")
    looks(here.engine, 2)
    assert here.accelerator.fallback_reason is None
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("crash-at-run", "signal 11"),
        ("exit-at-run", "exit status 3"),
        ("hang-at-run", "longer than 3 seconds"),
        ("fail-at-run", "the test device is tired"),
        ("flood-at-run", None),
    ],
)
def test_the_cpu_answers_the_picture_on_which_an_accelerator_fails(board, looks, fault, reason):
    """C5: no picture is lost or refused; who answers, and why, is told."""
    here = board({"fault": fault, "at": "3", "nap": "60"})
    here.engine.start()
    here.accelerator.changes.clear()

    looks(here.engine, 8)

    if reason is None:
        assert here.serving == "test"
        return
    assert here.serving == "cpu"
    [change] = here.accelerator.changes
    assert (change.previous, change.current, change.is_fallback) == ("test", "cpu", True)
    assert reason in change.reason
    assert reason in here.accelerator.fallback_reason


@pytest.mark.parametrize(
    ("macros", "options", "reason"),
    [
        (("CRASH_AT_LOAD",), {}, "signal 11"),
        ((), {"fault": "crash-at-create"}, "signal 11"),
        ((), {"fault": "crash-at-prepare"}, "signal 11"),
        ((), {"fault": "exit-at-create"}, "exit status 3"),
        ((), {"fault": "refuse"}, "of another generation"),
        ((), {"fault": "refuse-silently"}, "refused"),
    ],
)
def test_the_engine_starts_on_the_cpu_where_the_accelerator_does_not(board, looks, macros, options, reason):
    """C5: what was fit yesterday and fails today only costs a moment."""
    here = board(options, macros=macros)

    assert here.engine.start().delegate == "cpu"
    assert reason in here.accelerator.fallback_reason
    looks(here.engine, 2)


def test_a_hang_at_the_start_is_given_up(board, looks):
    """C5: how long loading takes is known, so that patience with it has an end; the CPU answers."""
    here = board({"fault": "hang-at-create", "nap": "60"})
    here.bench.start_seconds = 2.0

    assert here.engine.start().delegate == "cpu"
    assert "hung" in here.accelerator.fallback_reason
    looks(here.engine, 2)


def test_an_accelerator_that_vanishes_comes_back_by_itself(board, looks, tmp_path):
    """C5: unplugged, the CPU answers at once; plugged in again, it is back after the next look."""
    device = tmp_path / "device"
    device.touch()
    here = board({"file": str(device)})
    here.engine.start()
    looks(here.engine, 2)

    device.unlink()
    looks(here.engine, 3)
    assert here.serving == "cpu"
    assert "the test device is gone" in here.accelerator.fallback_reason

    here.engine.tick()
    assert here.engine.next_look() == here.clock() + FIRST_SECONDS
    here.clock.advance(FIRST_SECONDS)
    here.until(lambda: here.engine.next_look() > here.clock() + FIRST_SECONDS)
    assert here.engine.next_look() == here.clock() + 2 * FIRST_SECONDS
    looks(here.engine, 1)
    assert here.serving == "cpu"

    device.touch()
    here.clock.advance(2 * FIRST_SECONDS)
    here.until(lambda: here.serving == "test")
    looks(here.engine, 3)
    assert [change.current for change in here.accelerator.changes] == ["test", "cpu", "test"]
    assert here.accelerator.fallback_reason is None


def test_one_that_dies_three_times_is_left_alone_until_its_file_changes(board, looks, tmp_path):
    """C5: deaths are counted on the disk; another library of the same name begins anew."""
    here = board({"fault": "crash-at-run", "at": "60"}, path=tmp_path / "delegates.json")
    here.engine.start()
    for _ in range(MOST_DEATHS):
        here.until(lambda: here.serving == "test")
        looks(here.engine, 61)
        assert here.serving == "cpu"
        here.clock.advance(1000.0)
    here.until(lambda: here.accelerator.found["test"].code == "switched-off")

    assert "died or turned wrong 3 times" in here.accelerator.fallback_reason
    again = DelegateBench(here.bench.card, NAMED, DelegateRecords(tmp_path / "delegates.json"))
    assert again.look(here.spec).code == "switched-off"
    again.forgive(here.spec, again.look(here.spec))
    assert here.bench.look(here.spec).code == "untried"


def test_an_accelerator_is_not_blamed_for_a_picture_that_kills_decoders(board, drop, photo):
    """The CPU dies of it too: the picture is refused, the others are answered, and the accelerator is back."""
    here = board(worker_module="fragile_worker")
    here.engine.start()

    seen = list(here.engine.extract([drop(photo, 0), drop(b"ABORT\n" + photo, 1), drop(photo, 2)]))

    assert [one.key for one in seen if one.error is None] == [0, 2]
    assert "twice" in seen[1].error
    here.until(lambda: here.serving == "test")
    assert here.bench.record(here.spec, here.bench.look(here.spec)).deaths == 0


def test_what_an_accelerator_did_is_not_held_against_a_picture(board, drop, photo, tmp_path):
    """It has as many chances on the CPU as any other."""
    # Without the sandbox: this decoder counts its deaths in a file.
    config = msgspec.structs.replace(NAMED, sandbox="off")
    here = board(worker_module="fragile_worker", config=config)
    here.engine.start()
    # Once in company and once alone, or twice alone: then it is seen.
    moody = b"TIMES 2 %b\n" % str(tmp_path / "deaths").encode()

    [seen] = here.engine.extract([drop(moody + photo, 0)])

    assert seen.error is None
    assert (tmp_path / "deaths").read_text() == "xxx"


def test_an_accelerator_takes_over_between_two_pictures(board, drop, photo, caplog):
    """Those that are with the CPU are answered by it first; none has to be shown twice."""
    here = board(known=False)
    here.engine.start()
    under_way = here.engine.extract(drop(photo, key) for key in range(8))
    assert next(under_way).error is None

    here.until(lambda: here.engine._successor is not None and here.engine._successor.look() is not None)
    here.engine.tick()
    assert here.serving == "cpu"

    assert [one.error for one in under_way] == [None] * 7
    assert here.serving == "test"
    assert "is started again" not in caplog.text


@pytest.mark.slow
def test_an_engine_whose_accelerator_waits_for_ever_ends_without_its_agent(board, drop, photo):
    """The limit on computing time does not help against a library that sleeps, when nobody is left who is patient."""
    config = ExtractorConfig(delegate="test", timeout_seconds=0.1)
    # The first two runs are the start's, before and after it is shut in.
    here = board({"fault": "hang-at-run", "at": "3", "nap": "600"}, config=config)
    assert here.engine.start().delegate == "test"
    child = here.engine._child
    _key, fd = drop(photo)

    child.ask(wire.Picture(1), fd)
    os.close(fd)

    assert child._process.wait(60) == -signal.SIGALRM


def test_strict_means_no_answer_rather_than_a_slow_one(board, drop, photo):
    """Where the CPU may not answer, the reason is in the error."""
    config = ExtractorConfig(delegate="test", strict=True)
    here = board({"fault": "refuse"}, config=config)

    with pytest.raises(EngineError, match="of another generation"):
        here.engine.start()
    with pytest.raises(EngineError, match=r"the CPU may not \(strict = true\): test: refused"):
        here.engine.start()


def test_a_leak_is_stopped(board, looks):
    """C5: a process that grows by hundreds of megabytes is ended, and the CPU goes on."""
    here = board({"fault": "leak"})
    here.engine.start()

    looks(here.engine, 50)

    assert here.serving == "cpu"
    assert "too much memory" in here.accelerator.fallback_reason


def test_the_log_says_who_answers_and_why(board, looks, caplog):
    """A fallback is a warning, with the reason."""
    caplog.set_level(logging.INFO)
    here = board({"fault": "crash-at-run", "at": "3"})
    here.engine.start()
    looks(here.engine, 4)

    assert "test is chosen: 1.0 ms a picture, the CPU 2.0 ms, cosine 1.0000" in caplog.text
    assert "the engine on test crashed" in caplog.text


# ---------------------------------------------------------------------- one that turns wrong


def alike(seen, expected) -> list[bool]:
    """Of each picture, whether its features are those."""
    rows = [one.features / np.linalg.norm(one.features) for one in seen]
    return [bool(row @ expected.features / np.linalg.norm(expected.features) > 0.999) for row in rows]


@pytest.fixture(name="truth")
def _truth(make_engine, drop, photo):
    """What the CPU makes of the photograph."""
    [seen] = make_engine().extract([drop(photo)])
    return seen


def test_the_first_picture_of_an_accelerator_is_compared_with_the_cpus(board, looks):
    """C5: one that is wrong from the start of its service answers nothing: the CPU has the very first picture."""
    here = board({"fault": "wrong-numbers", "at": "3"})  # the first two runs are the start's

    here.engine.start()
    looks(here.engine, 3)

    assert here.serving == "cpu"
    assert here.accelerator.found["test"].code == "turned-wrong"
    assert "gave other features: cosine" in here.accelerator.fallback_reason
    assert [change.current for change in here.accelerator.changes] == ["test", "cpu"]


def test_one_that_turns_wrong_is_found_out_and_it_is_told_since_when(board, drop, photo, truth):
    """After a minute, or fifty pictures, the next one is compared; the CPU answers it and all that follow."""
    here = board({"fault": "wrong-numbers", "at": "7"}, told_time=True)  # two runs are the start's
    here.engine.start()
    answered = [*alike(here.engine.extract(drop(photo) for _ in range(4)), truth)]
    answered += alike(here.engine.extract(drop(photo) for _ in range(5)), truth)
    here.clock.advance(EVERY_SECONDS)
    answered += alike(here.engine.extract(drop(photo) for _ in range(3)), truth)

    assert answered == [True] * 4 + [False] * 5 + [True] * 3
    assert "8 answers since the last comparison, 60 s ago, may be wrong" in here.accelerator.fallback_reason


def test_features_that_are_kept_are_vouched_for_first(board, drop, photo, truth):
    """What is to be learned from is given out after a comparison only: not one wrong feature is among it."""
    here = board({"fault": "wrong-numbers", "at": "9"})
    here.engine.start()

    seen = list(here.engine.extract(((key, drop(photo)[1]) for key in range(20)), keep=True))

    assert [one.key for one in seen] == list(range(20))
    assert alike(seen, truth) == [True] * 20
    assert here.serving == "cpu"
