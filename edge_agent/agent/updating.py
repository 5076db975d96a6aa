"""This is where an update is started when one is wanted, and where those who asked for it hear how it ended."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from edge_agent.agent.limits import LIMITS, Limits
from edge_agent.agent.outcomes import Outcome
from edge_agent.agent.pauses import REST_SECONDS
from edge_agent.agent.policy import UpdateSituation, wait_seconds
from edge_agent.agent.requests import Request
from edge_agent.agent.stages import Stages
from edge_agent.config import LONGEST_SECONDS, Config
from edge_agent.errors import EdgeAgentError, MLModelError
from edge_agent.plugins import PluginHost

log = logging.getLogger(__name__)

HOLD_SECONDS = 1.0
"""How often the board is looked at while an update is under way."""


class Updating:
    """Asks the plugins whether to update, starts one update at a time and concludes it; the agent's thread."""

    def __init__(
        self, stages: Stages, plugins: PluginHost, config: Config, monotonic: Callable[[], float]
    ) -> None:
        self._stages = stages
        self._plugins = plugins
        self._config = config.update
        self._monotonic = monotonic
        self._limits = Limits(config.limits)
        self._asked: list[Request] = []
        self._forgot: list[tuple[Request, dict[str, Any], list[int]]] = []
        self._ended = False
        self._postponed_at: float | None = None
        self.why_not = ""
        """Why the last time that was asked no update was started; empty when one was."""
        self.limited = ""
        """The limit of the board that an update waits or rests for; empty when for none."""
        self._rests = False
        self.hurries = False
        """Nobody waits for more pictures than are there: an update is due when they are taken in, not before."""

    @property
    def running(self) -> bool:
        """Whether an update task is under way."""
        return self._stages.learning.task is not None

    def ask(self, request: Request) -> None:
        """Remember who wants an update now; the request is answered with its outcome."""
        request.close_files()  # an update needs none, and may take long
        self._asked.append(request)
        self._stages.intake.look_again()  # what lies there now belongs to it, seen already or not

    def task_ended(self) -> None:
        """Note that the task said its last; it is concluded at the next step."""
        self._ended = True

    def answer_when_made(self, request: Request, answer: dict[str, Any]) -> None:
        """Answer what was forgotten once a version without it is there, or it is known why there is none."""
        before = [*answer["versions_removed"], *answer["versions_left"]]
        self._forgot.append((request, answer, before))
        if not self._stages.forgetting.waits:
            self._reply_forgotten("")

    def hold(self) -> None:
        """Let the update under way rest while the board is at a limit, and go on when it is well again."""
        task = self._stages.learning.task
        if task is None:
            self._rests = False
            return
        insisted = self._forced or self._stages.forgetting.waits
        reading = self._stages.board.reading()
        self.limited = "" if insisted else self._limits.reached(reading, asked=bool(self._asked))
        if self.limited and not self._rests:
            log.warning("the update rests: %s", self.limited)
            task.pause()
        elif self._rests and not self.limited:
            log.info("the update goes on")
            with suppress(MLModelError):  # it is over already
                task.resume()
        self._rests = bool(self.limited)

    def step(self, intake_trouble: str) -> None:
        """Start an update when one is wanted, and conclude the one that ended.

        Raises `EdgeAgentError` when an update could not be started or failed.
        """
        ending = self.running
        try:
            self._stages.forgetting.resume()
            self._step(intake_trouble)
        except EdgeAgentError as error:
            self._reply_forgotten(str(error), trouble=True)
            raise
        # An update that ended and changed nothing was begun before: the next one is meant.
        if not self.running and not (ending and self._stages.forgetting.waits):
            self._reply_forgotten(self.why_not)

    def _step(self, intake_trouble: str) -> None:
        self._change_extractor()
        if self.running:
            if self._ended:
                self._ended = False
                self._conclude()
            return
        if self._asked and intake_trouble:
            self._reply(self._stages.learning.nothing(intake_trouble, state="failed"))
        if (self._asked or self.hurries) and self._stages.intake.busy():
            return
        try:
            why_not = self._start()
        except EdgeAgentError as error:
            self._reply(self._stages.learning.nothing(str(error), state="failed"))
            raise
        if why_not:
            self._reply(self._stages.learning.nothing(why_not))

    def _change_extractor(self) -> None:
        """Look with the extractor that was asked for, as soon as no update learns from what the one before saw."""
        if self._stages.engine.wanted is None:
            return
        if self.running:
            self._stages.learning.cancel()
        else:
            self._stages.engine.switch()

    def _start(self) -> str:
        """Ask the plugins and start if they say so; returns why nothing was started, or nothing."""
        self._stages.store.database.trust()
        if self._asked:
            self._stages.engine.start()  # only then is it known whether the extractor is still the same
        situation = self._situation(forced=self._forced)
        if self._asked and situation.new_samples > 0:
            situation = replace(situation, forced=True)
        decision = self._plugins.ready_to_update(situation)
        self._postponed_at = None
        held = self._stages.probation.holds(self._stages.store.revision)
        self.why_not = "" if decision.answer else held or decision.reason
        self.limited = decision.reason if decision.basis == LIMITS and not decision.answer else ""
        if not decision.answer:
            if wait_seconds(situation, self._config) == 0.0:
                # A plugin says no where the built-in policy would say yes: ask it again from time to time.
                self._postponed_at = self._monotonic()
            return self.why_not
        facts = self._stages.engine.start()
        if not self._stages.rebuild.remaining and not self._stages.refresh.remaining(facts.fingerprint):
            if self._stages.forgetting.waits and not self._stages.store.snapshot(facts.fingerprint):
                self._unpublish()  # nothing is left that a version could learn from
            waits = self._stages.forgetting.waits
            self._stages.learning.start(facts, self._stages.serving.version if waits else None)
            log.info("update started: %s", decision.reason)
        return ""

    def _conclude(self) -> None:
        stages = self._stages
        before = stages.serving.version
        # What is to be forgotten is not compared with: the comparison would be written down.
        compared = None if stages.forgetting.waits else stages.serving.model
        outcome = stages.learning.finish(before, compared, stages.engine.start(), insisted=self._forced)
        # What a task leaves behind refers to itself; its matrices would stay until Python happens to look, which
        # counts objects, not bytes.
        gc.collect()
        if outcome.state == "published":
            stages.serving.reload()
            if stages.serving.version is not None:
                stages.probation.begin(stages.serving.version)
                stages.engine.rest(stages.serving.version.extractor_fingerprint)
                self._plugins.version_published(version=stages.serving.version)
            stages.forgetting.resume()
        elif outcome.state == "refused" or outcome.untrainable:
            self._unpublish()
        if not (outcome.unseen and outcome.state == "published"):
            self._reply(outcome)  # who asked means the new pictures, which are next
        if outcome.state == "failed":
            raise EdgeAgentError(outcome.message)

    def _unpublish(self) -> None:
        """Let no version answer that learned from what is to be forgotten; an older one does, or none."""
        serving = self._stages.serving
        before = serving.version
        self._stages.forgetting.unpublish()
        if before is not None and serving.version not in (None, before):
            self._plugins.version_rolled_back(version=serving.version, previous=before.number)

    def _reply(self, outcome: Outcome) -> None:
        asked, self._asked = self._asked, []
        for request in asked:
            request.reply.set_result(outcome.to_json())

    def _reply_forgotten(self, why_not: str, *, trouble: bool = False) -> None:
        forgot, self._forgot = self._forgot, []
        for request, answer, before in forgot:
            now = self._stages.answers.forgotten(before)
            because = why_not if trouble else ""
            if now["versions_left"] and not because:
                because = why_not or "archived pictures are looked at again first, when the agent runs"
            request.reply.set_result({**answer, **now, "because": because})

    def give_up(self, error: Exception) -> None:
        """Tell everybody who still waits that nothing will come."""
        self._reply_forgotten(str(error), trouble=True)
        asked, self._asked = self._asked, []
        for request in asked:
            request.fail(error)

    def wait_seconds(self) -> float | None:
        """After how many seconds an update may be due by itself; None when only a change can make it so."""
        if self.running:
            return HOLD_SECONDS
        if self._waits_for_pictures():
            return None
        if self._postponed_at is not None:
            return max(0.0, self._postponed_at + REST_SECONDS - self._monotonic())
        return wait_seconds(self._situation(), self._config)

    @property
    def _forced(self) -> bool:
        """Whether somebody insists on an update."""
        return any(request.arguments.get("force") for request in self._asked)

    def _waits_for_pictures(self) -> bool:
        """Whether intake or the reading of the archive, which have times of their own, come first."""
        facts = self._stages.engine.facts
        return bool((self._asked or self.hurries) and self._stages.intake.busy()) or (
            facts is not None and self._stages.refresh.remaining(facts.fingerprint)
        )

    def idle(self) -> bool:
        """Whether no update runs, is wanted or will be due by itself."""
        if self.running or self._asked:
            return False
        return self._postponed_at is not None or wait_seconds(self._situation(), self._config) is None

    def _situation(self, *, forced: bool = False) -> UpdateSituation:
        stages = self._stages
        situation = stages.learning.situation(
            stages.serving.version,
            stages.engine.facts,
            pending_files=stages.intake.arriving,
            forced=forced or stages.forgetting.waits,
        )
        held = stages.probation.holds(stages.store.revision)
        if self.hurries and not stages.intake.busy():
            situation = replace(situation, seconds_since_last_change=LONGEST_SECONDS)
        return replace(
            situation,
            new_samples=0 if held else situation.new_samples,
            board=stages.board.reading(),
            insisted=self._forced or stages.forgetting.waits,
        )
