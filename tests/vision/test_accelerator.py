"""The choice among accelerators and the CPU, with a clock that is told the time and trials whose outcome is known."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_agent.config import ExtractorConfig
from edge_agent.errors import EngineError
from edge_agent.testing import FakeClock
from edge_agent.vision.accelerator import FIRST_SECONDS, FORGIVEN_SECONDS, LONGEST_SECONDS, Accelerator
from edge_agent.vision.delegate_bench import MOST_DEATHS, DelegateBench
from edge_agent.vision.delegate_spec import DelegateSpec
from edge_agent.vision.delegate_verdict import Verdict
from edge_agent.vision.preprocessing import ExtractorCard, InputCard

GOOD = {"code": "ok", "ms_per_image": 2.0, "cpu_ms_per_image": 8.0, "cosine": 0.999, "load_seconds": 0.5}


class Trial:
    """A trial that is done when it is waited for, or asked a second time."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._asked = 0

    def poll(self) -> Verdict | None:
        self._asked += 1
        return self._verdict if self._asked > 1 else None

    def wait(self) -> Verdict:
        return self._verdict

    def end(self) -> None: ...


class Board(DelegateBench):
    """A bench on which each delegate comes out as it is told, and nothing is loaded."""

    outcomes: dict[str, dict[str, Any]]
    tried: list[str]

    def look(self, spec: DelegateSpec, *, afresh: bool = False) -> Verdict:
        told = self.outcomes[spec.name]
        if told["code"] in ("library-missing", "device-missing"):
            return msgspec.convert(told, Verdict)
        return super().look(spec, afresh=afresh)

    def try_out(self, spec: DelegateSpec, verdict: Verdict) -> Trial:
        self.tried.append(spec.name)
        return Trial(msgspec.convert(self.outcomes[spec.name], Verdict))


@pytest.fixture(name="make")
def _make(tmp_path, library):
    """An accelerator over delegates by name and outcome."""

    def make(
        config: ExtractorConfig | None = None, **outcomes: dict[str, Any]
    ) -> tuple[Accelerator, Board, FakeClock]:
        model = tmp_path / "model.tflite"
        model.write_bytes(b"a model")
        card = ExtractorCard(
            name="x",
            path=Path(model),
            sha256=hashlib.sha256(b"a model").hexdigest(),
            n_features=4,
            input=InputCard(width=4, height=4, mean=0.0, std=1.0),
        )
        clock = FakeClock()
        board = Board(card, config or ExtractorConfig(), monotonic=clock)
        board.outcomes, board.tried = outcomes, []
        specs = [DelegateSpec(name, (str(library()),), {"name": name}) for name in outcomes]
        return Accelerator(board, [DelegateSpec("cpu"), *specs]), board, clock

    return make


def settle(accelerator: Accelerator) -> str:
    """Go on until nothing is under way, as an engine does; what is served then."""
    accelerator.wanted()
    for _ in range(20):
        use = accelerator.tick()
        if use is not None:
            accelerator.served(use.name)
    return accelerator.use.name if accelerator.use else "cpu"


def test_the_fastest_that_agrees_is_chosen(make):
    """Figures decide, not the order in which plugins offer."""
    accelerator, board, _clock = make(
        slow=GOOD | {"ms_per_image": 5.0},
        fast=GOOD | {"ms_per_image": 1.0},
        liar=GOOD | {"code": "wrong-numbers", "ms_per_image": 0.1, "cosine": 0.4},
        away={"code": "library-missing"},
    )

    assert accelerator.wanted() is None
    assert settle(accelerator) == "fast"
    assert sorted(board.tried) == ["fast", "liar", "slow"]
    assert accelerator.fallback_reason is None


def test_a_board_on_which_nothing_was_to_be_expected_is_well(make):
    """Drivers that nobody installed are no reason to complain; a device that went missing is."""
    accelerator, _board, clock = make(coral={"code": "library-missing"}, gpu=GOOD | {"code": "not-faster"})
    assert settle(accelerator) == "cpu"
    assert accelerator.fallback_reason is None
    assert accelerator.next_look() == clock() + LONGEST_SECONDS

    accelerator, _board, clock = make(coral={"code": "device-missing", "detail": "no stick"})
    assert settle(accelerator) == "cpu"
    assert accelerator.fallback_reason == "coral: device missing: no stick"
    assert accelerator.next_look() <= clock() + 2 * FIRST_SECONDS


