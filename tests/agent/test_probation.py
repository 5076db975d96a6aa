"""A version that misbehaves after it was published is taken back by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from edge_agent.agent.probation import TIMED
from edge_agent.agent.requests import Request
from edge_agent.config import Config, LearningConfig, UpdateConfig
from edge_agent.errors import MLModelError, NoModelError
from edge_agent.hookspecs import hookimpl
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.testing import FakeClock, drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


ROOT = Path(__file__).resolve().parents[2]


class MoodyHead(LDAHead):
    """Does as told once it knows foxes, or whatever makes it moody, and has answered so many pictures."""

    name = "moody"
    moody_about = "fox"
    mood = ""
    patience = 0
    clock: FakeClock
    odd_row: np.ndarray | None = None
    pace: ClassVar[dict[int, float]] = {}
    """Seconds that a version with so many labels takes."""

    def predict_proba(self, X: Any) -> np.ndarray:
        """Answer, misbehave, or take long."""
        kind = type(self)
        answer = super().predict_proba(X)
        if kind.odd_row is not None and np.array_equal(X[0], kind.odd_row):
            raise ZeroDivisionError
        kind.clock.advance(kind.pace.get(len(self.classes_), 0.0))
        if not kind.mood or kind.moody_about not in self.classes_:
            return answer
        kind.patience -= 1
        if kind.patience >= 0:
            return answer
        if kind.mood == "raises":
            raise IndexError("my own business")
        if kind.mood == "nan":
            return np.full_like(answer, np.nan)
        if kind.mood == "dies":
            os._exit(7)
        if kind.mood == "half":
            return answer / 2.0
        if kind.mood == "beyond":
            return np.eye(answer.shape[1])[:1] * 2.0 - 1.0 / answer.shape[1]
        if kind.mood == "shape":
            return answer[:, :1]
        if kind.mood == "library":
            raise MLModelError(next(iter(type(self).parameter_descriptions)).key, "wrong")  # type: ignore[arg-type]
        kind.clock.advance(float(kind.mood))
        return answer


class Heads:
    """A plugin that offers the moody head."""

    @hookimpl
    def register_heads(self, register: Callable[[type], None]) -> None:
        register(MoodyHead)


@pytest.fixture(autouse=True)
def _calm(bench: Bench) -> Iterator[None]:
    """Every test begins in a good mood."""
    MoodyHead.mood, MoodyHead.patience, MoodyHead.moody_about, MoodyHead.odd_row = "", 0, "fox", None
    MoodyHead.clock, MoodyHead.pace = bench.clock, {}
    yield
    MoodyHead.mood, MoodyHead.pace = "", {}


def start(bench: Bench, **update: Any) -> None:
    """An agent that learns with the moody head."""
    config = Config(learning=LearningConfig(head="moody"), update=UpdateConfig(**update))
    bench.open(config, extra=[("heads", Heads())])


def teach(bench: Bench, **things: int) -> None:
    """Drop pictures of each thing and let the agent come to rest."""
    for word, count in things.items():
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(count)])
    bench.settle()


def two_versions(bench: Bench, **update: Any) -> None:
    """Cats and dogs, then foxes too."""
    start(bench, **update)
    teach(bench, cat=6, dog=6)
    teach(bench, fox=6)
    assert bench.ask("status")["version"] == 2


@pytest.mark.parametrize(
    ("mood", "because"),
    [
        ("raises", "it failed with IndexError"),
        ("library", "it failed with MLModelError"),
        ("nan", "it answered no probabilities"),
        ("shape", "it answered no probabilities"),
        ("half", "it answered no probabilities"),
        ("beyond", "it answered no probabilities"),
    ],
)
def test_a_version_that_fails_is_taken_back(bench: Bench, tmp_path: Path, mood: str, because: str) -> None:
    """After its third picture; whoever asked is answered by the parent, and plugins, status and journal know."""
    two_versions(bench)
    MoodyHead.mood, MoodyHead.patience = mood, 3

    versions = [bench.predict(tmp_path, f"cat {90 + i}")["version"] for i in range(5)]

    assert versions == [2, 2, 2, 1, 1]
    assert ("version_rolled_back", (1, 2)) in bench.recorder.events
    status = bench.ask("status")
    assert status["version"] == 1
    assert status["taken_back"] == {
        "version": 2, "because": because, "instead": 1, "revision": status["taken_back"]["revision"],
    }  # fmt: skip
    assert status["probation"] is None
    bench.close()
    start(bench)
    assert bench.ask("status")["version"] == 1
    assert bench.ask("status")["taken_back"]["because"] == because
    last = bench.ask("status")["last_update"]
    assert (last["state"], last["version"]) == ("rolled_back", 2)
    assert "version 1 answers again" in last["message"]


def test_the_same_pictures_do_not_make_it_again(bench: Bench, tmp_path: Path) -> None:
    """Neither by itself nor after a restart; with one more picture, or when its owner insists, it is tried again."""
    two_versions(bench)
    MoodyHead.mood = "raises"
    bench.predict(tmp_path, "cat 90")
    MoodyHead.mood = ""

    bench.settle()
    answer = bench.ask("update")
    assert (answer["state"], bench.ask("status")["version"]) == ("nothing", 1)
    assert "version 2, made from the same samples, was taken back" in answer["message"]
    start(bench)
    bench.settle()
    assert bench.ask("status")["version"] == 1

    assert bench.ask("update", force=True)["version"] == 3
    MoodyHead.mood = "nan"
    assert bench.predict(tmp_path, "cat 91")["version"] == 1
    MoodyHead.mood = ""
    drop_texts(bench.drop, "fox", ["fox 77"])
    bench.settle()
    assert bench.ask("status")["version"] == 4
    assert bench.ask("status")["taken_back"] is None


def test_a_version_that_turns_slow_is_taken_back(bench: Bench, tmp_path: Path) -> None:
    """Five times its parent's time on the same pictures, in the median; one slow picture is nothing."""
    two_versions(bench)
    MoodyHead.mood = "0.5"
    assert bench.predict(tmp_path, "cat 90")["version"] == 2
    MoodyHead.mood = ""
    for i in range(TIMED):
        assert bench.predict(tmp_path, f"cat {100 + i}")["version"] == 2

    MoodyHead.mood = "0.1"
    versions = [bench.predict(tmp_path, f"dog {100 + i}")["version"] for i in range(TIMED)]

    assert versions[0] == 2
    assert versions[-1] == 1
    assert (
        "100 ms for a picture where the one before took 0.0 ms"
        in bench.ask("status")["taken_back"]["because"]
    )


