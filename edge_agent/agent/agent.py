"""This is where the agent is conducted: one step answers, takes in, learns and publishes."""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.agent.home import Home
from edge_agent.agent.learning import Outcome
from edge_agent.agent.policy import wait_seconds
from edge_agent.agent.stages import Clocks, Stages, open_stages
from edge_agent.agent.status import AgentState, StatusFile
from edge_agent.agent.summary import summarise
from edge_agent.config import Config
from edge_agent.errors import DiskFullError, EdgeAgentError, UserError
from edge_agent.ml.update import TaskStateChange, TrainingEvent
from edge_agent.plugins import PluginHost

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""After a failed step nothing is taken in for this long, while questions are still answered."""

Questions = ("predict", "versions", "rollback", "samples", "relabel", "forget", "status", "update")


@dataclass
class Request:
    """One thing asked of the agent; `reply` gets the answer or the error."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    fds: list[int] = field(default_factory=list)
    reply: Future[Any] = field(default_factory=Future)


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
    ) -> None:
        self._home = Home(home)
        self._config = config
        self._plugins = plugins
        self._clocks = clocks or Clocks()
        self._watch = watch
        self._drop_folder = drop_folder or self._home.drop_folder(config.drop_folder.path)
        self._inbox: queue.SimpleQueue[Request | TaskStateChange | TrainingEvent | _Bell] = queue.SimpleQueue()
        self._updates: list[Request] = []
        self._task_ended = False
        self._paused_until: float | None = None
        self._trouble = ""
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
        if self._status is not None:
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
        while not self.stopping and not self._idle():
            self.step_when_due()

    def step_when_due(self) -> None:
        """Wait until something is due or somebody asks, then step once."""
        self.step(patience_seconds=self._patience())

    def step(self, patience_seconds: float = 0.0) -> None:
        """Do what is due; wait up to `patience_seconds` for something when nothing is.

        This is the agent's step boundary: whatever goes wrong in here is logged and shown, and the agent goes on.
        """
        self._drain(patience_seconds)
        now = self._clocks.monotonic()
        if self._paused_until is not None and now < self._paused_until:
            self._write_status()
            return
        try:
            self._work()
        except DiskFullError as error:
            self._pause(f"no room left, intake pauses: {error}")
        except EdgeAgentError as error:
            self._pause(str(error))
        except Exception as error:  # noqa: BLE001  # the step boundary: a defect here must not stop the service
            log.exception("a step failed")
            self._pause(f"unexpected: {type(error).__name__}: {error}")
        else:
            if self._paused_until is not None:
                log.info("working again")
            self._paused_until, self._trouble = None, ""
        self._write_status()

    def _work(self) -> None:
        stages = self._open_stages
        stages.intake.step(between=self._drain)
        stale = stages.serving.version
        if stages.engine.facts or (stale and stages.store.count()):
            stages.refresh.step(between=self._drain)
        self._learn()

    def _learn(self) -> None:
        learning, serving = self._open_stages.learning, self._open_stages.serving
        if learning.task is not None:
            if self._task_ended:
                self._task_ended = False
                self._conclude()
            return
        situation = learning.situation(serving.version, self._open_stages.engine.facts, forced=bool(self._updates))
        if situation.forced and self._open_stages.intake.busy():
            return
        decision = self._plugins.ready_to_update(situation)
        if decision.answer and learning.start(self._open_stages.engine.start()):
            log.info("update started: %s", decision.reason)
        elif self._updates:
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
            self._answer(message)
        elif isinstance(message, TaskStateChange):
            self._plugins.task_state_changed(change=message)
        elif isinstance(message, TrainingEvent):
            self._task_ended = self._task_ended or message.event == "training_end"
            self._plugins.training(message)

    def _answer(self, request: Request) -> None:
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

    def _patience(self) -> float:
        """Seconds until something is due by itself."""
        stages, now = self._open_stages, self._clocks.monotonic()
        if self._paused_until is not None:
            return min(max(0.0, self._paused_until - now), self.longest_wait_seconds)
        waits = [stages.folder.rescan_seconds]
        look = stages.intake.next_look()
        if look is not None:
            waits.append(look - now)
        if stages.learning.task is None:
            situation = stages.learning.situation(stages.serving.version, stages.engine.facts, forced=False)
            wait = wait_seconds(situation, self._config.update)
            if wait is not None:
                waits.append(wait)
        return max(0.0, min(*waits, self.longest_wait_seconds))

    def _idle(self) -> bool:
        stages = self._open_stages
        if self._paused_until is not None or stages.learning.task is not None or self._updates:
            return False
        if stages.intake.busy():
            return False
        situation = stages.learning.situation(stages.serving.version, stages.engine.facts, forced=False)
        return wait_seconds(situation, self._config.update) is None

    def _pause(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.error("%s", trouble)
        self._trouble = trouble
        self._paused_until = self._clocks.monotonic() + RETRY_SECONDS

    def facts(self) -> dict[str, Any]:
        """What `status --json` says, as plain data."""
        stages = self._open_stages
        trouble = self._trouble or stages.serving.trouble
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
