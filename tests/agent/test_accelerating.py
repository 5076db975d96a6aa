"""An agent with a real accelerator, which is unplugged and plugged in again while pictures arrive."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_agent.agent.accelerating import delegate_problems, open_accelerator
from edge_agent.agent.agent import Agent
from edge_agent.agent.home import Home
from edge_agent.agent.requests import Request
from edge_agent.agent.sight import Sight
from edge_agent.agent.stages import Clocks
from edge_agent.config import Config, DropFolderConfig, ExtractorConfig, PicturesConfig
from edge_agent.default_plugins import built_in_plugins
from edge_agent.errors import ConfigError
from edge_agent.hookspecs import hookimpl
from edge_agent.plugins import load_plugins
from edge_agent.testing import FakeClock, FakeEngine
from edge_agent.vision.canary import cosine
from edge_agent.vision.delegate_spec import DelegateChange, DelegateSpec
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.images import decode
from edge_agent.vision.preprocessing import ExtractorCard, card_from


class Stick:
    """A plugin that offers a delegate and a small extractor, and hears who looks at pictures."""

    def __init__(self, spec: DelegateSpec, card: ExtractorCard) -> None:
        self._spec, self._card = spec, card
        self.changes: list[DelegateChange] = []

    @hookimpl
    def register_delegates(self, register: Callable[[DelegateSpec], None]) -> None:
        register(self._spec)

    @hookimpl
    def register_extractors(self, register: Callable[[ExtractorCard], None]) -> None:
        register(self._card)

    @hookimpl
    def delegate_changed(self, change: DelegateChange) -> None:
        self.changes.append(change)


class Desk:
    """One agent on a state directory, and a device that is a file."""

    def __init__(self, folder: Path, library: Path, card: ExtractorCard) -> None:
        self.device = folder / "device"
        self.device.touch()
        self.folder, self.clock = folder, FakeClock()
        self.stick = Stick(DelegateSpec("stick", (str(library),), {"file": str(self.device)}), card)
        self.agent: Agent | None = None
        self._numbers = iter(range(1000))

    def open(self, **extractor: Any) -> Agent:
        config = Config(
            drop_folder=DropFolderConfig(settle_seconds=0.0),
            extractor=ExtractorConfig(name="small", **{"delegate": "stick", **extractor}),
        )
        plugins = load_plugins(
            config.plugins, built_in=[*built_in_plugins(config), ("stick", self.stick)], entry_points=[]
        )
        clocks = Clocks(self.clock, FakeClock(1_800_000_000.0))
        self.agent = Agent(self.folder / "home", config, plugins, watch=False, clocks=clocks)
        self.agent.open()
        self.agent.start()
        return self.agent

    def until(self, done: Callable[[], bool], seconds: float = 0.0) -> None:
        """Step as the agent's loop does, with so much time between two steps for the agent; trials take their own."""
        for _ in range(600):
            self.clock.advance(seconds)
            self.agent.step(patience_seconds=0.05)
            if done():
                return
        raise AssertionError(f"not in 600 steps: {self.delegate}")

    def drop(self, count: int = 1) -> None:
        """Pictures that were not there yet."""
        (self.folder / "home" / "drop" / "cat").mkdir(parents=True, exist_ok=True)
        for number in itertools.islice(self._numbers, count):
            pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.folder / "home" / "drop" / "cat" / f"{number}.png")
        samples = self.agent.facts()["samples"]
        self.until(lambda: self.agent.facts()["samples"] == samples + count, seconds=0.25)

    @property
    def delegate(self) -> dict[str, Any]:
        return self.agent.facts()["delegate"]


@pytest.fixture(name="desk")
def _desk(tmp_path, testdata, library) -> Iterator[Desk]:
    path = testdata / "models" / "derived" / "coral_mobilenet_v1_0.25_128_quant_features.tflite"
    look = {"width": 128, "height": 128, "mean": 127.5, "std": 127.5}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = {"name": "small", "sha256": digest, "n_features": 256, "input": look}
    desk = Desk(tmp_path, library(), card_from(card, path=path, source="small"))
    yield desk
    if desk.agent is not None:
        desk.agent.close()


def test_unplugged_and_plugged_in_again(desk, caplog):
    """Pictures are taken in all the time, with features of one kind; status, hook and log say who looked at them."""
    agent = desk.open()
    assert desk.delegate == {"name": "cpu", "requested": "stick", "fallback_reason": "stick: untried"}
    desk.drop()
    desk.until(lambda: desk.delegate["name"] == "stick")
    assert desk.delegate["fallback_reason"] is None
    desk.drop()

    desk.device.unlink()
    desk.drop()
    assert desk.delegate["name"] == "cpu"
    assert "the test device is gone" in desk.delegate["fallback_reason"]
    assert agent.facts()["state"] == "degraded"
    request = Request("checkup", {})
    agent.answer(request)
    [extractor] = [one for one in request.reply.result()["checks"] if one["name"] == "extractor"]
    assert extractor["state"] == "warning"
    assert "the CPU looks at pictures, which is slower: stick: failed" in extractor["message"]
    desk.clock.advance(2.0)
    desk.agent.step()
    status = json.loads((desk.folder / "home" / "status.json").read_text())
    assert status["delegate"] == desk.delegate

    desk.device.touch()
    desk.clock.advance(60.0)
    desk.until(lambda: desk.delegate["name"] == "stick")
    desk.drop()

    assert [(change.previous, change.current) for change in desk.stick.changes] == [
        ("cpu", "stick"),
        ("stick", "cpu"),
        ("cpu", "stick"),
    ]
    assert "the CPU looks at pictures now, no longer stick" in caplog.text
    assert agent.facts()["extractor"]["fingerprint"].endswith(":cpu")
    assert agent.facts()["engine"]["restarts"] == 1


