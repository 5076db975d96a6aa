"""An agent on text pictures, a fake clock and a recorder of everything plugins are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.agent import Agent
from edge_agent.agent.stages import Clocks
from edge_agent.config import Config
from edge_agent.default_plugins import built_in_plugins
from edge_agent.hookspecs import hookimpl
from edge_agent.plugins import load_plugins
from edge_agent.testing import AgentBench, FakeEngine


class Recorder:
    """Remembers the name of every event and the facts that came with it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    @hookimpl
    def sample_ingested(self, sample: Any) -> None:
        self.events.append(("sample_ingested", sample))

    @hookimpl
    def sample_rejected(self, rejection: Any) -> None:
        self.events.append(("sample_rejected", rejection))

    @hookimpl
    def task_state_changed(self, change: Any) -> None:
        self.events.append(("task_state_changed", change))

    @hookimpl
    def training_begin(self, event: Any) -> None:
        self.events.append(("training_begin", event))

    @hookimpl
    def mini_batch_end(self, event: Any) -> None:
        self.events.append(("mini_batch_end", event))

    @hookimpl
    def epoch_end(self, event: Any) -> None:
        self.events.append(("epoch_end", event))

    @hookimpl
    def training_end(self, event: Any) -> None:
        self.events.append(("training_end", event))

    @hookimpl
    def candidate_evaluated(self, evaluation: Any, decision: Any) -> None:
        self.events.append(("candidate_evaluated", decision))

    @hookimpl
    def version_published(self, version: Any) -> None:
        self.events.append(("version_published", version))

    @hookimpl
    def version_rolled_back(self, version: Any, previous: int) -> None:
        self.events.append(("version_rolled_back", (version.number, previous)))


class Bench(AgentBench):
    """The bench of plugin authors with what only our own tests need: parts of an agent that is not open yet."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.recorder = Recorder()
        self.engines: list[FakeEngine] = []
        self.engine_class = FakeEngine

    def open(
        self,
        config: Config | None = None,
        extra: list[tuple[str, object]] | None = None,
        fingerprint: str = "fake:1",
    ) -> Agent:
        """Open an agent; the one before is closed."""
        self.close()
        agent = self.make(config, extra, fingerprint)
        agent.open()
        self.agent = agent
        return agent

    def make(
        self,
        config: Config | None = None,
        extra: list[tuple[str, object]] | None = None,
        fingerprint: str = "fake:1",
    ) -> Agent:
        """An agent that is not open yet."""
        config = config or Config()

        def make_engine(*arguments: Any, monotonic: Callable[[], float]) -> FakeEngine:
            self.engines.append(self.engine_class(*arguments, monotonic=monotonic, fingerprint=fingerprint))
            return self.engines[-1]

        plugins = load_plugins(
            config.plugins,
            built_in=[*built_in_plugins(config), ("recorder", self.recorder), *(extra or [])],
            entry_points=[],
        )
        return Agent(
            self.home,
            config,
            plugins,
            drop_folder=self.drop,
            watch=False,
            clocks=Clocks(self.clock, self.wall),
            make_engine=make_engine,
        )

    def live(self, seconds: float) -> int:
        """Let time pass as `Agent.run` does, waiting exactly as long as the agent asks; how many steps it took."""
        agent = self.agent
        assert agent is not None
        end, steps = self.clock.now + seconds, 0
        while self.clock.now < end:
            patience = agent._patience()
            agent.step(patience_seconds=5.0 if agent.updating else 0.0)
            steps += 1
            assert steps < 1000, f"the agent spins: {steps} steps and {end - self.clock.now} s to go"
            if not agent.updating:
                self.clock.advance(min(patience, end - self.clock.now))
        return steps

    def predict(self, tmp: Path, text: str, **arguments: Any) -> dict[str, Any]:
        """Classify one text picture."""
        import os

        path = tmp / "question.jpg"
        path.write_text(text)
        fd = os.open(path, os.O_RDONLY)
        return dict(self.ask("predict", names=["question.jpg"], fds=[fd], **arguments)[0])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An agent's surroundings; what is open at the end is closed."""
    bench = Bench(tmp_path)
    yield bench
    bench.close()
