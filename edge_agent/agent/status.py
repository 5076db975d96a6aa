"""This is where what is going on is kept for everybody to read, in `status.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from edge_agent.store.atomic import write_json

MIN_WRITE_SECONDS = 1.0
"""At most one write in this time: a status for every picture would wear an SD card for nothing."""


class AgentState(Enum):
    """How the agent is.

    starting ──► ok ◄──► degraded          any ──► stopping ──► stopped
        │         │          │
        └─────────┴──────────┴──► failed
    """

    STARTING = "starting"
    OK = "ok"
    DEGRADED = "degraded"
    """It serves, but something is wrong that a person should know."""
    FAILED = "failed"
    """It cannot go on and is about to end."""
    STOPPING = "stopping"
    STOPPED = "stopped"

    def may_become(self, state: AgentState) -> bool:
        """Whether `state` may follow; a state may always stay as it is."""
        return state is self or state in _FOLLOWING[self]


_ENDING = frozenset({AgentState.STOPPING, AgentState.STOPPED})
_FOLLOWING: Mapping[AgentState, frozenset[AgentState]] = {
    AgentState.STARTING: frozenset({AgentState.OK, AgentState.DEGRADED, AgentState.FAILED}) | _ENDING,
    AgentState.OK: frozenset({AgentState.DEGRADED, AgentState.FAILED}) | _ENDING,
    AgentState.DEGRADED: frozenset({AgentState.OK, AgentState.FAILED}) | _ENDING,
    AgentState.FAILED: _ENDING,
    AgentState.STOPPING: frozenset({AgentState.FAILED, AgentState.STOPPED}),
    AgentState.STOPPED: frozenset(),
}


def empty_facts() -> dict[str, Any]:
    """Every key that other programs rely on, before anything is known; more keys may stand beside them."""
    return {
        "state": AgentState.STARTING.value,
        "pid": None,
        "version": None,
        "samples": 0,
        "labels": {},
        "pending": 0,
        "rejected": 0,
        "extractor": {"name": None, "fingerprint": None, "n_features": None},
        "delegate": {"name": None, "requested": None, "fallback_reason": None},
        "last_update": None,
        "plugins": [],
    }


class StatusFile:
    """The current facts and the file they are in; a file is only written when a fact has changed.

    What only counts down (how long a version is still watched) is no change: an agent that does nothing writes nothing.
    `written_at` in the file is the time of writing in unix seconds, by `clock`.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._clock = clock
        self._monotonic = monotonic
        self._facts = empty_facts()
        self._lasting_written: dict[str, Any] | None = None
        self._written_at: float | None = None

    @property
    def state(self) -> AgentState:
        """The state that was last told."""
        return AgentState(self._facts["state"])

    @property
    def facts(self) -> dict[str, Any]:
        """A copy of the current facts, whether they are written already or not."""
        return dict(self._facts)

    def update(self, **facts: Any) -> None:
        """Take new facts, JSON-able values by name, and write them if that is due.

        `state` is an `AgentState` or its value; a change of state is written at once. Raises `ValueError` for
        a state that may not follow the present one, and `StoreError` when the file cannot be written; the
        facts are kept and written with a later call.
        """
        before = self.state
        if "state" in facts:
            state = AgentState(facts["state"])
            if not before.may_become(state):
                raise ValueError(f"an agent that is {before.value} cannot become {state.value}")
            facts["state"] = state.value
        self._facts.update(facts)
        if self.state is not before:
            self.flush()
        else:
            self.tick()

    @property
    def would_write(self) -> bool:
        """Whether a changed fact would be written now; it would not soon after another one was."""
        return self._written_at is None or self._monotonic() >= self._written_at + MIN_WRITE_SECONDS

    def next_write(self) -> float | None:
        """The monotonic time at which `tick` will write, or None when the file says all there is to say."""
        if _lasting(self._facts) == self._lasting_written:
            return None
        return self._monotonic() if self._written_at is None else self._written_at + MIN_WRITE_SECONDS

    def tick(self) -> None:
        """Write the facts if they changed and the last write is long enough ago; raises `StoreError`."""
        due = self.next_write()
        if due is not None and self._monotonic() >= due:
            self.flush()

    def flush(self) -> None:
        """Write the facts now if they changed since they were written; raises `StoreError`."""
        lasting = _lasting(self._facts)
        if lasting == self._lasting_written:
            return
        # Counted from the attempt, so that a full disk is not tried more often than a good one.
        self._written_at = self._monotonic()
        facts = dict(self._facts)
        write_json(self._path, {**facts, "written_at": self._clock()})
        self._lasting_written = lasting


def _lasting(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts without those that change by themselves."""
    watched = facts.get("probation")
    return {**facts, "probation": watched["version"] if watched else None}


def silence_status(path: Path, labels: Mapping[str, int]) -> None:
    """Leave nothing in the file that names a sample or a label, except these labels with their counts."""
    facts = read_status(path)
    if facts is None:
        return
    last = facts.get("last_update")
    facts |= {
        "samples": sum(labels.values()),
        "labels": dict(labels),
        "ignored": [],
        "trouble": "",
        "last_update": {**last, "message": ""} if isinstance(last, dict) else last,
        "no_update_because": "",
        "refused": None,
    }
    write_json(path, facts)


def read_status(path: Path) -> dict[str, Any] | None:
    """What the file says, or None when it is not there or not a status; the agent may be gone meanwhile."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and "state" in facts else None
