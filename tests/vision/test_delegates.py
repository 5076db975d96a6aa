"""Trying a delegate: what each way to fail looks like, in both runtimes, without harm to whoever tries it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import numpy as np
import pytest

from edge_agent.vision.canary import cosine
from edge_agent.vision.delegate_question import Question
from edge_agent.vision.delegate_spec import DelegateUse
from edge_agent.vision.delegate_verdict import ADVICE, DEATHS, Verdict
from edge_agent.vision.delegates import DelegateTrial


@pytest.fixture(name="attempt")
def _attempt(card, library) -> Callable[..., Verdict]:
    """Tries the test delegate with some options, on a model of 30 operators."""

    def attempt(*macros: str, pictures=(), seconds=20.0, path="", min_cosine=0.99, **options: str) -> Verdict:
        use = DelegateUse(name="test", library=path or str(library(*macros)), options=options)
        question = Question(
            card=card,
            use=use,
            runtime="auto",
            threads=1,
            repeats=3,
            pictures=pictures,
            memory_bytes=1 << 30,
        )
        return DelegateTrial(question, timeout_seconds=seconds, min_cosine=min_cosine).wait()

    return attempt


def test_a_delegate_that_works_takes_its_operators(attempt):
    """It computes the last step itself, to the CPU's numbers, and the runtime tells how much of the model it took."""
    verdict = attempt()

    assert verdict.code in ("ok", "not-faster")
    assert verdict.nodes == 1
    assert verdict.of_nodes > 25
    assert verdict.cosine > 0.9999
    assert verdict.ms_per_image > 0
    assert verdict.cpu_ms_per_image > 0
    assert verdict.load_seconds < 20
    assert verdict.memory_bytes >= 0


@pytest.mark.parametrize(
    ("macros", "options", "code", "says"),
    [
        (("CRASH_AT_LOAD",), {}, "crashed", "signal 11, while its library was loaded"),
        ((), {"fault": "crash-at-create"}, "crashed", "signal 11, while the delegate was made"),
        ((), {"fault": "crash-at-prepare"}, "crashed", "signal 11, while the model was given to it"),
        ((), {"fault": "crash-at-run", "at": "3"}, "crashed", "signal 11, while it ran the model"),
        ((), {"fault": "exit-at-create"}, "exited", "with status 3, while the delegate was made"),
        ((), {"fault": "exit-at-run", "at": "3"}, "exited", "with status 3, while it ran the model"),
        ((), {"fault": "refuse"}, "refused", "the test device is of another generation"),
        ((), {"fault": "refuse-silently"}, "refused-silently", ""),
        ((), {"file": "/nowhere/at/all"}, "refused", "the test device is gone"),
        ((), {"fault": "fail-at-run", "at": "3"}, "failed", "the test device is tired"),
        ((), {"fault": "leak"}, "too-much-memory", "it grew by "),
        (
            (),
            {"fault": "greedy-at-create"},
            "too-much-memory",
            "more than 1024 MB, while the delegate was made",
        ),
        ((), {"fault": "hang-at-run", "nap": "0.05"}, "not-faster", " ms a picture, the CPU "),
        ((), {"fault": "wrong-numbers"}, "wrong-numbers", "to the CPU's features, at least 0.99"),
        ((), {"fault": "takes-nothing"}, "takes-nothing", "0 of "),
    ],
)
def test_each_fault_has_its_reason(attempt, macros, options, code, says):
    """The verdict names what happened and in which step, and there is something to do about it."""
    verdict = attempt(*macros, **options)

    assert verdict.code == code
    assert says in verdict.detail
    assert verdict.advice


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"fault": "hang-at-create"}, "while the delegate was made"),
        ({"fault": "hang-at-run", "at": "3"}, "while it ran the model"),
    ],
)
def test_one_that_hangs_is_ended(attempt, options, where):
    """Also one that holds Python's lock, as a driver does that waits in `load_delegate`."""
    verdict = attempt(seconds=8.0, nap="60", **options)

    assert verdict.code == "hung"
    assert verdict.detail == f"it took more than 8 seconds, {where}"