@pytest.mark.parametrize(("mood", "about"), [("0.015", "fox"), ("0.1", "cat")])
def test_noise_and_slow_machines_take_nothing_back(
    bench: Bench, tmp_path: Path, mood: str, about: str
) -> None:
    """Below 20 ms nothing is slow, and where the parent takes as long it is not this version."""
    two_versions(bench)
    MoodyHead.mood, MoodyHead.moody_about = mood, about

    versions = {bench.predict(tmp_path, f"cat {100 + i}")["version"] for i in range(2 * TIMED + 1)}

    assert versions == {2}


@pytest.mark.parametrize(
    ("before", "now", "version"),
    [(0.03, 0.18, 1), (0.03, 0.12, 2), (0.001, 0.022, 1), (0.001, 0.018, 2)],
)
def test_slow_is_five_times_the_parent_and_more_than_20_ms(
    bench: Bench, tmp_path: Path, before: float, now: float, version: int
) -> None:
    """Six times is too slow and four times is not; below 20 ms no share is."""
    two_versions(bench)
    MoodyHead.pace = {2: before, 3: now}

    for i in range(TIMED):
        bench.predict(tmp_path, f"cat {100 + i}")

    assert bench.ask("status")["version"] == version


DYING = """
import pathlib, sys
from tests.agent.conftest import Bench
from tests.agent.test_probation import MoodyHead, start

folder = pathlib.Path(sys.argv[1])
(folder / "drop").rename(folder / sys.argv[2])
bench = Bench(folder)
MoodyHead.clock = bench.clock
start(bench)
MoodyHead.mood = "dies"
bench.predict(folder, "cat 99")
"""


