"""The extractor changes while the agent runs: versions answer with their own, and the gate decides on the next."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from edge_agent.agent.extractors import BUILT_IN, keep_extractor, read_choice
from edge_agent.agent.home import Home
from edge_agent.agent.sight import Sight
from edge_agent.config import Config, ExtractorConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.errors import EngineError, NoModelError, NotFoundError, UserError
from edge_agent.testing import FakeEngine, drop_texts
from edge_agent.vision.engine import EngineFacts, Extraction
from edge_agent.vision.preprocessing import ExtractorCard, fingerprint_start, load_card

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


class OwnEyes(FakeEngine):
    """Sees with its own card: features of `mirror` are turned round, those of `blind` are noise.

    `moody` fails for ever at `cat 1`.
    """

    tries = 0
    """How often one was to start whose file is not there."""
    all_broken = False
    """Whether none of them starts."""

    def __init__(
        self, card: ExtractorCard, *more: Any, monotonic: Callable[[], float], fingerprint: str
    ) -> None:
        super().__init__(
            card, *more, monotonic=monotonic, fingerprint=f"{fingerprint_start(card)}{fingerprint}"
        )
        self.card, self.ended = card, False

    def start(self) -> EngineFacts:
        if self.card.name == "broken":
            raise EngineError("no such operator")
        if OwnEyes.all_broken or not self.card.path.exists():
            OwnEyes.tries += 1
            raise EngineError(f"{self.card.path}: cannot be read")
        if self.ended:
            raise EngineError("the engine is closed")
        return super().start()

    def extract(
        self, jobs: Iterable[Any], *, keep: bool = False, digest: bool = True
    ) -> Iterator[Extraction]:
        self.start()
        return super().extract(jobs)

    def _look(self, key: object, data: bytes, variant: str = "") -> Extraction:
        seen = super()._look(key, data, variant)
        if seen.features is None:
            return seen
        if self.card.name == "moody" and data == b"cat 1":
            return Extraction(
                **{**seen.__dict__, "features": None, "error": "not finite numbers", "permanent": False}
            )
        features = seen.features
        if self.card.name == "mirror":
            features = features[::-1].copy()
        if self.card.name == "blind":
            features = np.random.default_rng(list(data)).exponential(size=len(features)).astype(np.float32)
        return Extraction(**{**seen.__dict__, "features": features})

    def close(self) -> None:
        self.ended = True
        super().close()


@pytest.fixture(name="running")
def _running(bench: Bench) -> Bench:
    """An agent that learned eight cats and dogs each, and four extractors that were added."""
    bench.engine_class = OwnEyes
    home = Home(bench.home)
    home.make()
    for name in ("mirror", "blind", "broken", "moody"):
        data = json.loads(CARD_PATH.read_bytes()) | {"name": name, "file": f"{name}.tflite"}

        def fill(folder: Path, name: str = name, data: dict[str, Any] = data) -> None:
            (folder / f"{name}.json").write_text(json.dumps(data))
            (folder / f"{name}.tflite").write_bytes(b"")

        keep_extractor(home, name, fill)
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(8)])
    bench.settle()
    return bench


def answered(bench: Bench, folder: Path, text: str = "cat 99", **more: Any) -> tuple[str, int]:
    """Label and version of an answer."""
    said = bench.predict(folder, text, **more)
    return said["label"], said["version"]


def test_the_old_version_answers_with_its_own_extractor_until_the_new_one_is_published(
    running: Bench, tmp_path: Path
) -> None:
    """No question is refused on the way; afterwards the process of the old extractor is ended."""
    agent = running.agent
    assert agent is not None
    running.ask("extractor", extractor="mirror")
    agent.step()

    assert running.ask("status")["extractor"]["name"] == "mirror"
    first, second = running.engines
    assert isinstance(first, OwnEyes)
    assert answered(running, tmp_path) == ("cat", 1)
    assert first.extracted == 17, "the old one looked at it"

    running.settle()

    assert answered(running, tmp_path) == ("cat", 2)
    assert second.extracted == 17, "the archive, and the question"
    assert first.ended
    assert running.ask("status")["state"] == "ok"


def test_a_worse_extractor_is_refused_by_the_gate(running: Bench, tmp_path: Path) -> None:
    """Features that say nothing make no version: the old one goes on, with its own extractor, over a restart too."""
    running.ask("extractor", extractor="blind")
    running.settle()

    assert running.ask("status")["last_update"]["state"] == "refused"
    assert answered(running, tmp_path) == ("cat", 1)
    running.open()
    assert running.ask("status")["extractor"]["name"] == "blind"
    assert answered(running, tmp_path) == ("cat", 1)
    running.ask("extractor", extractor=BUILT_IN)
    running.settle()
    assert answered(running, tmp_path) == ("cat", 1)
    assert running.ask("status")["extractor"]["name"] == BUILT_IN


def test_an_extractor_that_does_not_start_is_not_used(running: Bench, tmp_path: Path) -> None:
    """The one before goes on, the choice is taken back, and the status says why."""
    running.ask("extractor", extractor="broken")
    running.settle()

    status = running.ask("status")
    assert status["extractor"]["name"] == BUILT_IN
    assert "broken cannot be used" in status["trouble"]
    assert "no such operator" in status["trouble"]
    assert read_choice(Home(running.home)) == BUILT_IN
    assert answered(running, tmp_path) == ("cat", 1)


def test_pictures_that_arrive_meanwhile_are_seen_by_the_new_one(running: Bench, tmp_path: Path) -> None:
    """They and the archived ones are learned from together."""
    running.ask("extractor", extractor="mirror")
    drop_texts(running.drop, "fox", [f"fox {i}" for i in range(4)])
    running.settle()

    assert answered(running, tmp_path, "fox 99")[0] == "fox"
    assert running.ask("status")["samples"] == 20
    assert running.ask("status")["unusable"] == 0


def test_what_one_extractor_failed_at_is_shown_to_the_next(running: Bench) -> None:
    """A picture that was given up with one is learned from with another, without a restart."""
    running.ask("extractor", extractor="moody")
    running.settle()
    assert running.ask("status")["unusable"] == 1

    running.ask("extractor", extractor="mirror")
    running.settle()

    assert running.ask("status")["unusable"] == 0
    # One of sixteen is held out.
    assert [one["samples"] for one in running.ask("versions")] == [15, 14, 15]


def test_older_versions_answer_with_the_extractor_they_were_made_with(running: Bench, tmp_path: Path) -> None:
    """When asked by number; once that extractor is gone the reason is told."""
    running.ask("extractor", extractor="mirror")
    running.settle()

    assert answered(running, tmp_path, version=1) == ("cat", 1)
    running.ask("extractor", extractor=BUILT_IN)
    running.settle()
    newest = running.ask("versions")[0]["version"]
    folder = Home(running.home).extractors_folder / "mirror"
    folder.rename(folder.with_name(".gone"))
    running.open()
    assert answered(running, tmp_path)[1] == newest
    with pytest.raises(NoModelError, match="not here any more"):
        answered(running, tmp_path, version=2)
    with pytest.raises(UserError, match="not here any more"):
        running.ask("rollback", to=2)


@pytest.mark.parametrize("restarted", [False, True])
def test_rolling_back_helps_where_the_file_of_the_extractor_is_gone(
    running: Bench, tmp_path: Path, restarted: bool
) -> None:
    """The version before answers with its own extractor, and nobody stands in for another any more."""
    running.ask("extractor", extractor="mirror")
    running.settle()
    assert answered(running, tmp_path) == ("cat", 2)
    (Home(running.home).extractors_folder / "mirror" / "mirror.tflite").unlink()
    if restarted:
        running.open()

    running.ask("rollback")

    assert answered(running, tmp_path) == ("cat", 1)
    assert "in place of" not in running.ask("status")["trouble"]


def test_no_more_than_two_engines_are_there(running: Bench, tmp_path: Path) -> None:
    """Asking old versions of several extractors starts one after the other, and ends each; restarts are summed up."""
    running.engines[0].restarts = 3
    for name in ("mirror", "moody"):
        running.ask("extractor", extractor=name)
        running.settle()

    for version in (1, 2, 1):
        assert answered(running, tmp_path, version=version) == ("cat", version)

    assert sum(not engine.ended for engine in running.engines if isinstance(engine, OwnEyes)) == 2
    assert running.ask("status")["engine"]["restarts"] == 3


def test_what_cannot_be_chosen_is_refused(running: Bench) -> None:
    """Unknown names, and any other than the configuration names."""
    with pytest.raises(NotFoundError, match="known are"):
        running.ask("extractor", extractor="nothing")
    running.open(Config(extractor=ExtractorConfig(name=BUILT_IN)))
    with pytest.raises(UserError, match="goes first"):
        running.ask("extractor", extractor="mirror")


class OneDevice:
    """What an engine computes on: the only device there is, or the CPU while another engine has that."""

    def __init__(self, held: list[OneDevice], *, cpu_may: bool = True) -> None:
        self._held, self.cpu_may = held, cpu_may

    @property
    def use(self) -> object:
        return self if self._held[:1] == [self] else None

    def take(self) -> None:
        if not self._held:
            self._held.append(self)

    def close(self) -> None:
        if self.use:
            self._held.clear()


class OnDevice(FakeEngine):
    """Takes the device when it starts, if that is free."""

    def start(self) -> EngineFacts:
        self.accelerator.take()  # type: ignore[union-attr]
        return super().start()


@pytest.mark.parametrize("cpu_may", [True, False])
def test_the_device_is_handed_to_the_next_extractor(cpu_may: bool) -> None:
    """The one before goes on with the CPU, unless it must not: then it keeps the device."""
    held: list[OneDevice] = []
    first = load_card(CARD_PATH)
    second = msgspec.structs.replace(first, name="second")

    def make(card: ExtractorCard) -> OnDevice:
        engine = OnDevice(card, monotonic=lambda: 0.0, fingerprint=f"{fingerprint_start(card)}fake:cpu")
        engine.accelerator = OneDevice(held, cpu_may=cpu_may)  # type: ignore[assignment]
        return engine

    sight = Sight(first, make, lambda: {one.name: one for one in (first, second)}, lambda _name: None)
    before = sight.start().fingerprint

    sight.ask_for("second")
    sight.switch()

    assert sight.card == second
    assert sight.accelerator is not None
    assert (sight.accelerator.use is not None) == cpu_may
    other = sight.for_version(before)
    assert isinstance(other, OnDevice)
    other.start()
    assert other.accelerator is not None
    assert (other.accelerator.use is None) == cpu_may
    sight.close()
    assert held == []
