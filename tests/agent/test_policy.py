"""When a new version is made."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.agent.policy import ARRIVING_SECONDS, UpdateSituation, decide, wait_seconds
from edge_agent.config import UpdateConfig

CONFIG = UpdateConfig(min_new_samples=50, quiet_seconds=10.0, new_label_samples=2)

SERVING = UpdateSituation(
    new_samples=0,
    seconds_since_last_change=0.0,
    unknown_labels={},
    current_version=3,
    labels={"cat": 20, "dog": 20},
    forced=False,
    pending_files=0,
)
"""Version 3 knows cats and dogs, and nothing is new."""

FIRST = replace(SERVING, current_version=None, labels={"cat": 2}, unknown_labels={"cat": 2}, new_samples=2)
"""Two cats are all there is."""


def answer(situation: UpdateSituation, **changes: object) -> tuple[bool, float | None]:
    """The decision, and how long to wait for another."""
    situation = replace(situation, **changes)
    return decide(situation, CONFIG).answer, wait_seconds(situation, CONFIG)


def test_nothing_new_never_updates():
    """However long it is quiet, the same samples give the same version."""
    assert answer(SERVING, seconds_since_last_change=1e9) == (False, None)
    assert "nothing is new" in decide(SERVING, CONFIG).reason


def test_no_samples_never_update():
    """Not even when a person asks for it, nor when the last sample was just forgotten."""
    assert answer(SERVING, labels={}, forced=True) == (False, None)
    assert answer(SERVING, labels={"cat": 0}, new_samples=1, seconds_since_last_change=1e9) == (False, None)
    assert "no samples" in decide(replace(SERVING, labels={}), CONFIG).reason


def test_a_person_is_obeyed():
    """With samples, an update that is asked for happens although nothing is new."""
    assert answer(SERVING, forced=True) == (True, 0.0)


def test_enough_new_samples_update_at_once():
    """At the configured number, and not one before."""
    assert answer(SERVING, new_samples=50) == (True, 0.0)
    assert answer(SERVING, new_samples=49) == (False, 10.0)


def test_enough_new_samples_do_not_wait_for_files_that_arrive():
    """A copy of a thousand pictures is learned from on the way."""
    assert answer(SERVING, new_samples=50, pending_files=900) == (True, 0.0)


def test_quiet_updates_with_a_single_change():
    """One change is enough once it is quiet; `wait_seconds` says when that is."""
    assert answer(SERVING, new_samples=1, seconds_since_last_change=4.0) == (False, 6.0)
    assert answer(SERVING, new_samples=1, seconds_since_last_change=10.0) == (True, 0.0)


def test_it_is_not_quiet_while_files_arrive():
    """Pending files put the update off, but a file that never settles does so only for so long."""
    arriving = replace(SERVING, new_samples=1, pending_files=1)

    assert answer(arriving, seconds_since_last_change=10.0) == (False, ARRIVING_SECONDS - 10.0)
    assert answer(arriving, seconds_since_last_change=ARRIVING_SECONDS) == (True, 0.0)


def test_new_label_updates_without_waiting_for_quiet():
    """A label that the current version does not know starts an update at the configured number."""
    assert answer(SERVING, new_samples=1, unknown_labels={"fox": 1}) == (False, 10.0)
    assert answer(SERVING, new_samples=2, unknown_labels={"fox": 2, "owl": 1}) == (True, 0.0)
    reason = decide(replace(SERVING, new_samples=2, unknown_labels={"fox": 2}), CONFIG).reason
    assert "fox" in reason


def test_new_label_waits_for_files_that_arrive():
    """While its folder is being copied the new label waits; also when quiet is configured to be long."""
    arriving = replace(SERVING, new_samples=2, unknown_labels={"fox": 2}, pending_files=5)

    assert answer(arriving, seconds_since_last_change=1.0) == (False, ARRIVING_SECONDS - 1.0)
    patient = UpdateConfig(quiet_seconds=3600.0)
    assert wait_seconds(arriving, patient) == ARRIVING_SECONDS
    assert decide(replace(arriving, seconds_since_last_change=ARRIVING_SECONDS), patient).answer


def test_new_label_of_a_refused_candidate_waits_for_a_change():
    """A label that is still unknown after a refusal starts nothing by itself: it would be refused again."""
    assert answer(SERVING, new_samples=0, unknown_labels={"fox": 9}, seconds_since_last_change=1e9) == (
        False,
        None,
    )


def test_first_version_waits_for_quiet_although_every_label_is_new():
    """Two pictures of the first folder do not become a version in the middle of the copy."""
    assert answer(FIRST) == (False, 10.0)
    assert answer(FIRST, new_samples=50, labels={"cat": 50}, unknown_labels={"cat": 50}) == (True, 0.0)


def test_first_version_may_know_a_single_label():
    """Once it is quiet, one label with one picture is a version."""
    one = replace(FIRST, labels={"cat": 1}, unknown_labels={"cat": 1}, new_samples=1)

    assert answer(one, seconds_since_last_change=10.0) == (True, 0.0)


def test_a_removal_is_a_change():
    """Forgetting a whole label makes a new version although no sample came."""
    assert answer(SERVING, labels={"dog": 20}, new_samples=20, seconds_since_last_change=10.0) == (True, 0.0)


counts = st.dictionaries(st.sampled_from("abc"), st.integers(0, 60), max_size=3)
situations = st.builds(
    UpdateSituation,
    new_samples=st.integers(0, 60),
    seconds_since_last_change=st.floats(0, 100),
    unknown_labels=counts,
    current_version=st.none() | st.integers(1, 9),
    labels=counts,
    forced=st.booleans(),
    pending_files=st.integers(0, 3),
)


@given(situations)
def test_waiting_as_told_is_enough_and_not_too_long(situation):
    """After `wait_seconds` the answer is yes, a little before it is no, and None means that it stays no."""

    def later(seconds: float) -> bool:
        since = situation.seconds_since_last_change + seconds
        return decide(replace(situation, seconds_since_last_change=since), CONFIG).answer

    wait = wait_seconds(situation, CONFIG)

    if wait is None:
        assert not later(0.0)
        assert not later(1e9)
    else:
        assert later(wait + 1e-6)
        assert wait == 0.0 or not later(wait - min(wait, 1e-3))


@pytest.mark.parametrize("quiet_seconds", [0.0, 1e6])
def test_quiet_may_be_anything(quiet_seconds):
    """Zero updates at once; a very long time still ends."""
    config = UpdateConfig(quiet_seconds=quiet_seconds)

    assert wait_seconds(replace(SERVING, new_samples=1), config) == quiet_seconds
