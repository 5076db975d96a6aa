"""This is where the stages of an agent are built, each from its own section, and closed in the opposite order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_agent.agent.accelerating import delegate_problems, open_accelerator
from edge_agent.agent.answers import Answers
from edge_agent.agent.archive import Archive
from edge_agent.agent.board import Board
from edge_agent.agent.checkup import Checkup
from edge_agent.agent.dropfolder import DropFolder
from edge_agent.agent.extractors import choice_problems, choose, chosen_name, known_extractors, write_choice
from edge_agent.agent.forgetting import Forgetting
from edge_agent.agent.head_settings import head_problems
from edge_agent.agent.home import Home
from edge_agent.agent.incoming import Incoming
from edge_agent.agent.intake import Intake
from edge_agent.agent.learning import Learning
from edge_agent.agent.leftovers import remove_leftovers
from edge_agent.agent.probation import Probation
from edge_agent.agent.rebuild import Rebuild, open_store
from edge_agent.agent.refresh import Refresh
from edge_agent.agent.restoring import finish_restore
from edge_agent.agent.retention import Retention
from edge_agent.agent.serving import Serving
from edge_agent.agent.sight import Sight
from edge_agent.agent.stand_in import StandIn
from edge_agent.config import Config, ExtractorConfig, PicturesConfig
from edge_agent.errors import ConfigError, DiskFailedError, EdgeAgentError, StoreError
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.update import TaskStateChange, TrainingEvent
from edge_agent.plugins import PluginHost
from edge_agent.store.lock import ProcessLock
from edge_agent.store.registry import VersionRegistry
from edge_agent.store.samples import SampleStore
from edge_agent.store.sums import KeptSums
from edge_agent.vision.engine import Engine
from edge_agent.vision.preprocessing import ExtractorCard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clocks:
    """Where time comes from; tests bring their own."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class MakeEngine(Protocol):
    """How an engine is made; tests and other backends bring their own."""

    def __call__(
        self,
        card: ExtractorCard,
        pictures: PicturesConfig,
        extractor: ExtractorConfig,
        *,
        monotonic: Callable[[], float],
    ) -> Engine:
        """Return an engine that is not started yet."""


@dataclass(frozen=True)
class Stages:
    """The stages of one agent; `close` undoes `open_stages`."""

    home: Home
    store: SampleStore
    registry: VersionRegistry
    engine: Sight
    folder: DropFolder
    serving: Serving
    learning: Learning
    intake: Intake
    refresh: Refresh
    rebuild: Rebuild
    forgetting: Forgetting
    answers: Answers
    incoming: Incoming
    probation: Probation
    stand_in: StandIn
    board: Board
    retention: Retention
    _closing: ExitStack = field(repr=False)

    def met(self, error: EdgeAgentError) -> None:
        """Store nothing any more where the disk of the state directory failed: what was said to be kept may be lost."""
        if isinstance(error, DiskFailedError) and error.is_below(self.home.path):
            self.store.database.distrust(str(error))

    def close(self) -> None:
        """Stop taking input, end the engine, close the store and give the lock back."""
        self._closing.close()


