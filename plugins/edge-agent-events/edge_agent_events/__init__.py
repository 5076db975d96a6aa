"""This is where the plugin `events` listens: everything that happens becomes a JSON line.

One name in four places: distribution `edge-agent-events`, module `edge_agent_events`, entry point `events`,
settings `[plugins.events]`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent import Decision, hookimpl
from edge_agent.hookspecs import OBSERVATIONS
from edge_agent.sections import suggest
from edge_agent_events.lines import event_line
from edge_agent_events.places import LineFile, Program

if TYPE_CHECKING:
    import click

    from edge_agent.agent.evaluation import Evaluation
    from edge_agent.ml.update import TaskStateChange, TrainingEvent
    from edge_agent.store.registry import Version
    from edge_agent.store.samples import Rejection, Sample
    from edge_agent.vision.delegate_spec import DelegateChange


class EventsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[plugins.events]`."""

    file: str = ""
    """An absolute path; lines are appended to it. A leading `~` is the home of the agent's user."""
    command: tuple[str, ...] = ()
    """A program and its arguments; it gets the lines on its standard input."""
    events: tuple[str, ...] = ()
    """The events that are wanted; none named means all but `mini_batch_end`, which come by the thousand."""

    def __post_init__(self) -> None:
        """Raise `ValueError`, which the agent reports as a problem of this table."""
        for name in self.events:
            if name not in OBSERVATIONS:
                raise ValueError(f"events: there is no event {name!r}{suggest(name, OBSERVATIONS)}")
        if self.file and not Path(self.file).expanduser().is_absolute():
            raise ValueError(f"file: {self.file!r} is not an absolute path; a daemon's folder is not yours")
        if self.command and not self.command[0]:
            raise ValueError("command: the first item is the program to run and must not be empty")


class Events:
    """Writes each event to the places that the settings name; without a place it listens to nothing.

    The agent tells this plugin on a thread of its own, so a slow disk or a slow program delays nobody else.
    """

    Settings = EventsSettings

    def __init__(
        self,
        settings: EventsSettings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._file = LineFile(Path(settings.file).expanduser()) if settings.file else None
        self._program = Program(settings.command, monotonic=monotonic) if settings.command else None
        self._wanted = set(settings.events) or set(OBSERVATIONS) - {"mini_batch_end"}
        heard = self._wanted if self._file else set()
        if self._program:
            heard = self._wanted | {"agent_stopping"}
        for name in set(OBSERVATIONS) - heard:
            # A hook that is None is not listened to, so the agent need not even make the event.
            setattr(self, name, None)

    def _write(self, event: str, **facts: Any) -> None:
        line = event_line(event, self._clock(), facts)
        try:
            if self._file is not None:
                self._file.write(line)
        finally:
            if self._program is not None:
                self._program.write(line)

    @hookimpl
    def register_commands(self, register: Callable[[click.Command], None]) -> None:
        """`edge-agent events FILE`."""
        from edge_agent_events.command import events

        register(events)

    @hookimpl
    def agent_started(self, home: str, version: int | None, extractor: str) -> None:
        """`home`, `version`, `extractor`."""
        self._write("agent_started", home=home, version=version, extractor=extractor)

    @hookimpl
    def sample_ingested(self, sample: Sample) -> None:
        """`sample`."""
        self._write("sample_ingested", sample=sample)

    @hookimpl
    def sample_rejected(self, rejection: Rejection) -> None:
        """`rejection`."""
        self._write("sample_rejected", rejection=rejection)

    @hookimpl
    def task_state_changed(self, change: TaskStateChange) -> None:
        """`change`."""
        self._write("task_state_changed", change=change)

    @hookimpl
    def training_begin(self, event: TrainingEvent) -> None:
        """`training`: what is going on, because `event` is the name of the line."""
        self._write("training_begin", training=event)

    @hookimpl
    def mini_batch_end(self, event: TrainingEvent) -> None:
        """`training`."""
        self._write("mini_batch_end", training=event)

    @hookimpl
    def epoch_end(self, event: TrainingEvent) -> None:
        """`training`."""
        self._write("epoch_end", training=event)

    @hookimpl
    def training_end(self, event: TrainingEvent) -> None:
        """`training`."""
        self._write("training_end", training=event)

    @hookimpl
    def candidate_evaluated(self, evaluation: Evaluation, decision: Decision) -> None:
        """`evaluation`, `decision`."""
        self._write("candidate_evaluated", evaluation=evaluation, decision=decision)

    @hookimpl
    def version_published(self, version: Version) -> None:
        """`version`."""
        self._write("version_published", version=version)

    @hookimpl
    def version_rolled_back(self, version: Version, previous: int) -> None:
        """`version`, `previous`."""
        self._write("version_rolled_back", version=version, previous=previous)

    @hookimpl
    def delegate_changed(self, change: DelegateChange) -> None:
        """`change`."""
        self._write("delegate_changed", change=change)

    @hookimpl
    def agent_stopping(self, reason: str) -> None:
        """`reason`; afterwards the program reads the end of its input."""
        try:
            if "agent_stopping" in self._wanted:
                self._write("agent_stopping", reason=reason)
        finally:
            if self._program is not None:
                self._program.close()
