"""This is where an agent's engine is given what chooses its delegate."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.agent.home import Home
from edge_agent.agent.sight import Sight
from edge_agent.config import ExtractorConfig
from edge_agent.plugins import PluginHost
from edge_agent.sections import suggest
from edge_agent.store.device_lock import SHARED_FOLDER
from edge_agent.vision.delegate_spec import CPU, DelegateSpec
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard

# Most boards have no accelerator: what tries and chooses one is imported where there is any.
if TYPE_CHECKING:
    from edge_agent.vision.accelerator import Accelerator
    from edge_agent.vision.delegate_bench import DelegateBench

ARCHIVED = 4
"""So many of the owner's own pictures a delegate is tried with, one of each label."""


def open_bench(
    home: Home, card: ExtractorCard, config: ExtractorConfig, monotonic: Callable[[], float]
) -> DelegateBench:
    """What delegates are tried on: the agent's extractor, some of its pictures, and what is remembered."""
    from edge_agent.vision.delegate_bench import DelegateBench
    from edge_agent.vision.delegate_records import DelegateRecords

    return DelegateBench(
        card,
        config,
        records=DelegateRecords(home.delegates_path),
        lock_folders=(SHARED_FOLDER, home.path),
        pictures=lambda: list(itertools.islice(_archived(home.archive_folder), ARCHIVED)),
        monotonic=monotonic,
    )


def open_accelerator(
    home: Home,
    card: ExtractorCard,
    config: ExtractorConfig,
    delegates: Mapping[str, DelegateSpec],
    monotonic: Callable[[], float],
) -> Accelerator | None:
    """What chooses among the delegates that plugins offer.

    None where there is nothing but the CPU, and for an extractor whose own backend says on what it computes.
    """
    if config.delegate == CPU or not set(delegates) - {CPU} or card.backend != TFLITE:
        return None
    from edge_agent.vision.accelerator import Accelerator

    return Accelerator(open_bench(home, card, config, monotonic), delegates.values())


def look_after(engine: Sight, plugins: PluginHost) -> None:
    """Let an accelerator come back, and tell plugins who looks at pictures now."""
    engine.tick()
    for change in engine.changes():
        plugins.delegate_changed(change)


def delegate_problems(config: ExtractorConfig, delegates: Mapping[str, DelegateSpec]) -> list[str]:
    """What is wrong with the configured delegate."""
    known = ["auto", *delegates]
    if config.delegate in known:
        return []
    hint = suggest(config.delegate, known)
    return [f"extractor.delegate: no plugin offers a delegate {config.delegate!r}{hint}"]


def _archived(folder: Path) -> Iterator[Path]:
    """One picture of each label."""
    for label in sorted(folder.glob("*")):
        yield from itertools.islice((path for path in sorted(label.glob("*")) if path.is_file()), 1)
