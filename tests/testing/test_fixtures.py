"""The fixtures for authors of plugins, used as an author would."""

from __future__ import annotations

import json
import os

import msgspec
import pytest

from edge_agent import Decision, hookimpl
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.errors import PluginError
from edge_agent.testing import FAKE_FEATURES, FakeClock, check_extractor
from edge_agent.vision.preprocessing import load_card

pytest_plugins = ["edge_agent.testing.fixtures"]


class Never:
    """A policy against learning."""

    @hookimpl
    def ready_to_update(self):
        return Decision(answer=False, reason="never")


class Broken:
    """A listener with a defect."""

    @hookimpl
    def sample_ingested(self, sample):
        raise ValueError(sample.label)


def test_an_agent_learns_what_it_is_shown(agent_bench, recorder):
    """Text pictures are taken in, learned and told apart, and everything that happens is heard."""
    for label in ("cat", "dog"):
        agent_bench.show(label, *(f"{label} {number}" for number in range(6)))
    agent_bench.open()
    agent_bench.settle()

    assert agent_bench.predict("cat 77")["label"] == "cat"
    assert recorder.names().count("sample_ingested") == 12
    assert recorder.facts("version_published", "version")[0].labels == ("cat", "dog")
    assert agent_bench.ask("status")["samples"] == 12
    assert agent_bench.errors() == {}


def test_plugins_decide_for_the_agent(agent_bench, recorder):
    """An object, asked before the built-in plugins."""
    agent_bench.show("cat", "cat 1", "cat 2")
    agent_bench.open(Never())
    agent_bench.settle()

    assert "version_published" not in recorder.names()
    assert "sample_ingested" in recorder.names()


def test_errors_of_plugins_are_seen(agent_bench):
    """By the plugin's name; the agent goes on."""
    agent_bench.show("cat", "cat 1")
    agent_bench.open(Broken)
    agent_bench.settle()

    assert list(agent_bench.errors().values()) == ["sample_ingested: ValueError: cat"]


def test_settings_reach_the_plugin_of_that_name(agent_bench, tmp_path):
    """As the table `[plugins.events]` would."""
    events = pytest.importorskip("edge_agent_events", reason="edge-agent-events is not installed")
    path = tmp_path / "events.jsonl"
    agent_bench.open(events.Events, settings={"events": {"file": str(path)}})
    agent_bench.close()

    told = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert told == ["agent_started", "agent_stopping"]


def test_without_an_agent_nothing_can_be_asked(agent_bench):
    """The message says what to do."""
    with pytest.raises(AssertionError, match=r"call open\(\) first"):
        agent_bench.settle()


def test_a_learned_home_knows_cats_and_dogs(learned_home, agent_bench, recorder):
    """There is a version, nothing was heard yet, and an agent can be opened on it."""
    assert (learned_home / "models" / "current").exists()
    assert recorder.events == []
    agent_bench.open()
    assert agent_bench.predict("dog 99")["label"] == "dog"


def test_the_clock_stands_still(fake_clock):
    """Until it is told to move."""
    before = fake_clock()
    fake_clock.advance(3.0)
    assert (isinstance(fake_clock, FakeClock), fake_clock() - before) == (True, 3.0)


def test_the_fake_engine_looks_at_texts(fake_engine, tmp_path):
    """Features of one length, or the reason why there are none."""
    (tmp_path / "cat").write_text("cat 1")
    (tmp_path / "bad").write_text("bad")
    jobs = [(name, os.open(tmp_path / name, os.O_RDONLY)) for name in ("cat", "bad")]
    cat, bad = fake_engine.extract(jobs)

    assert (cat.features.shape, bad.error) == ((FAKE_FEATURES,), "this is not a picture")


def test_an_extractor_that_sees_is_let_pass(drawn_pictures):
    """The embedded one, through a real engine on real pictures."""
    features = check_extractor(load_card(CARD_PATH), drawn_pictures)

    assert features.shape == (6, 1280)


def test_an_extractor_that_sees_nothing_is_named(drawn_pictures):
    """Pixels scaled to next to nothing make all pictures alike."""
    card = load_card(CARD_PATH)
    dark = msgspec.structs.replace(card, input=msgspec.structs.replace(card.input, mean=0.0, std=1e9))
    with pytest.raises(PluginError, match="extractor 'efficientnet-lite0-int8': different pictures have the"):
        check_extractor(dark, drawn_pictures)


def test_one_picture_is_not_enough_to_check(drawn_pictures):
    """Whether pictures are told apart takes two."""
    with pytest.raises(ValueError, match="two pictures"):
        check_extractor(load_card(CARD_PATH), drawn_pictures[:1])


def test_a_picture_that_cannot_be_read_is_named(tmp_path, drawn_pictures):
    """With the engine's own reason."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    with pytest.raises(PluginError, match=r"bad\.jpg"):
        check_extractor(load_card(CARD_PATH), [*drawn_pictures, bad])
