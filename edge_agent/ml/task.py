"""This is where something that runs on its own has a state, an error and an end."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from edge_agent.errors import MLModelError, MLModelErrorCode


class MLTaskState(IntEnum):
    """Apple's states with Apple's raw values, and one that Apple lacks: where a cancelled task ends."""

    SUSPENDED = 1
    RUNNING = 2
    CANCELLING = 3
    COMPLETED = 4
    FAILED = 5
    CANCELLED = 6


@dataclass(frozen=True)
class TaskStateChange:
    """A task went from one state to another; states by their lower-case names."""

    task_identifier: str
    state: str
    previous: str


class Cancelled(Exception):  # noqa: N818 - nothing went wrong
    """Raised on a task's thread, by what it calls, to leave work that was cancelled."""


class MLTask:
    """The part of a task that does not depend on what it does; `MLUpdateTask` is one.

    `_lock` guards the state and wakes who waits for it; `_changes` holds the changes nobody was told yet.
    """

    def __init__(
        self,
        *,
        task_identifier: str | None = None,
        on_state_change: Callable[[TaskStateChange], None] | None = None,
    ) -> None:
        if type(self) is MLTask:
            raise TypeError("MLTask is abstract; make an MLUpdateTask")
        self._identifier = task_identifier or str(uuid.uuid4())
        self._lock = threading.Condition()
        self._state = MLTaskState.SUSPENDED
        self._pausing = False
        self._error: MLModelError | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._changes: deque[TaskStateChange] = deque()
        self._on_state_change = on_state_change

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._identifier}, {self._state.name.lower()}>"

    @property
    def task_identifier(self) -> str:
        """A name no other task has."""
        return self._identifier

    @property
    def state(self) -> MLTaskState:
        """The state; may be read from any thread at any time."""
        return self._state

    @property
    def error(self) -> MLModelError | None:
        """Why the task failed, with what was raised as its `__cause__`; None in every other state."""
        return self._error

    def resume(self) -> None:
        """Start the task, or let one that is paused go on; returns at once.

        Raises `MLModelError` UPDATE for a task that completed or failed. A cancelled task stays cancelled.
        """
        with self._lock:
            self._refuse_when_over()
            self._go_on()

    def pause(self) -> None:
        """Ask a task that was started to rest before its next piece of work; from any thread, any time.

        It is SUSPENDED from then until `resume()` or `cancel()`. Resuming before it got that far takes it
        back.
        """
        with self._lock:
            if self._thread is not None and self._state in (MLTaskState.SUSPENDED, MLTaskState.RUNNING):
                self._pausing = True
                self._lock.notify_all()

    def cancel(self) -> None:
        """Stop at the next piece of work and end as CANCELLED; from any thread, in any state, any time."""
        with self._lock:
            if self._state in (MLTaskState.SUSPENDED, MLTaskState.RUNNING):
                self._enter(MLTaskState.CANCELLING)
                self._start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, until the completion handler returned; False when it has not yet.

        Raises `MLModelError` UPDATE when called by a handler of this task, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise MLModelError(MLModelErrorCode.UPDATE, "a handler cannot wait for the end of its own task")
        return self._over.wait(timeout)

    def _refuse_when_over(self) -> None:
        if self._state in (MLTaskState.COMPLETED, MLTaskState.FAILED):
            raise MLModelError(MLModelErrorCode.UPDATE, "the task is over; make a new one for another update")

    def _go_on(self) -> None:
        """Leave SUSPENDED, whatever it was for; the lock is held."""
        self._pausing = False
        if self._state is MLTaskState.SUSPENDED:
            self._enter(MLTaskState.RUNNING)
            self._start()

    def _start(self) -> None:
        """Begin on a thread of its own, once; the lock is held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._thread_name, daemon=True)
            self._thread.start()

    @property
    def _thread_name(self) -> str:
        return f"edge-agent-{self._identifier}"

    def _run(self) -> None:
        """The whole life of the thread."""
        raise NotImplementedError

    def _enter(self, state: MLTaskState) -> None:
        """Change the state; the lock is held."""
        self._changes.append(TaskStateChange(self._identifier, state.name.lower(), self._state.name.lower()))
        self._state = state
        self._lock.notify_all()

    @property
    def _cancelling(self) -> bool:
        return self._state is MLTaskState.CANCELLING

    def _leave_when_cancelling(self) -> None:
        """Raise `Cancelled` once the task is to end; a fresh one does not. On the task's thread."""
        if self._cancelling:
            raise Cancelled

    def _suspend_when_pausing(self) -> bool:
        """Whether a pause is asked for; then the task is SUSPENDED. On the task's thread."""
        with self._lock:
            if not self._pausing or self._state not in (MLTaskState.SUSPENDED, MLTaskState.RUNNING):
                return False
            if self._state is MLTaskState.RUNNING:
                self._enter(MLTaskState.SUSPENDED)
            return True

    def _await_going_on(self) -> None:
        """Wait until the task is not SUSPENDED. On the task's thread."""
        with self._lock:
            self._lock.wait_for(lambda: self._state is not MLTaskState.SUSPENDED)

    def _wait_undisturbed(self, seconds: float) -> None:
        """Wait, less long when the task is to pause or to end. On the task's thread."""
        with self._lock:
            self._lock.wait_for(
                lambda: self._pausing or self._cancelling, min(seconds, threading.TIMEOUT_MAX)
            )

    def _announce(self) -> None:
        """Tell the listener every change of state so far, in order and always on the task's thread."""
        while self._changes:
            change = self._changes.popleft()
            if self._on_state_change is not None:
                listener, self._on_state_change = self._on_state_change, None
                listener(change)  # one that raises fails the task and is told nothing more
                self._on_state_change = listener

    @staticmethod
    def _guarded(work: Callable[[], None]) -> MLModelError | None:
        """Do a part of the work; whatever is raised comes back as the failure of the task."""
        try:
            work()
        except Cancelled:
            return None
        except MLModelError as error:
            return error
        except BaseException as error:  # noqa: BLE001
            # The bottom of this thread is what `main` is for the process: batches, heads and handlers are
            # foreign code, and what got past here would end the thread with the task RUNNING for ever.
            failure = MLModelError(
                MLModelErrorCode.UPDATE, f"the update failed: {type(error).__name__}: {error}"
            )
            failure.__cause__ = error
            return failure
        return None