def test_what_was_found_out_is_used_at_the_next_start(desk):
    """It is tried once, not at every start."""
    desk.open()
    desk.until(lambda: desk.delegate["name"] == "stick")
    desk.agent.close()

    desk.open()

    assert desk.delegate == {"name": "stick", "requested": "stick", "fallback_reason": None}
    assert os.stat(desk.folder / "home" / "delegates.json").st_mode & 0o077 == 0  # noqa: PTH116


def test_the_agent_wakes_up_for_its_accelerator(desk):
    """While one is tried it looks twice a second; when one is away, at the time it is tried again."""
    agent = desk.open()
    desk.until(lambda: desk.delegate["name"] == "stick")
    desk.device.unlink()
    desk.drop()

    assert 0 < agent._wait_seconds() <= 5.0


def test_nothing_is_made_of_a_board_without_accelerators(desk, tmp_path):
    """Where only the CPU is offered or wanted there is nothing to choose."""
    cpu = {"cpu": DelegateSpec("cpu")}
    both = {**cpu, "stick": desk.stick._spec}
    make = (Home(tmp_path), desk.stick._card)

    assert open_accelerator(*make, ExtractorConfig(), cpu, desk.clock) is None
    assert open_accelerator(*make, ExtractorConfig(delegate="cpu"), both, desk.clock) is None
    assert open_accelerator(*make, ExtractorConfig(), both, desk.clock) is not None


def test_a_delegate_that_nobody_offers_is_a_problem_of_the_configuration(desk):
    """It is named, with what was probably meant."""
    with pytest.raises(
        ConfigError, match=r"extractor\.delegate: no plugin offers .*'stik', did you mean 'stick'"
    ):
        desk.open(delegate="stik")
    desk.agent = None
    assert delegate_problems(ExtractorConfig(), {"cpu": DelegateSpec("cpu")}) == []


def test_a_backend_that_falls_away_is_told_as_a_delegate_is(desk):
    """A plugin's own backend says what it runs on: the hook, the status and its state say it, once for each change."""

    def engine(delegate: str, notice: str = "") -> FakeEngine:
        made = FakeEngine()
        made.facts = dataclasses.replace(made.start(), delegate=delegate, notice=notice)
        return made

    made = engine("gpu")
    guest = msgspec.structs.replace(desk.stick._card, backend="a:B")
    sight = Sight(guest, lambda _card: made, dict, lambda _name: None)
    assert [(one.previous, one.current) for one in sight.changes()] == [("cpu", "gpu")]
    assert (sight.fallback_reason, sight.is_missed, list(sight.changes())) == (None, False, [])

    made.facts = engine("cpu", "the processor works in place of the GPU: it is gone").facts

    [change] = sight.changes()
    assert (change.previous, change.current, change.is_fallback) == ("gpu", "cpu", True)
    assert change.reason == sight.fallback_reason == "the processor works in place of the GPU: it is gone"
    assert sight.is_missed
    assert list(sight.changes()) == []


def test_what_turns_wrong_is_never_learned_from(desk):
    """Every feature that is kept is the CPU's, although the stick agreed at first; why it is gone is told."""
    wrong = {"fault": "wrong-numbers", "at": "24"}  # a trial without pictures of the owner has fewer runs
    desk.stick._spec = DelegateSpec("stick", desk.stick._spec.libraries, wrong)
    agent = desk.open()
    desk.until(lambda: desk.delegate["name"] == "stick")
    desk.drop(30)

    assert "stick: turned wrong: gave other features" in desk.delegate["fallback_reason"]
    assert desk.stick.changes[-1].reason == desk.delegate["fallback_reason"]
    store, cpu = agent._open_stages.store, FeatureExtractor(desk.stick._card)
    kept = store.snapshot(agent.facts()["extractor"]["fingerprint"])
    rows, _labels = kept.provider().arrays(slice(None))
    for digest, row in zip(kept.digests, rows, strict=True):
        path = desk.folder / "home" / store.get(digest).stored_path
        pixels = decode(path.read_bytes(), limits=PicturesConfig(), target=desk.stick._card.size).pixels
        assert cosine(cpu.extract(pixels), row) > 0.99