def test_one_that_is_named_need_not_be_fast(make):
    """Whoever names it wants it; what another one could do does not matter then."""
    accelerator, board, _clock = make(
        ExtractorConfig(delegate="mine"),
        mine=GOOD | {"code": "not-faster", "ms_per_image": 9.0},
        other=GOOD,
    )

    assert settle(accelerator) == "mine"
    assert board.tried == ["mine"]


def test_it_is_tried_again_after_twice_the_time_each_time(make):
    """5, 10, 20 seconds and so on, at most ten minutes; once it served for long, soon again."""
    accelerator, board, clock = make(stick=GOOD)
    assert settle(accelerator) == "stick"
    accelerator.failed("refused", "unplugged")
    accelerator.served("cpu")
    board.outcomes["stick"] = {"code": "refused", "detail": "unplugged"}
    waits = []
    for _ in range(10):
        due = accelerator.next_look()
        waits.append(due - clock())
        clock.now = due - 0.1
        before = len(board.tried)
        settle(accelerator)
        assert len(board.tried) == before
        clock.now = due
        settle(accelerator)
        assert len(board.tried) == before + 1
    assert waits == [min(FIRST_SECONDS * 2**number, LONGEST_SECONDS) for number in range(10)]

    board.outcomes["stick"] = GOOD
    clock.advance(LONGEST_SECONDS)
    assert settle(accelerator) == "stick"
    clock.advance(3000.0)
    accelerator.failed("refused", "unplugged again")
    assert accelerator.next_look() == clock() + FIRST_SECONDS


def test_a_start_is_given_the_time_that_loading_took(make):
    """Four times that, and ten seconds; nothing is known of one that was never tried."""
    accelerator, _board, _clock = make(stick=GOOD)
    assert accelerator.wanted() is None
    assert accelerator.start_seconds == 60.0
    settle(accelerator)

    assert accelerator.start_seconds == 10.0 + 4 * GOOD["load_seconds"]


@pytest.mark.parametrize(("seconds", "deaths"), [(3599.0, 2), (3600.0, 1)])
def test_deaths_are_counted_anew_after_an_hour_of_service(make, seconds, deaths):
    """One that dies now and then in a year is not switched off."""
    accelerator, board, clock = make(stick=GOOD)
    settle(accelerator)
    accelerator.failed("crashed", "signal 11")
    accelerator.served("cpu")
    clock.advance(FIRST_SECONDS)
    assert settle(accelerator) == "stick"

    clock.advance(seconds)
    accelerator.failed("crashed", "signal 11")

    spec = accelerator._specs["stick"]
    assert board.record(spec, board.look(spec)).deaths == deaths


def test_one_that_was_not_to_blame_is_back_at_once(make):
    """Its deaths are forgotten, and the next wait is as short as the first."""
    accelerator, board, clock = make(stick=GOOD)
    settle(accelerator)
    for _ in range(MOST_DEATHS):
        accelerator.failed("crashed", "signal 6")
        accelerator.served("cpu")
        assert accelerator.next_look() == clock() + FIRST_SECONDS
        accelerator.acquitted()
        assert accelerator.next_look() == clock()
        assert settle(accelerator) == "stick"
    spec = accelerator._specs["stick"]
    assert board.record(spec, board.look(spec)).deaths == 0


def test_another_accelerator_takes_over(make):
    """Where there are two, the CPU is the last resort."""
    accelerator, board, clock = make(first=GOOD | {"ms_per_image": 1.0}, second=GOOD)
    assert settle(accelerator) == "first"
    board.outcomes["first"] = {"code": "device-missing", "detail": "unplugged"}
    accelerator.failed("failed", "unplugged")
    accelerator.served("cpu")
    clock.advance(FIRST_SECONDS)

    assert settle(accelerator) == "second"
    assert [change.current for change in accelerator.changes] == ["first", "cpu", "second"]


def test_features_that_differ_are_never_mixed_with_the_cpus(make):
    """With a lower `min_cosine` a named one may be used; its features are of its own kind, and the CPU stays out."""
    config = ExtractorConfig(delegate="odd", min_cosine=0.9)
    accelerator, _board, _clock = make(config, odd=GOOD | {"cosine": 0.95})

    use = accelerator.wanted()
    assert (use.name, use.kind) == ("odd", "odd")
    accelerator.served("odd")
    accelerator.failed("crashed", "signal 11")
    assert not accelerator.cpu_may
    with pytest.raises(EngineError, match="the CPU's features would be of another kind"):
        accelerator.wanted()


