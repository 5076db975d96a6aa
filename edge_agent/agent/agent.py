"""This is where the agent is conducted: one step answers, takes in, learns and publishes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent.agent.accelerating import look_after
from edge_agent.agent.home import Home
from edge_agent.agent.inbox import Inbox, Message
from edge_agent.agent.pauses import REST_SECONDS, Pauses
from edge_agent.agent.requests import CHANGES, FORGET, LOOKS, UPDATE, Request, answer
from edge_agent.agent.stages import Clocks, MakeEngine, Stages, open_stages
from edge_agent.agent.status import AgentState, StatusFile
from edge_agent.agent.summary import summarise
from edge_agent.agent.updating import Updating
from edge_agent.config import Config
from edge_agent.errors import EdgeAgentError, NotAnsweredError, StoreError
from edge_agent.ml.update import TaskStateChange, TrainingEvent
from edge_agent.plugins import PluginHost
from edge_agent.vision.engine import Engine

log = logging.getLogger(__name__)

AFTERWARDS_SECONDS = 1.0
"""So long after a question that changes nothing it is looked at the latest what it left behind: a status, an engine."""


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
        self._inbox = Inbox(self._handle)
        self._started = False
        self._due: float | None = None
        self._pauses = Pauses(self._clocks.monotonic)
        self._alive: Callable[[], None] = lambda: None
        self._stages: Stages | None = None
        self._updating: Updating | None = None
        self.status: StatusFile | None = None
        self.stopping = ""
        self.longest_wait_seconds = 3600.0

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
            ring=self._inbox.ring,
            tell=self._inbox.put,
            clocks=self._clocks,
            make_engine=self._make_engine,
        )
        self._updating = Updating(self._stages, self._plugins, self._config, self._clocks.monotonic)
        self.status = StatusFile(self._home.status_path, monotonic=self._clocks.monotonic)

    def start(self) -> None:
        """Start the engine and tell everybody that the agent is ready; what comes before `run`."""
        stages = self._open_stages
        self._started = True
        self._write_status(AgentState.STARTING)
        extractor = stages.stand_in.start()
        version = stages.serving.version
        self._plugins.agent_started(
            home=str(self._home.path), version=version.number if version else None, extractor=extractor
        )
        self._write_status()

    def close(self, reason: str = "closed") -> None:
        """Stop a running update at its next mini-batch, drain what plugins are told, release everything.

        Safe without `open` and when called twice.
        """
        if self._stages is None:
            return
        stages = self._stages
        try:
            stages.learning.cancel()
            if stages.learning.task is not None:
                stages.learning.task.wait(timeout=5.0)
            self._refuse_waiting()
            if self._started:
                self._plugins.agent_stopping(reason=reason)
            if self.status is not None and self.status.state is not AgentState.STARTING:
                with suppress(StoreError):  # a full disk must not keep anybody from stopping
                    self.status.update(state=AgentState.STOPPED)
        finally:
            self._stages = None
            self._plugins.close(timeout=2.0)
            stages.close()

    # ------------------------------------------------------------------ work

    def ask(self, request: Request) -> None:
        """Put a request into the inbox; any thread."""
        self._inbox.put(request)

    def stop(self, reason: str) -> None:
        """End `run` after the step under way; any thread, and safe in a signal handler."""
        self.stopping = reason
        self._inbox.ring()

    def run(self, alive: Callable[[], None] = lambda: None) -> None:
        """Step until `stopping` has a reason; `alive` is called once in each round of the loop."""
        self._alive = alive
        while not self.stopping:
            alive()
            self.step_when_due()

    def waiting(self) -> int:
        """How many files lie in the drop folder, after a look."""
        self._open_stages.folder.ready(0)
        return self._open_stages.intake.pending

    def run_until_idle(self) -> None:
        """Step until the drop folder is taken in, nothing is left to extract and no update is due or running.

        Nobody waits for more than what is there, so the update is made of all of it, as soon as it is taken in.
        """
        self._open_updating.hurries = True
        self.step()  # before the first look nothing is known to wait
        while not self.stopping and not self.idle():
            self.step_when_due()

    def step_when_due(self) -> None:
        """Wait until something is due or something comes, then step once; what is only asked is only answered."""
        if self._due is None:
            self._due = self._clocks.monotonic() + self._patience()
        only_asked = self._inbox.drain(max(0.0, self._due - self._clocks.monotonic()))
        now = self._clocks.monotonic()
        if only_asked and now < self._due:
            self._due = min(self._due, now + AFTERWARDS_SECONDS)
        else:
            self.step()

    def step(self, patience_seconds: float = 0.0) -> None:
        """Do what is due; wait up to `patience_seconds` for something when nothing is.

        This is the agent's step boundary: whatever goes wrong in here is logged and shown, and the agent goes on.
        """
        self._inbox.drain(patience_seconds)
        self._due = None
        self._open_stages.stand_in.tick()
        self._open_updating.hold()
        for name, work in (("intake", self._take_in), ("learning", self._learn)):
            if self._pauses.rests(name):
                continue
            try:
                work()
            except EdgeAgentError as error:
                self._open_stages.met(error)
                self._pauses.rest(name, str(error))
            except Exception as error:  # the step boundary: a defect must not stop the service
                log.exception("%s failed", name)
                self._pauses.rest(name, f"unexpected {type(error).__name__}: {error}")
            else:
                self._pauses.well(name)
        self._write_status()

    def _take_in(self) -> None:
        stages = self._open_stages
        look_after(stages.engine, self._plugins)
        stages.store.database.trust()
        stages.rebuild.step(self._go_on)
        stages.intake.step(self._go_on)
        if stages.engine.facts is not None:
            stages.refresh.step(self._go_on)
        if not self.updating:
            stages.retention.step()

    def _go_on(self) -> bool:
        """Answer what was asked between two pictures and show that there is progress; False when it is to stop."""
        self._inbox.drain()
        look_after(self._open_stages.engine, self._plugins)
        self._open_updating.hold()
        if self.status is None or self.status.would_write:  # not for each of a hundred pictures a second
            self._write_status()
        self._alive()
        return not self.stopping

    def _learn(self) -> None:
        self._open_updating.step(self._pauses.trouble("intake"))

    # ------------------------------------------------------------------ inbox

    def _handle(self, message: Message) -> bool:
        """Whether it was a question that changes nothing."""
        if isinstance(message, Request):
            if message.begin():
                self.answer(message)
            return message.name in LOOKS
        if isinstance(message, TaskStateChange):
            self._plugins.task_state_changed(change=message)
        elif isinstance(message, TrainingEvent):
            self._plugins.training(message)
            if message.event == "training_end":
                self._open_updating.task_ended()
        return False

    def answer(self, request: Request) -> None:
        """Answer one request now, or put an update on the list; the thread that steps."""
        if request.name == UPDATE:
            self._open_updating.ask(request)
            return
        try:
            if request.name in CHANGES:
                self._open_stages.store.database.trust()
            result = answer(request, self._open_stages.answers, self.facts)
            if request.name == FORGET:
                self._open_stages.intake.count_rejected()
                self._open_updating.answer_when_made(request, result)
            else:
                request.reply.set_result(result)
        except EdgeAgentError as error:
            self._open_stages.met(error)
            request.fail(error)
        except Exception as error:  # part of the step boundary: a bad question must not stop the service
            log.exception("%s failed", request.name)
            request.fail(EdgeAgentError(f"{request.name} failed: {type(error).__name__}: {error}"))
        finally:
            request.close_files()

    def unlearn(self) -> None:
        """One step towards the version without what was forgotten, and no other: nothing new is taken in."""
        self._inbox.drain(5.0 if self.updating else 0.0)
        with suppress(EdgeAgentError):  # whoever asked is told
            self._learn()
        if not self.updating:
            self._write_status()

    def _refuse_waiting(self) -> None:
        """Tell everybody who still waits that nothing will come, and plugins what training had to say."""
        error = NotAnsweredError("the agent stopped before it could answer")
        self._open_updating.give_up(error)
        for message in self._inbox.left():
            if isinstance(message, Request):
                message.fail(error)
            else:
                self._handle(message)

    # ------------------------------------------------------------------ time and status

    @property
    def _open_stages(self) -> Stages:
        assert self._stages is not None, "the agent is not open"
        return self._stages

    @property
    def _open_updating(self) -> Updating:
        assert self._updating is not None, "the agent is not open"
        return self._updating

    def _patience(self) -> float:
        """Seconds until something is due by itself."""
        try:
            return self._wait_seconds()
        except StoreError:
            return REST_SECONDS  # the next step says what is wrong

    def _wait_seconds(self) -> float:
        stages, now = self._open_stages, self._clocks.monotonic()
        waits = [end - now for end in self._pauses.ends]
        look = stages.intake.next_look()
        if look is not None and not self._pauses.trouble("intake"):
            waits.append(look - now)
        wait = self._open_updating.wait_seconds()
        if wait is not None and not self._pauses.trouble("learning"):
            waits.append(wait)
        due = stages.engine.next_look()
        if due is not None and not self._pauses.rests("intake"):
            waits.append(due - now)
        written = self.status.next_write() if self.status else None
        waits += [at - now for at in (written, stages.stand_in.next_look()) if at is not None]
        if self._refreshing() and not self._pauses.rests("intake"):
            waits.append(0.0)
        return max(0.0, min([*waits, self.longest_wait_seconds]))

    @property
    def updating(self) -> bool:
        """Whether an update task is under way."""
        return self._open_updating.running

    def idle(self) -> bool:
        """Whether nothing is left to take in, to extract or to learn until something new arrives."""
        if self._pauses.troubles:
            return True  # what failed once is not waited for; the caller is told by `facts()["trouble"]`
        busy = self._open_stages.intake.busy() or self._refreshing()
        return not busy and self._open_updating.idle()

    def _refreshing(self) -> bool:
        """Whether archived pictures are still to be read again."""
        stages = self._open_stages
        if stages.rebuild.remaining:
            return True
        return stages.engine.facts is not None and stages.refresh.remaining(stages.engine.facts.fingerprint)

    def facts(self) -> dict[str, Any]:
        """What `status --json` says, as plain data."""
        stages = self._open_stages
        if not self._started:
            stages.folder.ready(0)  # nobody has looked yet; a question must see what waits
        updating = self._open_updating
        facts = summarise(stages, self._plugins, self._pauses.troubles)
        return {**facts, "no_update_because": updating.why_not, "limited": updating.limited}

    def _write_status(self, state: AgentState | None = None) -> None:
        assert self.status is not None
        try:
            facts = self.facts()
            if state is not None:
                facts["state"] = state.value
            self.status.update(**facts)
        except EdgeAgentError as error:
            self._open_stages.met(error)
            log.warning("status cannot be written: %s", error)