def test_one_that_hangs_is_ended_although_nobody_asks(card, library):
    """Whoever began the trial may be gone; the system ends it then."""
    options = {"fault": "hang-at-create", "nap": "600"}
    use = DelegateUse(name="test", library=str(library()), options=options)
    question = Question(card=card, use=use, runtime="auto", threads=1, seconds=2)
    trial = DelegateTrial(question, min_cosine=0.99)
    try:
        assert trial._process.wait(60) == -signal.SIGALRM
    finally:
        trial.end()


def test_a_busy_board_is_not_held_against_a_delegate(attempt):
    """Where the CPU alone takes too long nothing was loaded, so it is no death."""
    verdict = attempt(seconds=0.01)

    assert verdict.code == "failed"
    assert verdict.detail == "the CPU did not get done within 0.01 seconds, so it was not tried"
    assert verdict.code not in DEATHS


def test_one_that_is_slow_to_start_is_waited_for(attempt):
    """A driver that loads firmware holds Python's lock for seconds; that is no fault."""
    verdict = attempt(fault="hang-at-create", nap="1")

    assert verdict.code in ("ok", "not-faster")
    assert verdict.load_seconds >= 1


def test_one_that_prints_without_end_holds_nobody_up(attempt):
    """Ten megabytes at each picture are mostly lost, and what is kept is short and of one line."""
    verdict = attempt(fault="flood-at-run")

    assert verdict.code in ("ok", "not-faster")
    assert 0 < len(verdict.words) <= 300
    assert verdict.words.isprintable()


def test_a_library_that_needs_another_one(attempt, tmp_path):
    """What the loader says is passed on; here the file is no library at all."""
    path = tmp_path / "libnot.so"
    path.write_bytes(b"\x7fELF" + bytes(200))

    verdict = attempt(path=str(path))

    assert verdict.code == "dependency-missing"
    assert "libnot.so" in verdict.detail


def test_a_library_for_a_newer_system(attempt, library, tmp_path):
    """That no other library would help is known by what the loader says of versions."""
    path = tmp_path / "libnewer.so"
    data = library().read_bytes()
    path.write_bytes(data.replace(b"GLIBC_2.2.5\0", b"GLIBC_9.9.9\0"))

    verdict = attempt(path=str(path))

    assert (verdict.code, "GLIBC_9.9.9" in verdict.detail) == ("system-too-old", True)
    assert "a newer release of the system" in verdict.advice


def test_the_owners_pictures_are_tried_too(attempt, tmp_path, photo):
    """Files that are no pictures are passed over."""
    (tmp_path / "photo.jpg").write_bytes(photo)
    (tmp_path / "text.jpg").write_text("not a picture")

    verdict = attempt(pictures=(str(tmp_path / "photo.jpg"), str(tmp_path / "text.jpg")))

    assert verdict.cosine > 0.9999


def test_the_cpu_alone_is_timed(card):
    """It is tried like the others, and agrees with itself."""
    question = Question(card=card, use=None, runtime="auto", threads=1, repeats=2)

    verdict = DelegateTrial(question, min_cosine=0.99).wait()

    assert verdict.code == "ok"
    assert verdict.ms_per_image == verdict.cpu_ms_per_image > 0


def test_a_trial_can_be_given_up(card, library):
    """Its process is gone then, and giving it up again does nothing."""
    use = DelegateUse(name="test", library=str(library()))
    trial = DelegateTrial(Question(card=card, use=use, runtime="auto", threads=1), min_cosine=0.99)

    trial.end()
    trial.end()

    assert trial._process.returncode is not None


def test_every_reason_has_something_to_do():
    """Only where all is well there is nothing to do."""
    assert [code for code, advice in ADVICE.items() if not advice] == ["ok"]
    assert len(ADVICE) >= 10


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 0.0], [2.0, 0.0], 1.0),
        ([1.0, 0.0], [0.0, 1.0], 0.0),
        ([1.0, 1.0], [-1.0, -1.0], -1.0),
        ([0.0, 0.0], [0.0, 0.0], 1.0),
        ([0.0, 0.0], [1.0, 0.0], 0.0),
    ],
)
def test_cosine(one, other, expected):
    """Of vectors of any length, also of none."""
    assert cosine(np.float32(one), np.float32(other)) == pytest.approx(expected)
