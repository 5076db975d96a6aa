"""This is where the agent is conducted: one step answers, takes in, learns and publishes."""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_agent.agent.home import Home
from edge_agent.agent.learning import Outcome
from edge_agent.agent.policy import UpdateSituation, wait_seconds
from edge_agent.agent.stages import Clocks, MakeEngine, Stages, open_stages
from edge_agent.agent.status import AgentState, StatusFile
from edge_agent.agent.summary import summarise
from edge_agent.config import Config
from edge_agent.errors import EdgeAgentError, UserError
from edge_agent.ml.update import TaskStateChange, TrainingEvent
from edge_agent.plugins import PluginHost
from edge_agent.vision.engine import Engine

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""Intake or learning rests for this long after it failed; questions are answered meanwhile."""

Questions = ("predict", "versions", "rollback", "samples", "relabel", "forget", "status", "update")


@dataclass
class Request:
    """One thing asked of the agent; `reply` gets the answer or the error."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    fds: list[int] = field(default_factory=list)
    reply: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True)
class _Pause:
    """A kind of work that failed, and until when it rests."""

    until: float
    trouble: str


@dataclass(frozen=True)
class _Bell:
    """Something may have changed in the drop folder."""


class Agent:
    """One agent on one state directory.

    Everything happens on the thread that calls `step`; other threads only put something into the inbox:

        watchdog ──bell──┐
        socket ──request─┼─► inbox ─► step: answer, take in, refresh, learn ─► facts to plugins
        training ──fact──┘
    """

    def __init__(
        self,
        home: Path,
        config: Config,
        plugins: PluginHost,
        *,
        drop_folder: Path | None = None,
        watch: bool = True,
        clocks: Clocks | None = None,
        make_engine: MakeEngine = Engine,
    ) -> None:
        self._home = Home(home)
        self._config = config
        self._plugins = plugins
        self._clocks = clocks or Clocks()
        self._watch = watch
        self._make_engine = make_engine
        self._drop_folder = drop_folder or self._home.drop_folder(config.drop_folder.path)
        self._inbox: queue.SimpleQueue[Request | TaskStateChange | TrainingEvent | _Bell] = queue.SimpleQueue()
        self._updates: list[Request] = []
        self._task_ended = False
        self._pauses: dict[str, _Pause] = {}
        self._postponed_at: float | None = None
        self._stages: Stages | None = None
        self._status: StatusFile | None = None
        self.stopping = ""
        self.longest_wait_seconds = float("inf")

    # ------------------------------------------------------------------ life

    def open(self) -> None:
        """Take the lock, open the store, verify and load the current version, look at the drop folder.

        Raises `HomeError`, `HomeLockedError`, `StoreError` or `UserError`; nothing is left open then.
        """
        self._stages = open_stages(
            self._home,
            self._config,
            self._plugins,
            drop_folder=self._drop_folder,
            watch=self._watch,
            ring=lambda: self._inbox.put(_Bell()),
            tell=self._inbox.put,
            clocks=self._clocks,
            make_engine=self._make_engine,
        )
        self._status = StatusFile(self._home.status_path, monotonic=self._clocks.monotonic)

    def start(self) -> None:
        """Start the engine and tell everybody that the agent is ready; the daemon's last act before `run`."""
        stages = self._open_stages
        self._write_status(AgentState.STARTING)
        facts = stages.engine.start()
        version = stages.serving.version
        self._plugins.agent_started(
            home=str(self._home.path), version=version.number if version else None, extractor=facts.name
        )
        self._write_status()

    def close(self, reason: str = "closed") -> None:
        """Stop a running update at its next mini-batch, drain what plugins are told, release everything.

        Safe without `open` and when called twice.
        """
        if self._stages is None:
            return
        stages, self._stages = self._stages, None
        self._plugins.agent_stopping(reason=reason)
        stages.learning.cancel()
        if stages.learning.task is not None:
            stages.learning.task.wait(timeout=5.0)
        self._fail_waiting()
        if self._status is not None and self._status.state is not AgentState.STARTING:
            self._status.update(state=AgentState.STOPPED)
            self._status.flush()
        self._plugins.flush(timeout=2.0)
        stages.close()

    # ------------------------------------------------------------------ work

    def ask(self, request: Request) -> None:
        """Put a request into the inbox; any thread."""
        self._inbox.put(request)

    def stop(self, reason: str) -> None:
        """End `run` after the step under way; any thread, and safe in a signal handler."""
        self.stopping = reason
        if self._stages is not None:
            self._stages.learning.cancel()
        self._inbox.put(_Bell())

    def run(self, alive: Callable[[], None] = lambda: None) -> None:
        """Step until `stopping` has a reason; `alive` is called once in each round of the loop."""
        while not self.stopping:
            alive()
            self.step_when_due()

    def run_until_idle(self) -> None:
        """Step until the drop folder is taken in, nothing is left to extract and no update is due or running."""
        self.step()  # before the first look nothing is known to wait
        while not self.stopping and not self.idle():
            self.step_when_due()

    def step_when_due(self) -> None:
        """Wait until something is due or somebody asks, then step once."""
        self.step(patience_seconds=self._patience())

    def step(self, patience_seconds: float = 0.0) -> None:
        """Do what is due; wait up to `patience_seconds` for something when nothing is.

        This is the agent's step boundary: whatever goes wrong in here is logged and shown, and the agent goes on.
        """
        self._drain(patience_seconds)
        for name, work in (("intake", self._take_in), ("learning", self._learn)):
            pause = self._pauses.get(name)
            if pause is not None and self._clocks.monotonic() < pause.until:
                continue
            try:
                work()
            except EdgeAgentError as error:
                self._pause(name, str(error))
            except Exception as error:  # noqa: BLE001  # the step boundary: a defect must not stop the service
                log.exception("%s failed", name)
                self._pause(name, f"unexpected {type(error).__name__}: {error}")
            else:
                if self._pauses.pop(name, None):
                    log.info("%s goes on", name)
        self._write_status()

    def _take_in(self) -> None:
        stages = self._open_stages
        stages.intake.step(between=self._drain)
        if stages.engine.facts is not None:
            stages.refresh.step(between=self._drain)

    def _learn(self) -> None:
        learning, serving = self._open_stages.learning, self._open_stages.serving
        if learning.task is not None:
            if self._task_ended:
                self._task_ended = False
                self._conclude()
            return
        if self._updates and "intake" in self._pauses:
            self._reply_updates(learning.nothing(self._pauses["intake"].trouble, state="failed"))
        if self._updates and self._open_stages.intake.busy():
            return
        situation = self._situation(forced=any(request.arguments.get("force") for request in self._updates))
        if self._updates and situation.new_samples > 0:
            situation = replace(situation, forced=True)
        decision = self._plugins.ready_to_update(situation)
        if decision.answer:
            facts = self._open_stages.engine.start()
            if self._open_stages.refresh.remaining(facts.fingerprint):
                return
            if learning.start(facts):
                log.info("update started: %s", decision.reason)
                self._postponed_at = None
                return
        elif wait_seconds(situation, self._config.update) == 0.0:
            # A plugin says no where the built-in policy would say yes: ask it again from time to time.
            self._postponed_at = self._clocks.monotonic()
        if self._updates:
            self._reply_updates(learning.nothing(decision.reason))

    def _conclude(self) -> None:
        stages = self._open_stages
        before = stages.serving.version
        outcome = stages.learning.finish(before, stages.serving.model, stages.engine.start())
        if outcome.state == "published":
            stages.serving.reload()
            version = stages.serving.version
            assert version is not None
            self._plugins.version_published(version=version)
        elif outcome.state == "failed":
            self._pause("learning", outcome.message)
        self._reply_updates(outcome)

    # ------------------------------------------------------------------ inbox

    def _drain(self, patience_seconds: float = 0.0) -> None:
        """Handle what the inbox holds; wait for the first message up to `patience_seconds`."""
        try:
            message = self._inbox.get(timeout=patience_seconds) if patience_seconds > 0 else self._inbox.get_nowait()
            while True:
                self._handle(message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _handle(self, message: Request | TaskStateChange | TrainingEvent | _Bell) -> None:
        if isinstance(message, Request):
            self.answer(message)
        elif isinstance(message, TaskStateChange):
            self._plugins.task_state_changed(change=message)
        elif isinstance(message, TrainingEvent):
            self._task_ended = self._task_ended or message.event == "training_end"
            self._plugins.training(message)

    def answer(self, request: Request) -> None:
        """Answer one request now, or put an update on the list; the thread that steps."""
        if request.name == "update":
            self._updates.append(request)
            return
        try:
            answer = self._look_up(request)
        except EdgeAgentError as error:
            request.reply.set_exception(error)
        except Exception as error:  # noqa: BLE001  # part of the step boundary: one bad question, one error
            log.exception("%s failed", request.name)
            request.reply.set_exception(EdgeAgentError(f"{request.name} failed: {error}"))
        else:
            request.reply.set_result(answer)
        finally:
            for fd in request.fds:
                os.close(fd)

    def _look_up(self, request: Request) -> Any:
        answers, given = self._open_stages.answers, request.arguments
        match request.name:
            case "predict":
                fds, request.fds = request.fds, []
                return answers.predict(given["names"], fds, top=given.get("top"), version=given.get("version"))
            case "versions":
                return answers.versions()
            case "rollback":
                return answers.roll_back(given.get("to"))
            case "samples":
                return answers.samples(given.get("label"), given.get("limit"), given.get("offset", 0))
            case "relabel":
                return answers.relabel(given["digest"], given["label"])
            case "forget":
                return answers.forget(digest=given.get("digest"), label=given.get("label"))
            case "status":
                return self.facts()
        raise UserError(f"the agent knows no question {request.name!r}; it answers {', '.join(Questions)}")

    def _reply_updates(self, outcome: Outcome) -> None:
        waiting, self._updates = self._updates, []
        for request in waiting:
            request.reply.set_result(outcome.to_json())

    def _fail_waiting(self) -> None:
        self._drain()
        waiting, self._updates = self._updates, []
        for request in waiting:
            request.reply.set_exception(UserError("the agent stopped before the update was done"))

    # ------------------------------------------------------------------ time and status

    @property
    def _open_stages(self) -> Stages:
        assert self._stages is not None, "the agent is not open"
        return self._stages

    def _situation(self, *, forced: bool = False) -> UpdateSituation:
        stages = self._open_stages
        return stages.learning.situation(
            stages.serving.version, stages.engine.facts, pending_files=stages.intake.pending, forced=forced
        )

    def _patience(self) -> float:
        """Seconds until something is due by itself."""
        stages, now = self._open_stages, self._clocks.monotonic()
        waits = [pause.until - now for pause in self._pauses.values()]
        look = stages.intake.next_look()
        if look is not None and "intake" not in self._pauses:
            waits.append(look - now)
        if stages.learning.task is None and "learning" not in self._pauses:
            situation = self._situation()
            wait = wait_seconds(situation, self._config.update)
            if self._postponed_at is not None:
                waits.append(self._postponed_at + RETRY_SECONDS - now)
            elif wait is not None:
                waits.append(wait)
        if self._refreshing():
            waits.append(0.0)
        return max(0.0, min([*waits, self.longest_wait_seconds]))

    @property
    def updating(self) -> bool:
        """Whether an update task is under way."""
        return self._open_stages.learning.task is not None

    def idle(self) -> bool:
        """Whether nothing is left to take in, to extract or to learn until something new arrives."""
        stages = self._open_stages
        if self._pauses:
            return True  # what failed once is not waited for; the caller is told by `facts()["trouble"]`
        if stages.learning.task is not None or self._updates:
            return False
        if stages.intake.busy():
            return False
        if self._postponed_at is not None:
            return True
        situation = self._situation()
        return not self._refreshing() and wait_seconds(situation, self._config.update) is None

    def _refreshing(self) -> bool:
        stages = self._open_stages
        return stages.engine.facts is not None and stages.refresh.remaining(stages.engine.facts.fingerprint)

    def _pause(self, name: str, trouble: str) -> None:
        """Let one kind of work rest after a failure; a trouble is logged when it is new."""
        before = self._pauses.get(name)
        if before is None or before.trouble != trouble:
            log.error("%s pauses: %s", name, trouble)
        self._pauses[name] = _Pause(self._clocks.monotonic() + RETRY_SECONDS, trouble)

    def facts(self) -> dict[str, Any]:
        """What `status --json` says, as plain data."""
        stages = self._open_stages
        troubles = [pause.trouble for pause in self._pauses.values()]
        trouble = "; ".join(filter(None, [*troubles, stages.serving.trouble]))
        state = AgentState.DEGRADED if trouble else AgentState.OK
        return summarise(stages, self._plugins, state=state, trouble=trouble)

    def _write_status(self, state: AgentState | None = None) -> None:
        assert self._status is not None
        facts = self.facts()
        if state is not None:
            facts["state"] = state.value
        try:
            self._status.update(**facts)
        except EdgeAgentError as error:
            log.warning("status cannot be written: %s", error)
