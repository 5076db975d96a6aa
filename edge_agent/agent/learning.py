"""This is where stored samples become a published version: train, evaluate, decide, publish."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_agent.agent.bursts import divided
from edge_agent.agent.head_settings import head_parameters
from edge_agent.agent.judging import Trained, judge
from edge_agent.agent.learned import Learned
from edge_agent.agent.outcomes import Outcome
from edge_agent.agent.policy import UpdateSituation
from edge_agent.agent.publishing import Candidate, publish
from edge_agent.agent.recollection import Recollection
from edge_agent.agent.refusals import Refusals
from edge_agent.agent.split import Split, relearned
from edge_agent.config import LearningConfig, UpdateConfig
from edge_agent.errors import DiskFailedError, EdgeAgentError, NotFoundError, StoreError
from edge_agent.hookspecs import Decision
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.update import (
    MLTaskState,
    MLUpdateContext,
    MLUpdateProgressEvent,
    MLUpdateProgressHandlers,
    MLUpdateTask,
    TaskStateChange,
    TrainingEvent,
)
from edge_agent.plugins import PluginHost
from edge_agent.store.registry import Version, VersionRegistry
from edge_agent.store.samples import Sample, SampleStore, TrainingSet
from edge_agent.store.sums import KeptSums
from edge_agent.vision.engine import EngineFacts

log = logging.getLogger(__name__)

LEARNED_REVISION = "learned_revision"
"""Where the store keeps which of its revisions the last finished update saw."""


@dataclass
class _Running:
    task: MLUpdateTask
    training_set: TrainingSet
    parts: Split
    revision: int
    started: float
    unseen: bool
    """Something that an update would learn from was left for the next one."""
    outdated: bool = False


class Learning:
    """Runs one update at a time; training is on the task's own thread, everything else on the agent's.

    `tell` is called on the training thread with a fact for the agent's inbox; nothing else crosses threads.
    """

    def __init__(
        self,
        store: SampleStore,
        registry: VersionRegistry,
        plugins: PluginHost,
        heads: Mapping[str, type[Head]],
        learning: LearningConfig,
        update: UpdateConfig,
        tell: Callable[[TaskStateChange | TrainingEvent], None],
        sums: KeptSums,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._registry = registry
        self._plugins = plugins
        self._heads = heads
        self._learning = learning
        self._update = update
        self._parameters = head_parameters(heads[learning.head], learning)
        self._tell = tell
        self._sums = sums
        self._monotonic = monotonic
        self._wall = wall
        self.refusals = Refusals(registry.folder)
        self._running: _Running | None = None
        self._revision_seen = store.revision
        self._changed_at = monotonic()
        self._judged: tuple[int, str] | None = None
        self._recollection = Recollection()
        self._counted: tuple[int, dict[str, int]] | None = None
        self._last: Outcome | None = None

    @property
    def task(self) -> MLUpdateTask | None:
        """The update that is under way, or None."""
        return self._running.task if self._running else None

    def situation(
        self, current: Version | None, facts: EngineFacts | None, *, pending_files: int, forced: bool = False
    ) -> UpdateSituation:
        """What the policy needs to know to decide whether to update now."""
        now = self._monotonic()
        if self._store.revision != self._revision_seen:
            self._revision_seen, self._changed_at = self._store.revision, now
        labels = self.labels()
        new = self._store.revision - int(self._store.meta(LEARNED_REVISION) or 0)
        stale = facts and current and current.extractor_fingerprint != facts.fingerprint
        judged = self._judged == (self._store.revision, facts.fingerprint if facts else "")
        if judged:
            new = 0  # whether or not that could be written down
        elif stale or current is None:
            new = max(new, sum(labels.values()))
        known = set(current.labels) if current else set()
        return UpdateSituation(
            new_samples=new,
            seconds_since_last_change=now - self._changed_at,
            unknown_labels={label: count for label, count in labels.items() if label not in known},
            current_version=current.number if current else None,
            labels=labels,
            forced=forced,
            pending_files=pending_files,
        )

    def start(self, facts: EngineFacts, instead_of: Version | None = None) -> None:
        """Begin an update from all stored samples.

        With `instead_of` only from those that version learned, and what is new since is left for the next update,
        where it is judged: a version that has to go because of what is forgotten is no reason to trust the rest.
        Raises `StoreError` when none of them can be learned from, `MLModelError` when the head refuses them.
        """
        assert self._running is None
        training_set = self._store.snapshot(facts.fingerprint)
        parts = whole = divided(training_set, self._learning)
        if instead_of is not None:
            parts = relearned(training_set, whole, self._recollection.learned_by(instead_of))
        if not len(parts.training):
            raise StoreError(
                f"none of the {self._store.count()} samples can be learned from: this extractor has not seen them,"
                " and their pictures were not archived"
            )
        base = MLModel.factory(
            self._heads[self._learning.head],
            n_features=facts.n_features,
            extractor_fingerprint=facts.fingerprint,
        )
        task = MLUpdateTask(
            for_model_at=base,
            training_data=training_set.provider(parts.training, keeper=self._sums.follow),
            configuration=MLModelConfiguration(parameters=self._parameters),
            progress_handlers=self._handlers(),
            on_state_change=self._tell,
        )
        unseen = parts.training != whole.training
        begun = self._monotonic()
        self._running = _Running(task, training_set, parts, self._store.revision, begun, unseen)
        task.resume()

    def _handlers(self) -> MLUpdateProgressHandlers:
        events = MLUpdateProgressEvent.TRAINING_BEGIN | MLUpdateProgressEvent.EPOCH_END
        if self._plugins.listens("mini_batch_end"):
            events |= MLUpdateProgressEvent.MINI_BATCH_END

        def tell(context: MLUpdateContext) -> None:
            self._tell(context.as_event())

        return MLUpdateProgressHandlers(for_events=events, progress_handler=tell, completion_handler=tell)

    def labels(self) -> dict[str, int]:
        """How many samples each label has; counted once for each revision of the store."""
        revision = self._store.revision
        if self._counted is None or self._counted[0] != revision:
            self._counted = (revision, self._store.counts())
        return self._counted[1]

    def nothing(self, reason: str, state: str = "nothing") -> Outcome:
        """What to tell somebody who asked for an update that did not even begin."""
        return Outcome(state, None, None, 0.0, 0, reason)

    def last_update(self) -> dict[str, Any] | None:
        """How the last update ended, from the journal, so that it is known after a restart too."""
        if self._last is None:
            noted = self._store.last_update()
            if noted is not None:
                self._last = Outcome(
                    noted.state, noted.version, noted.accuracy, noted.seconds, noted.samples, noted.message
                )
        return self._last.to_json() if self._last else None

    def cancel(self) -> None:
        """Ask the running update to stop at its next mini-batch."""
        if self._running:
            self._running.task.cancel()

    def unlearn(self, sequences: Collection[int]) -> None:
        """Let nothing come of an update that learns from something removed now, nor say what it was about.

        Its features are taken out of the sums as long as they are there, and what is remembered of judgements is let
        go: it names samples. Raises `StoreError` when the disk refuses.
        """
        self._last = None
        self._recollection = Recollection()
        if self._running:
            self._running.outdated = True
            self._running.task.cancel()
        self._sums.drop(sequences)

    def close(self) -> None:
        """Write down what spares the next start some work."""
        try:
            self._sums.save()
        except StoreError as error:
            log.warning("the sums over the samples are not kept: %s", error)

    def finish(
        self, current: Version | None, serving: MLModel | None, facts: EngineFacts, *, insisted: bool = False
    ) -> Outcome:
        """Take the ended task through evaluation, decision and publishing; the agent's thread.

        With `insisted` the candidate is published also when it would be refused.
        """
        assert self._running is not None
        running, self._running = self._running, None
        running.task.wait()
        samples = len(running.parts.training)
        try:
            self._store.database.trust()
            outcome = self._conclude(running, current, serving, facts, insisted=insisted)
        except EdgeAgentError as error:
            if isinstance(error, DiskFailedError):
                self._store.database.distrust(str(error))
            log.error("the update failed: %s", error)  # noqa: TRY400  # foreseen; a page of code helps nobody
            outcome = Outcome("failed", None, None, self._monotonic() - running.started, samples, str(error))
        outcome = replace(outcome, unseen=running.unseen)
        try:
            self._note(outcome, running.revision, facts)
        except StoreError as error:
            # What was published is published; a journal that cannot be written must not undo it.
            log.warning("the update cannot be noted: %s", error)
        self._last = outcome
        return outcome

    def _note(self, outcome: Outcome, revision: int, facts: EngineFacts) -> None:
        if outcome.unseen:
            # What is new, and what was refused, is judged by the next update, whatever was noted before.
            self._judged = None
            seen = min(int(self._store.meta(LEARNED_REVISION) or 0), revision - 1)
            self._store.set_meta(LEARNED_REVISION, str(seen))
        elif outcome.state in ("published", "refused"):
            self._judged = (revision, facts.fingerprint)
            self._store.set_meta(LEARNED_REVISION, str(revision))
        if outcome.state == "published":
            if not outcome.unseen:
                self.refusals.remove()
            self._registry.prune(self._update.keep_versions)
        if outcome.state == "failed" and self._last and self._last.message == outcome.message:
            return  # the same failure again, as it is retried: one line in the journal is enough
        self._store.record_update(
            state=outcome.state,
            version=outcome.version,
            samples=outcome.samples,
            seconds=outcome.seconds,
            accuracy=outcome.accuracy,
            message=outcome.message,
        )

    def _conclude(
        self,
        running: _Running,
        current: Version | None,
        serving: MLModel | None,
        facts: EngineFacts,
        *,
        insisted: bool,
    ) -> Outcome:
        samples = len(running.parts.training)

        def ended(
            state: str, message: str, *, version: int | None = None, accuracy: float | None = None
        ) -> Outcome:
            return Outcome(state, version, accuracy, self._monotonic() - running.started, samples, message)

        if running.outdated:
            return ended("cancelled", "samples were removed while it learned from them")
        if running.task.state is MLTaskState.CANCELLED:
            return ended("cancelled", "the update was cancelled")
        if running.task.state is not MLTaskState.COMPLETED:
            return replace(ended("failed", str(running.task.error)), untrainable=True)
        candidate = running.task.model
        assert candidate is not None, "a completed task has a model"
        other = current is not None and current.extractor_fingerprint != facts.fingerprint
        before = self._store.snapshot(current.extractor_fingerprint) if current and other else None
        made = Trained(candidate, running.training_set, running.parts)
        evaluation = judge(made, current, serving, self._sample, before, self._recollection)
        decision = self._plugins.accept_candidate(evaluation)
        if insisted and not decision.answer:
            reason = f"published because its owner insists, although: {decision.reason}"
            decision = Decision(answer=True, reason=reason, basis="owner")
        self._plugins.candidate_evaluated(evaluation=evaluation, decision=decision)
        accuracy = evaluation.candidate.accuracy
        if not decision.answer:
            self.refusals.keep(evaluation, decision, self._wall())
            return ended("refused", decision.reason, accuracy=accuracy)
        version = publish(
            self._registry,
            Candidate(candidate, running.training_set, running.parts.training, self._learning.head),
            self._heads,
            facts,
            evaluation,
            decision,
            parent=current.number if current else None,
        )
        self._recollection.publish(version, Learned.among(running.training_set, running.parts.training))
        return ended("published", decision.reason, version=version.number, accuracy=accuracy)

    def _sample(self, digest: str) -> Sample | None:
        try:
            return self._store.get(digest)
        except NotFoundError:
            return None
