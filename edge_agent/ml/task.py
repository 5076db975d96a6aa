"""This is where something that runs on its own has a state, an error and an end."""

from __future__ import annotations

import threading
import uuid
from collections import deque
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


class MLTask:
    """The part of a task that does not depend on what it does; `MLUpdateTask` is one.

    `_lock` guards the state; `_changes` holds the changes that nobody was told yet.
    """

    def __init__(self, *, task_identifier: str | None = None) -> None:
        if type(self) is MLTask:
            raise TypeError("MLTask is abstract; make an MLUpdateTask")
        self._identifier = task_identifier or str(uuid.uuid4())
        self._lock = threading.Lock()
        self._state = MLTaskState.SUSPENDED
        self._error: MLModelError | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._changes: deque[TaskStateChange] = deque()

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

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, until the completion handler returned; False when it has not yet.

        Raises `MLModelError` UPDATE when called by a handler of this task, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise MLModelError(MLModelErrorCode.UPDATE, "a handler cannot wait for the end of its own task")
        return self._over.wait(timeout)

    def _enter(self, state: MLTaskState) -> None:
        """Change the state; the lock is held."""
        self._changes.append(TaskStateChange(self._identifier, state.name.lower(), self._state.name.lower()))
        self._state = state