def test_one_that_agrees_more_than_was_asked_for_has_the_cpu_stand_in(make):
    """Its features are of the CPU's kind, also while it is away and nothing is measured."""
    config = ExtractorConfig(delegate="odd", min_cosine=0.9)
    accelerator, board, clock = make(config, odd=GOOD)
    assert accelerator.wanted().kind == "cpu"
    accelerator.served("odd")
    accelerator.failed("crashed", "signal 11")
    assert accelerator.cpu_may
    assert accelerator.wanted() is None

    accelerator.served("cpu")
    board.outcomes["odd"] = {"code": "device-missing", "detail": "no stick"}
    clock.advance(FIRST_SECONDS)
    assert settle(accelerator) == "cpu"
    assert accelerator.cpu_may


def test_auto_takes_none_whose_features_differ(make):
    """Also with a lower `min_cosine`: nobody asked for that one by name."""
    _accelerator, board, _clock = make(ExtractorConfig(min_cosine=0.9), odd=GOOD)

    assert board.min_cosine == 0.99
    assert make(ExtractorConfig(delegate="odd", min_cosine=0.9), odd=GOOD)[1].min_cosine == 0.9


def test_strict_tries_at_once_and_never_takes_the_cpu(make):
    """Between two tries the error says why there is no answer."""
    accelerator, board, clock = make(ExtractorConfig(strict=True), stick={"code": "refused", "detail": "no"})

    for _ in range(3):
        with pytest.raises(EngineError, match=r"strict = true\): stick: refused: no"):
            accelerator.wanted()
    assert board.tried == ["stick"]
    board.outcomes["stick"] = GOOD
    clock.advance(FIRST_SECONDS)
    assert accelerator.wanted().name == "stick"


def test_an_accelerator_is_missed_where_it_was_asked_for_or_there(make):
    """Not where one would only have been welcome, and not while it is still tried."""
    named = ExtractorConfig(delegate="stick")
    accelerator, _board, _clock = make(named, stick=GOOD)
    accelerator.wanted()
    assert not accelerator.is_missed
    settle(accelerator)
    assert not accelerator.is_missed
    accelerator.failed("refused", "unplugged")
    accelerator.served("cpu")
    assert accelerator.is_missed

    away = {"code": "device-missing", "detail": "no stick"}
    for config, missed in ((named, True), (ExtractorConfig(), False)):
        accelerator, _board, _clock = make(config, stick=away)
        settle(accelerator)
        assert accelerator.fallback_reason
        assert accelerator.is_missed == missed


def test_closing_ends_what_is_under_way(make):
    """Also when nothing is."""
    accelerator, _board, _clock = make(stick=GOOD)
    accelerator.wanted()
    accelerator.tick()
    accelerator.close()
    accelerator.close()

    assert accelerator.next_look() is not None


def test_one_that_turns_wrong_again_and_again_is_left_alone(make):
    """It is tried again after a while, as one that died is; hours of good service do not take that back."""
    accelerator, _board, clock = make(stick=GOOD)
    for _ in range(MOST_DEATHS):
        clock.advance(LONGEST_SECONDS)
        assert settle(accelerator) == "stick"
        clock.advance(2 * FORGIVEN_SECONDS)
        accelerator.failed("turned-wrong", "gave other features")
        accelerator.served("cpu")
        assert accelerator.next_look() == clock() + FIRST_SECONDS

    clock.advance(LONGEST_SECONDS)
    assert settle(accelerator) == "cpu"
    assert "died or turned wrong 3 times; the last time turned wrong" in accelerator.fallback_reason
    clock.advance(10 * LONGEST_SECONDS)
    assert settle(accelerator) == "cpu"


@pytest.mark.parametrize("operator", ["edgetpu-custom-op", "ethos-u", "NeutronGraph", "DISPATCH_OP"])
def test_the_cpu_cannot_stand_in_for_a_compiled_model(make, operator):
    """A file with what only an accelerator can run has no other way, and nothing to be compared with."""
    _accelerator, board, _clock = make(stick=GOOD)

    assert board.cpu_can
    board.__dict__["custom_ops"] = frozenset({operator})
    assert not board.cpu_can
