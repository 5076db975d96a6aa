"""When a board is not fit for learning, and when it is again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.agent.board import BoardReading
from edge_agent.agent.limits import STEADY_SECONDS, Limits
from edge_agent.config import LimitsConfig, parse_config
from edge_agent.errors import ConfigError

WELL = BoardReading(
    celsius=50.0,
    load=0.2,
    free_memory_mb=200.0,
    free_disk_mb=500.0,
    on_battery=False,
    minute=12 * 60,
    moment=100.0,
)


@pytest.mark.parametrize(
    ("config", "fact", "values", "expected"),
    [
        ({"max_celsius": 80}, "celsius", [80.0, 80.1, 79.0, 75.1, 75.0, 79.0, 81.0], "-hhh--h"),
        ({"min_free_memory_mb": 48}, "free_memory_mb", [48.0, 47.9, 50.0, 59.0, 60.0, 48.0], "-hhh--"),
        ({"min_free_disk_mb": 4}, "free_disk_mb", [4.0, 3.0, 4.5, 5.0, 4.5], "-hh--"),
        ({"max_load": 1.0}, "load", [1.0, 1.1, 0.9, 0.8, 0.9], "-hh--"),
        ({"max_celsius": 0}, "celsius", [200.0], "-"),
        ({"min_free_memory_mb": 0}, "free_memory_mb", [0.0], "-"),
        ({}, "load", [99.0], "-"),
        ({}, "celsius", [99.0, None, 79.0], "h--"),
        ({}, "on_battery", [True], "h"),
        ({"on_battery": "work"}, "on_battery", [True], "-"),
        ({}, "throttled", ["too little voltage"], "h"),
        ({"wait_while_throttled": False}, "throttled", ["too little voltage"], "-"),
        ({"quiet_hours": "22:00-06:30"}, "minute", [1319, 1320, 0, 389, 390, None], "-hhh--"),
        ({"quiet_hours": "12:00-13:00"}, "minute", [719, 720, 779, 780], "-hh-"),
    ],
)
def test_limits_do_not_flutter(config, fact, values, expected):
    """What stopped learning must be better by some before it goes on; `h` is held, `-` is not."""
    limits = Limits(LimitsConfig(**config))

    found = ["h" if limits.reached(replace(WELL, **{fact: value})) else "-" for value in values]

    assert "".join(found) == expected


@pytest.mark.parametrize("fact", ["throttled", "on_battery"])
def test_what_comes_and_goes_must_have_been_well_for_a_while(fact):
    """A loose plug that makes contact for a second changes nothing."""
    limits = Limits(LimitsConfig())
    bad = replace(WELL, **{fact: "slowed down" if fact == "throttled" else True})

    assert limits.reached(bad)
    assert limits.reached(replace(WELL, moment=100.0 + STEADY_SECONDS - 0.1))
    assert limits.reached(replace(bad, moment=120.0))
    assert limits.reached(replace(WELL, moment=121.0))
    assert not limits.reached(replace(WELL, moment=120.0 + STEADY_SECONDS))


def test_a_person_is_not_kept_waiting_for_comfort():
    """Load, battery and quiet hours are passed over for an update somebody asked for; what protects is not."""
    limits = Limits(LimitsConfig(max_load=1.0, quiet_hours="00:00-23:59"))

    assert not limits.reached(replace(WELL, load=9.0, on_battery=True), asked=True)
    assert "limits.max_celsius" in limits.reached(replace(WELL, celsius=95.0), asked=True)
    assert "limits.max_load" in limits.reached(replace(WELL, load=9.0))


def test_reasons_say_what_and_when():
    """With the figure, when learning goes on, and the key."""
    reason = Limits(LimitsConfig()).reached(replace(WELL, celsius=84.4))

    assert reason == "the board is 84 °C hot; learning goes on below 75 °C (limits.max_celsius)"


@pytest.mark.parametrize("hours", ["22-6", "24:00-06:00", "22:00 - 06:00", "22:60-06:00"])
def test_quiet_hours_that_are_none(hours):
    """They are refused with the rest of the configuration, by their key."""
    with pytest.raises(ConfigError, match=r"limits\.quiet_hours"):
        parse_config({"limits": {"quiet_hours": hours}})
