"""This is where a person sees how far the training of a classifier is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from edge_agent.cli.output import percent
from edge_agent.ml.training_progress import MLPhase, MLProgress, MLProgressMetric

WORDS = {
    MLPhase.EXTRACTING_FEATURES: "looking at pictures",
    MLPhase.TRAINING: "learning",
    MLPhase.EVALUATING: "measuring",
}
SHOWN = {MLProgressMetric.ACCURACY: "training", MLProgressMetric.VALIDATION_ACCURACY: "validation"}
"""The metrics that stand beside the bar."""


class Bar(Protocol):
    """Listens to a job; any thread."""

    def enter(self, phase: MLPhase) -> None:
        """A phase begins."""

    def report(self, progress: MLProgress) -> None:
        """So far is it."""

    def say(self, text: str) -> None:
        """A line for the person who waits."""


class NoBar:
    """What listens where nobody watches; only lines are said, on standard error."""

    def enter(self, phase: MLPhase) -> None:
        """Nothing."""

    def report(self, progress: MLProgress) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """The line."""
        print(text, file=sys.stderr)


class TrainingBar:
    """One bar for the phase under way: files while pictures are looked at, iterations while it learns."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def enter(self, phase: MLPhase) -> None:
        """Begin a bar for this phase in place of the last one."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(WORDS.get(phase, phase.value), total=None, accuracy="")

    def report(self, progress: MLProgress) -> None:
        """Move it, and show how well it learns."""
        if self._task is None:
            return
        known = [(word, progress.metrics[key]) for key, word in SHOWN.items() if key in progress.metrics]
        self._bar.update(
            self._task,
            completed=progress.item_count,
            total=progress.total_item_count,
            accuracy=", ".join(f"{word} {percent(share)}" for word, share in known),
            refresh=progress.item_count == progress.total_item_count,
        )

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def training_bar(console: Console | None = None) -> Iterator[Bar]:
    """A bar on standard error while a block runs; none where that is not a terminal."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield NoBar()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[accuracy]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield TrainingBar(bar)