def open_stages(
    home: Home,
    config: Config,
    plugins: PluginHost,
    *,
    drop_folder: Path,
    watch: bool,
    ring: Callable[[], None],
    tell: Callable[[TaskStateChange | TrainingEvent], None],
    clocks: Clocks,
    make_engine: MakeEngine = Engine,
) -> Stages:
    """Lock the state directory and build every stage on it.

    Raises `ConfigError` with every problem, `HomeError`, `HomeLockedError`, `StoreError` or `UserError`; what was
    opened by then is closed again.
    """
    heads = plugins.register_heads()
    registered = plugins.register_extractors()

    def known() -> dict[str, ExtractorCard]:
        """The extractors there are now: some may be added any time."""
        return known_extractors(home, registered)

    extractors = known()
    delegates = plugins.register_delegates()
    problems = setup_problems(home, config, heads, extractors, drop_folder)
    problems += delegate_problems(config.extractor, delegates)
    if problems:
        raise ConfigError(problems)
    card = extractors[chosen_name(home, config)]
    home.make()
    with ExitStack() as closing:
        lock = ProcessLock(home.lock_path)
        lock.acquire()
        closing.callback(lock.release)
        if finish_restore(home):
            log.warning(
                "a restore that was interrupted is complete now; the next start reads its configuration"
            )
        registry = VersionRegistry(home.models_folder, clock=clocks.wall)
        registry.clean()
        store = open_store(home, clocks.wall)
        closing.callback(store.close)

        def make(chosen: ExtractorCard) -> Engine:
            """An engine for an extractor, with what may accelerate it."""
            made = make_engine(chosen, config.pictures, config.extractor, monotonic=clocks.monotonic)
            made.accelerator = open_accelerator(home, chosen, config.extractor, delegates, clocks.monotonic)
            return made

        engine = Sight(card, make, known, lambda name: write_choice(home, name))
        closing.callback(engine.close)
        folder = DropFolder(config.drop_folder, drop_folder, doorbell=ring, monotonic=clocks.monotonic)
        folder.open(watch=watch)
        closing.callback(folder.close)
        archive = Archive(home)
        archive.clean()
        remove_leftovers(home, drop_folder, clocks.wall)
        for digest in archive.agree(store.places()):
            archive.settle(store.get(digest))
        serving = Serving(registry, heads)
        serving.reload()
        learning = Learning(
            store,
            registry,
            plugins,
            heads,
            config.learning,
            config.update,
            tell,
            KeptSums(home.sums_path),
            monotonic=clocks.monotonic,
            wall=clocks.wall,
        )
        closing.callback(learning.close)
        intake = Intake(
            home,
            store,
            archive,
            folder,
            engine,
            plugins,
            config.drop_folder,
            config.pictures,
            monotonic=clocks.monotonic,
            clock=clocks.wall,
        )
        forgetting = Forgetting(
            home,
            drop_folder,
            store,
            archive,
            registry,
            serving,
            learning.refusals,
            stop_learning=learning.unlearn,
        )
        try:
            forgetting.resume()
        except StoreError as error:  # what was published goes on answering; learning says so and tries again
            log.warning("what is to be forgotten is still there: %s", error)
        checkup = Checkup(home, drop_folder, registry, serving, engine)
        incoming = Incoming(store, serving)
        probation = Probation(store, registry, serving, plugins, config.update, clocks.monotonic)
        stand_in = StandIn(registry, serving, engine, store, clocks.monotonic)
        return Stages(
            home=home,
            store=store,
            registry=registry,
            engine=engine,
            folder=folder,
            serving=serving,
            learning=learning,
            intake=intake,
            refresh=Refresh(store, archive, engine),
            rebuild=Rebuild(home, store, archive, engine),
            forgetting=forgetting,
            answers=Answers(
                store,
                archive,
                registry,
                engine,
                lambda name: choose(home, config, name, known()),
                plugins,
                serving,
                forgetting,
                checkup,
                incoming,
                probation,
                stand_in,
                background_labels=config.learning.background_labels,
            ),
            incoming=incoming,
            probation=probation,
            retention=Retention(
                store,
                archive,
                config.retention,
                before=learning.unlearn,
                monotonic=clocks.monotonic,
                wall=clocks.wall,
            ),
            stand_in=stand_in,
            board=Board(home.path, Path(config.limits.root), monotonic=clocks.monotonic, wall=clocks.wall),
            _closing=closing.pop_all(),
        )


def setup_problems(
    home: Home,
    config: Config,
    heads: Mapping[str, type[Head]],
    extractors: Mapping[str, ExtractorCard],
    drop_folder: Path,
) -> list[str]:
    """What would keep an agent from working, every problem at once, each with the key it is about."""
    problems = choice_problems(home, config, extractors) + head_problems(config.learning, heads)
    place, state = drop_folder.resolve(), home.path.resolve()
    if place == state or place in state.parents:
        problems.append(
            f"drop_folder.path: {drop_folder} holds the state directory {home.path}; choose another"
        )
    for folder in (home.archive_folder, home.rejected_folder, home.models_folder):
        if place == folder.resolve() or folder.resolve() in place.parents:
            problems.append(f"drop_folder.path: {drop_folder} lies in {folder}, which is the agent's own")
    return problems
