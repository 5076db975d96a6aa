"""This is where pytest finds the kit as fixtures: `pytest_plugins = ["edge_agent.testing.fixtures"]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.cli.pictures import write_pictures
from edge_agent.testing.bench import AgentBench
from edge_agent.testing.clock import FakeClock
from edge_agent.testing.engine import FakeEngine
from edge_agent.testing.recorder import Recorder


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands still until `advance(seconds)`."""
    return FakeClock()


@pytest.fixture
def fake_engine(fake_clock: FakeClock) -> Iterator[FakeEngine]:
    """A started engine for text pictures, of 16 features."""
    engine = FakeEngine(monotonic=fake_clock)
    engine.start()
    yield engine
    engine.close()


@pytest.fixture
def agent_bench(tmp_path: Path) -> Iterator[AgentBench]:
    """A place for an agent that the test opens and steps; what is open at the end is closed."""
    bench = AgentBench(tmp_path / "agent")
    yield bench
    bench.close()


@pytest.fixture
def recorder(agent_bench: AgentBench) -> Recorder:
    """Everything that the agent on `agent_bench` tells, in order."""
    return agent_bench.recorder


@pytest.fixture
def learned_home(agent_bench: AgentBench) -> Path:
    """A state directory with twelve samples of `cat` and `dog` and a version that knows them; no agent runs."""
    for label in ("cat", "dog"):
        agent_bench.show(label, *(f"{label} {number}" for number in range(6)))
    agent_bench.open()
    agent_bench.settle()
    agent_bench.close()
    agent_bench.recorder.events.clear()
    return agent_bench.home


@pytest.fixture
def drawn_pictures(tmp_path: Path) -> list[Path]:
    """Six real JPEG files: two each of mugs, keys and umbrellas, the same in every test."""
    paths = write_pictures(tmp_path / "pictures", per_label=2, seed=1, labels=["mug", "key", "umbrella"])
    return [path for label in paths.values() for path in label]
