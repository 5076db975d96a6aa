"""How work rests after a failure."""

from __future__ import annotations

import logging

import pytest

from edge_agent.agent.pauses import LONGEST_REST_SECONDS, REST_SECONDS, Pauses
from edge_agent.testing import FakeClock


def test_it_rests_and_is_tried_again() -> None:
    """After a failure the work rests for a while, and its trouble is known until it succeeds."""
    clock = FakeClock()
    pauses = Pauses(clock)
    pauses.rest("intake", "no room")

    assert pauses.rests("intake")
    assert not pauses.rests("learning")
    clock.advance(REST_SECONDS)
    assert not pauses.rests("intake")
    assert pauses.trouble("intake") == "no room"
    pauses.well("intake")
    assert pauses.troubles == []


def test_a_lasting_trouble_rests_longer_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    """Failures in a row double the rest; each trouble is logged once; success begins anew."""
    clock = FakeClock()
    pauses = Pauses(clock)
    rests = []
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            pauses.rest("intake", "no room")
            rests.append(pauses.ends[0] - clock.now)
            clock.now = pauses.ends[0]
        pauses.rest("intake", "read-only")
        pauses.well("intake")
        pauses.rest("intake", "read-only")

    assert rests == [REST_SECONDS, 10.0, 20.0, LONGEST_REST_SECONDS, LONGEST_REST_SECONDS]
    assert pauses.ends[0] - clock.now == REST_SECONDS
    assert len(caplog.records) == 3