@pytest.mark.parametrize(("deaths", "version"), [(1, 2), (2, 1)])
def test_a_version_that_kills_the_agent_is_taken_back(
    bench: Bench, tmp_path: Path, deaths: int, version: int
) -> None:
    """D3: Twice at its first picture, in its own process; once may be the power, and then it has proved itself."""
    two_versions(bench)
    bench.close()
    for death in range(deaths):
        done = subprocess.run(
            [sys.executable, "-c", DYING, str(tmp_path), f"before-{death}"],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 7, done.stderr

    start(bench)
    assert bench.predict(tmp_path, "cat 90")["version"] == version
    back = bench.ask("status")["taken_back"]
    if version == 1:
        assert back["because"] == "the agent ended 2 times while it answered its first picture"
        return
    assert back is None
    assert bench.agent is not None
    note = json.loads(bench.agent._open_stages.store.meta("probation") or "")
    assert (note["endings"], note["proved"]) == (0, True)


def test_a_picture_that_nobody_can_answer_is_not_the_versions_fault(bench: Bench, tmp_path: Path) -> None:
    """The parent fails on it too: the question fails, and the version stays."""
    from edge_agent.testing import fake_features

    two_versions(bench)
    MoodyHead.odd_row = fake_features(b"cat 666")[None, :][0]

    with pytest.raises(Exception, match="ZeroDivisionError"):
        bench.predict(tmp_path, "cat 666")
    assert bench.predict(tmp_path, "cat 1000")["version"] == 2


def test_a_damaged_parent_is_passed_over(bench: Bench, tmp_path: Path) -> None:
    """The newest older version that is sound answers."""
    start(bench)
    teach(bench, cat=6)
    teach(bench, dog=6)
    teach(bench, fox=6)
    for path in (bench.home / "models" / "versions" / "000002").rglob("*.npz"):
        path.write_bytes(b"not what was written")
    MoodyHead.mood = "raises"

    assert bench.predict(tmp_path, "cat 90")["version"] == 1
    assert bench.ask("status")["taken_back"]["instead"] == 1


def test_the_only_version_is_withdrawn_and_the_status_says_so(bench: Bench, tmp_path: Path) -> None:
    """No answer is better than one that cannot be relied on; a new picture makes another version."""
    start(bench)
    MoodyHead.moody_about = "cat"
    teach(bench, cat=6, dog=6)
    MoodyHead.mood = "nan"

    with pytest.raises(NoModelError, match="no other version"):
        bench.predict(tmp_path, "cat 90")
    bench.settle()
    status = bench.ask("status")
    assert (status["version"], status["state"]) == (None, "degraded")
    assert "version 1 was taken back" in status["trouble"]
    start(bench)
    assert "version 1 was taken back" in bench.ask("status")["trouble"]

    MoodyHead.mood = ""
    drop_texts(bench.drop, "cat", ["cat 77"])
    bench.settle()
    assert bench.predict(tmp_path, "cat 91")["version"] == 2
    assert bench.ask("status")["state"] == "ok"


def test_a_slow_only_version_stays(bench: Bench, tmp_path: Path) -> None:
    """There is nothing to hold it against, and a slow answer is an answer."""
    start(bench)
    MoodyHead.moody_about = "cat"
    teach(bench, cat=6, dog=6)
    MoodyHead.mood = "3.0"

    assert {bench.predict(tmp_path, f"cat {100 + i}")["version"] for i in range(TIMED + 2)} == {1}


@pytest.mark.parametrize("by", ["predictions", "seconds", "none", "owner"])
def test_probation_ends(bench: Bench, tmp_path: Path, by: str) -> None:
    """After so many pictures or seconds, at once where it is switched off, and when the owner goes back."""
    limits = {"probation_predictions": 0 if by == "none" else 3, "probation_seconds": 60.0}
    two_versions(bench, **limits)
    if by == "predictions":
        assert bench.ask("status")["probation"]["predictions_left"] == 3
        for i in range(3):
            bench.predict(tmp_path, f"cat {90 + i}")
    elif by == "seconds":
        bench.clock.advance(61.0)
    elif by == "owner":
        bench.ask("rollback", to=1)
        bench.ask("rollback", to=2)

    assert bench.ask("status")["probation"] is None
    MoodyHead.mood = "raises"
    with pytest.raises(Exception, match="IndexError"):
        bench.predict(tmp_path, "cat 99")
    assert bench.ask("status")["version"] == 2


def test_probation_outlives_a_restart(bench: Bench, tmp_path: Path) -> None:
    """Pulling the plug is no way to pass it; a note that cannot be read is passed over."""
    two_versions(bench)
    start(bench)
    assert bench.ask("status")["probation"]["version"] == 2
    MoodyHead.mood = "raises"
    assert bench.predict(tmp_path, "cat 99")["version"] == 1

    agent = bench.agent
    assert agent is not None
    agent._open_stages.store.set_meta("probation", json.dumps([1]))
    start(bench)
    assert bench.ask("status")["probation"] is None


class ThriftyHead(MoodyHead):
    """Answers every question in the same memory."""

    memory: ClassVar[dict[tuple[int, ...], np.ndarray]] = {}

    def predict_proba(self, X: Any) -> np.ndarray:
        """As its own answer, in memory that the next answer is written to."""
        answer = super().predict_proba(X)
        memory = self.memory.setdefault(answer.shape, np.empty_like(answer))
        memory[...] = answer
        return memory


def test_several_pictures_of_one_question(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets its own answer, also beside one that cannot be read, and by a head that answers in the same memory."""
    monkeypatch.setattr(sys.modules[__name__], "MoodyHead", ThriftyHead)
    ThriftyHead.clock = bench.clock
    two_versions(bench)
    assert bench.ask("status")["probation"]["version"] == 2

    fds = []
    for number, text in enumerate(("cat 91", "bad picture", "dog 91", "fox 91")):
        path = tmp_path / f"{number}.jpg"
        path.write_text(text)
        fds.append(os.open(path, os.O_RDONLY))
    answers = bench.ask("predict", names=["a", "b", "c", "d"], fds=fds)

    assert [answer["label"] for answer in answers] == ["cat", None, "dog", "fox"]


def test_guests_watch_nothing(bench: Bench, tmp_path: Path) -> None:
    """What members of the group ask is not counted, is written nowhere, and has no version taken back."""
    two_versions(bench)
    agent = bench.agent
    assert agent is not None
    stages = agent._open_stages
    before = (stages.store.meta("probation"), bench.ask("status")["probation"]["predictions_left"])

    def asked(text: str) -> Request:
        fd = os.memfd_create("picture")
        os.pwrite(fd, text.encode(), 0)
        request = Request("predict", {"names": [""]}, [fd], guest=True)
        agent.answer(request)
        return request

    assert asked("cat 99").reply.result()[0]["version"] == 2
    MoodyHead.mood = "raises"
    assert "IndexError" in str(asked("cat 98").reply.exception())

    after = (stages.store.meta("probation"), bench.ask("status")["probation"]["predictions_left"])
    assert after == before
    assert (bench.ask("status")["version"], list(stages.incoming._ranks)) == (2, [])
    assert stages.incoming._version is None
