"""The status file: its shape, its states, and how seldom it is written."""

from __future__ import annotations

import itertools
import json

import pytest

from edge_agent.agent.status import AgentState, StatusFile, read_status
from edge_agent.errors import StoreError

KEYS = {
    "state",
    "pid",
    "version",
    "samples",
    "labels",
    "pending",
    "rejected",
    "extractor",
    "delegate",
    "last_update",
    "plugins",
}
"""What other programs rely on."""


class Time:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock():
    """The monotonic clock of the status file."""
    return Time()


@pytest.fixture
def status(tmp_path, clock):
    """A status file that was not written yet."""
    return StatusFile(tmp_path / "status.json", clock=lambda: 1.5e9, monotonic=clock)


def written(tmp_path):
    """What is in the file."""
    return read_status(tmp_path / "status.json")


def test_shape_is_complete_from_the_first_write(status, tmp_path):
    """All keys are there before anything is known, and the file is its owner's alone."""
    status.flush()

    facts = written(tmp_path)
    assert facts.keys() == KEYS | {"written_at"}
    assert facts["state"] == "starting"
    assert facts["extractor"].keys() == {"name", "fingerprint", "n_features"}
    assert facts["delegate"].keys() == {"name", "requested", "fallback_reason"}
    assert facts["written_at"] == 1.5e9
    assert (tmp_path / "status.json").stat().st_mode & 0o777 == 0o600


def test_new_facts_are_written(status, tmp_path):
    """What is updated is in the file, what is not stays, and other keys may stand beside them."""
    status.update(samples=3, labels={"cat": 3}, watching="events")

    facts = written(tmp_path)
    assert (facts["samples"], facts["labels"], facts["watching"]) == (3, {"cat": 3}, "events")
    assert facts["version"] is None


def test_nothing_is_written_when_idle(status, tmp_path, clock):
    """A6: The same facts again touch no disk, however much time passes."""
    status.update(samples=3)
    before = (tmp_path / "status.json").stat()

    clock.now += 1000.0
    status.update(samples=3)
    status.tick()
    status.flush()

    assert (tmp_path / "status.json").stat().st_ino == before.st_ino
    assert status.next_write() is None


def test_at_most_one_write_a_second(status, tmp_path, clock):
    """Facts that change quickly wait for their second; `next_write` says when that is."""
    status.update(samples=1)
    clock.now += 0.25
    status.update(samples=2)
    assert written(tmp_path)["samples"] == 1
    assert status.facts["samples"] == 2
    assert status.next_write() == pytest.approx(101.0)

    clock.now += 0.5
    status.tick()
    assert written(tmp_path)["samples"] == 1

    clock.now += 0.25
    status.tick()
    assert written(tmp_path)["samples"] == 2


def test_flush_does_not_wait(status, tmp_path):
    """The last words are written whatever the time."""
    status.update(samples=1)
    status.update(samples=2)

    status.flush()

    assert written(tmp_path)["samples"] == 2


def test_change_of_state_is_written_at_once(status, tmp_path):
    """Nobody waits a second to hear that the agent is ready or degraded, nor for what came with it."""
    status.update(samples=1)
    status.update(state=AgentState.OK, samples=2)

    assert (written(tmp_path)["state"], written(tmp_path)["samples"]) == ("ok", 2)
    assert status.state is AgentState.OK
    status.update(state="degraded")
    assert written(tmp_path)["state"] == "degraded"


LIFE = {
    ("starting", "ok"),
    ("starting", "degraded"),
    ("starting", "failed"),
    ("ok", "degraded"),
    ("ok", "failed"),
    ("degraded", "ok"),
    ("degraded", "failed"),
    ("stopping", "failed"),
    *((state, "stopping") for state in ("starting", "ok", "degraded", "failed")),
    *((state, "stopped") for state in ("starting", "ok", "degraded", "failed", "stopping")),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(AgentState, repeat=2)))
def test_states_follow_each_other_as_drawn(before, after):
    """These and no other states may follow, and each may stay."""
    assert before.may_become(after) == (before is after or (before.value, after.value) in LIFE)


def test_impossible_state_is_refused(status, tmp_path):
    """An agent that has stopped does not come back, and the facts that came with it are not taken."""
    status.update(state=AgentState.STOPPED)

    with pytest.raises(ValueError, match="stopped cannot become ok"):
        status.update(state=AgentState.OK, samples=9)

    assert status.facts["samples"] == 0
    with pytest.raises(ValueError, match="asleep"):
        status.update(state="asleep")


def test_failed_write_is_tried_again(tmp_path, clock):
    """A folder that cannot be written to is a `StoreError` each second, and the facts are kept for later."""
    folder = tmp_path / "home"
    folder.write_bytes(b"a file where a folder should be")
    status = StatusFile(folder / "status.json", monotonic=clock)
    with pytest.raises(StoreError):
        status.update(samples=1)
    status.update(samples=2)

    folder.unlink()
    folder.mkdir()
    clock.now += 1.0
    status.tick()

    assert read_status(folder / "status.json")["samples"] == 2


@pytest.mark.parametrize("content", [None, b"", b'{"state": "o', b"[]", b"{}", b"\xff\xfe"])
def test_reading_what_is_not_a_status(tmp_path, content):
    """A file that is missing, half or something else is None, not an error."""
    if content is not None:
        (tmp_path / "status.json").write_bytes(content)

    assert read_status(tmp_path / "status.json") is None


def test_file_is_plain_json(status, tmp_path):
    """Any program can read it."""
    status.update(labels={"Füchse": 2})

    assert json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))["labels"] == {"Füchse": 2}


def test_counting_down_is_no_change(status, tmp_path, clock):
    """How long a version is still watched does not have the file written again and again; that it ended does."""
    status.update(probation={"version": 3, "predictions_left": 200, "seconds_left": 86400})
    clock.now += 60.0
    status.update(probation={"version": 3, "predictions_left": 190, "seconds_left": 86340})
    assert status.next_write() is None
    assert written(tmp_path)["probation"]["seconds_left"] == 86400

    status.update(probation=None)
    assert written(tmp_path)["probation"] is None
