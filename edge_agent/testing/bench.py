"""This is where a test steps a whole agent by hand: text pictures, clocks that stand still, and all that is told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edge_agent.agent.agent import Agent
from edge_agent.agent.requests import Request
from edge_agent.agent.stages import Clocks, MakeEngine
from edge_agent.config import Config
from edge_agent.default_plugins import built_in_plugins
from edge_agent.plugins import PluginHost, load_plugins
from edge_agent.testing.clock import FakeClock
from edge_agent.testing.engine import FakeEngine, drop_texts
from edge_agent.testing.plugins import made, plugin_name
from edge_agent.testing.recorder import Recorder

STEPS = 400
"""More than any test needs until an agent comes to rest."""

STEP_SECONDS = 0.5
UPDATE_PATIENCE_SECONDS = 5.0
"""Longest wait for the next fact of an update, which works on a thread of its own."""

QUIET_STEPS = 12
"""Longer than two looks at the drop folder are apart."""


class AgentBench:
    """One agent at a time on one state directory, in `folder`.

    Its engine is a `FakeEngine`, so a picture is a text file: `show("cat", "cat 1", "cat 2")`. Time passes in `settle`
    and `ask` only. Plugins are told in place, on the test's own thread: nothing has to be waited for.
    """

    make_engine: MakeEngine = FakeEngine

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.drop = folder / "drop"
        self.drop.mkdir(parents=True, exist_ok=True)
        self.clock = FakeClock()
        self.wall = FakeClock(1_800_000_000.0)
        self.recorder = Recorder()
        self.agent: Agent | None = None
        self.plugins: PluginHost | None = None

    def open(
        self,
        *plugins: object,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        config: Config | None = None,
    ) -> Agent:
        """Open and start an agent with these plugins: classes, modules or objects; the one before is closed.

        `settings`: the table of each plugin by its name. Raises what loading plugins and opening an agent raise.
        """
        self.close()
        config = config or Config()
        tables = settings or {}
        given = [made(plugin, tables.get(plugin_name(plugin))) for plugin in plugins]
        self.plugins = load_plugins(
            config.plugins,
            built_in=[*built_in_plugins(config), ("recorder", self.recorder), *given],
            entry_points=[],
        )
        self.agent = Agent(
            self.home,
            config,
            self.plugins,
            drop_folder=self.drop,
            watch=False,
            clocks=Clocks(self.clock, self.wall),
            make_engine=type(self).make_engine,
        )
        self.agent.open()
        self.agent.start()
        return self.agent

    def close(self) -> None:
        """Close the agent, as an orderly end does."""
        if self.agent is not None:
            self.agent.close()
            self.agent = None

    def show(self, label: str, *texts: str) -> list[Path]:
        """Put text pictures into the drop folder; `settle` lets the agent take them in."""
        return drop_texts(self.drop, label, texts)

    def settle(self) -> None:
        """Step until nothing is due, letting time pass; raises `AssertionError` for an agent that never rests."""
        agent = self._open_agent
        quiet = 0
        for _ in range(STEPS):
            agent.step(patience_seconds=UPDATE_PATIENCE_SECONDS if agent.updating else 0.0)
            if agent.updating:
                continue
            quiet = quiet + 1 if agent.idle() else 0
            if quiet > QUIET_STEPS:
                return
            self.clock.advance(STEP_SECONDS)
        raise AssertionError("the agent does not come to rest")

    def ask(self, name: str, **arguments: Any) -> Any:
        """Put a question as the command line does, such as `status`, and return the answer."""
        agent = self._open_agent
        request = Request(name, arguments, arguments.pop("fds", []))
        agent.ask(request)
        for _ in range(STEPS):
            agent.step(patience_seconds=UPDATE_PATIENCE_SECONDS if agent.updating else 0.0)
            if request.reply.done():
                return request.reply.result()
            self.clock.advance(STEP_SECONDS)
        raise AssertionError(f"{name} is not answered")

    def predict(self, text: str, **arguments: Any) -> dict[str, Any]:
        """What the agent answers for a text picture."""
        (path,) = drop_texts(self.home.parent, "questions", [text])
        fd = os.open(path, os.O_RDONLY)
        return dict(self.ask("predict", names=[path.name], fds=[fd], **arguments)[0])

    def errors(self) -> dict[str, str]:
        """The last error of every plugin that had one, by its name."""
        reports: Iterable[Any] = self.plugins.reports() if self.plugins else ()
        return {report.name: report.last_error for report in reports if report.errors}

    @property
    def _open_agent(self) -> Agent:
        if self.agent is None:
            raise AssertionError("no agent is open; call open() first")
        return self.agent
