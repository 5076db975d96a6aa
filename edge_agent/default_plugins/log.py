"""This is where each event becomes one readable line of the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edge_agent.hookspecs import Decision, hookimpl

if TYPE_CHECKING:
    from edge_agent.ml.update import TaskStateChange, TrainingEvent
    from edge_agent.store.registry import Version
    from edge_agent.store.samples import Rejection, Sample
    from edge_agent.vision.delegate_spec import DelegateChange

log = logging.getLogger("edge_agent")


class Log:
    """Writes what a person wants to know at INFO, what went wrong at WARNING and the rest at DEBUG.

    It does not listen to `mini_batch_end`, which is only emitted when somebody does.
    """

    @hookimpl
    def agent_started(self, home: str, version: int | None, extractor: str) -> None:
        """One line at the start."""
        serving = "nothing learned yet" if version is None else f"version {version} answers"
        log.info("started in %s with %s; %s", home, extractor, serving)

    @hookimpl
    def sample_ingested(self, sample: Sample) -> None:
        """Not for people: a thousand pictures are a thousand lines."""
        log.debug("took in %s as %r (%s)", sample.source_name, sample.label, sample.digest[:12])

    @hookimpl
    def sample_rejected(self, rejection: Rejection) -> None:
        """A person should look at it."""
        log.warning("refused %s: %s", rejection.path, rejection.reason)

    @hookimpl
    def task_state_changed(self, change: TaskStateChange) -> None:
        """Not for people."""
        log.debug("task %s: %s, was %s", change.task_identifier, change.state, change.previous)

    @hookimpl
    def training_begin(self) -> None:
        """The work begins."""
        log.info("training begins")

    @hookimpl
    def epoch_end(self, event: TrainingEvent) -> None:
        """Not for people."""
        log.debug("an epoch ends: %s", event.metrics)

    @hookimpl
    def training_end(self, event: TrainingEvent) -> None:
        """The work is done, or it is not."""
        log.log(logging.WARNING if event.state == "failed" else logging.INFO, "training %s", event.state)

    @hookimpl
    def candidate_evaluated(self, decision: Decision) -> None:
        """The verdict."""
        log.log(
            logging.INFO if decision.answer else logging.WARNING,
            "the candidate was %s: %s",
            "accepted" if decision.answer else "refused",
            decision.reason,
        )

    @hookimpl
    def version_published(self, version: Version) -> None:
        """A better classifier is live."""
        log.info("version %d answers, with the labels %s", version.number, ", ".join(version.labels))

    @hookimpl
    def version_rolled_back(self, version: Version, previous: int) -> None:
        """An older classifier is live."""
        log.info("version %d answers again in place of %d", version.number, previous)

    @hookimpl
    def delegate_changed(self, change: DelegateChange) -> None:
        """As loud as a failure: slow answers without a word are what owners complain of."""
        if change.is_fallback:
            log.warning(
                "the CPU looks at pictures now, no longer %s: %s; it is tried again by itself",
                change.previous,
                change.reason,
            )
        else:
            log.info("%s looks at pictures now: %s", change.current, change.reason)

    @hookimpl
    def agent_stopping(self, reason: str) -> None:
        """The last line."""
        log.info("stopping: %s", reason)
