"""This is where the kit for plugin authors is gathered: checks, and fakes with behaviour.

What is slow, native or tied to the wall clock has a fake: `FakeEngine`, `FakeClock`. `AgentBench` is a whole agent
on them that a test steps by hand, `Recorder` hears every hook, `example_facts` are what hooks are given.
`check_plugin`, `check_head` and `check_extractor` say what a plugin does otherwise than the agent expects. pytest has
all of it as fixtures with `pytest_plugins = ["edge_agent.testing.fixtures"]`.
"""

from __future__ import annotations

from edge_agent.ml.heads.conformance import HEAD_CHECKS, check_head
from edge_agent.testing.bench import AgentBench
from edge_agent.testing.clock import FakeClock
from edge_agent.testing.engine import FAKE_CARD, FAKE_FEATURES, FakeEngine, drop_texts, fake_features
from edge_agent.testing.examples import example_facts
from edge_agent.testing.extractors import check_extractor
from edge_agent.testing.plugins import check_plugin
from edge_agent.testing.recorder import Heard, Recorder

__all__ = [
    "FAKE_CARD",
    "FAKE_FEATURES",
    "HEAD_CHECKS",
    "AgentBench",
    "FakeClock",
    "FakeEngine",
    "Heard",
    "Recorder",
    "check_extractor",
    "check_head",
    "check_plugin",
    "drop_texts",
    "example_facts",
    "fake_features",
]
