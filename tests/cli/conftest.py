"""Commands run in this process, on a state directory that was made with text pictures."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_agent.agent.agent import Agent
from edge_agent.agent.control import ControlSocket
from edge_agent.agent.home import Home
from edge_agent.agent.stages import MakeEngine
from edge_agent.cli import run_command
from edge_agent.cli.settings import Settings
from edge_agent.config import Config, DropFolderConfig, ExtractorConfig, PicturesConfig, UpdateConfig
from edge_agent.default_plugins import built_in_plugins
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.ml.augmentation import AugmentationSettings
from edge_agent.ml.feature_extractors import FeatureExtractorType
from edge_agent.plugins import load_plugins
from edge_agent.testing import FAKE_FEATURES, FakeClock, FakeEngine, drop_texts
from edge_agent.vision.feature_source import EngineFeatureSource
from edge_agent.vision.preprocessing import load_card

QUICK = Config(drop_folder=DropFolderConfig(settle_seconds=0), update=UpdateConfig(quiet_seconds=0))
PATIENT = Config(
    drop_folder=DropFolderConfig(settle_seconds=0),
    update=UpdateConfig(quiet_seconds=3600, new_label_samples=1000, min_new_samples=1000),
)
"""Nothing is learned before somebody asks for it."""


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


class Shell:
    """Runs commands on one state directory."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.drop = home / "drop"
        self._capsys = capsys

    def run(self, *arguments: object) -> Done:
        """Run one command."""
        self._capsys.readouterr()
        status = run_command(["--home", str(self.home), *map(str, arguments)])
        return Done(status, *self._capsys.readouterr())

    def ask(self, *arguments: object) -> Any:
        """Run one command with --json; the one document it printed."""
        done = self.run(*arguments, "--json")
        assert (done.status, done.err) == (0, "")
        return json.loads(done.out)


class FakeSettings(Settings):
    """Settings whose agents look at text pictures."""

    make_engine: MakeEngine = FakeEngine

    def agent(
        self,
        *,
        drop_folder: Path | None = None,
        watch: bool = False,
        extra: Sequence[tuple[str, object]] = (),
        config: Config = QUICK,
    ) -> Agent:
        """A quick agent that is not open yet."""
        return fake_agent(self.home, drop_folder=drop_folder, extra=extra, make_engine=self.make_engine)


def fake_agent(
    home: Path,
    *,
    drop_folder: Path | None = None,
    extra: Sequence[tuple[str, object]] = (),
    config: Config = QUICK,
    make_engine: MakeEngine = FakeEngine,
) -> Agent:
    """An agent with a fake engine and without patience."""
    plugins = load_plugins(config.plugins, built_in=[*built_in_plugins(config), *extra], entry_points=[])
    return Agent(home, config, plugins, drop_folder=drop_folder, watch=False, make_engine=make_engine)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A state directory that is not there yet."""
    monkeypatch.delenv("EDGE_AGENT_HOME", raising=False)
    return Shell(tmp_path / "home", capsys)


@pytest.fixture
def learned(shell: Shell) -> Shell:
    """A state directory with cats and dogs, then foxes: two versions; no agent runs."""
    for things in (("cat", "dog"), ("fox",)):
        for word in things:
            drop_texts(shell.drop, word, [f"{word} {i}" for i in range(4)])
        agent = fake_agent(shell.home)
        agent.open()
        agent.start()
        agent.run_until_idle()
        agent.close()
    return shell


@pytest.fixture
def running(learned: Shell) -> Iterator[Shell]:
    """The same, and an agent runs on it that learns only when it is asked to."""
    agent = fake_agent(learned.home, config=PATIENT)
    agent.open()
    agent.start()
    control = ControlSocket(Home(learned.home), agent)
    control.open()
    thread = threading.Thread(target=agent.run)
    thread.start()
    yield learned
    agent.stop("the test is over")
    thread.join(timeout=10)
    control.close()
    agent.close()
    assert not thread.is_alive()


@pytest.fixture
def fake_settings(shell: Shell) -> FakeSettings:
    """Settings of the state directory, for a command that is invoked directly."""
    return FakeSettings(str(shell.home))


class TextSources:
    """What looks at text pictures for training sessions; counts the looks."""

    def __init__(self) -> None:
        self.fingerprint = "fake:1"
        self.engines: list[FakeEngine] = []
        self.before_look: Callable[[int], None] = lambda _number: None

    @property
    def looks(self) -> int:
        """At so many pictures and copies was looked in all."""
        return sum(engine.extracted for engine in self.engines)

    def open_source(
        self,
        _settings: Settings,
        extractor: FeatureExtractorType,  # text pictures are looked at in one way
        augmentation: AugmentationSettings | None = None,
    ) -> EngineFeatureSource:
        """A source over an engine for text pictures."""
        sources = self

        class Watched(FakeEngine):
            def _look(self, key: object, data: bytes, variant: str = "") -> Any:
                sources.before_look(sources.looks)
                return super()._look(key, data, variant)

        card = msgspec.structs.replace(load_card(CARD_PATH), n_features=FAKE_FEATURES)
        engine = Watched(
            card,
            PicturesConfig(),
            ExtractorConfig(),
            monotonic=FakeClock(),
            fingerprint=self.fingerprint,
        )
        self.engines.append(engine)
        return EngineFeatureSource(card, engine=engine)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> TextSources:
    """Training sessions look at text pictures."""
    sources = TextSources()
    monkeypatch.setattr(
        Settings,
        "open_source",
        lambda self, extractor, augmentation=None: sources.open_source(self, extractor, augmentation),
    )
    return sources
