"""An engine's process that loses memory is replaced between two pictures, and no picture is lost."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest

from edge_agent.config import ExtractorConfig
from edge_agent.vision.memory_budget import LOOKS, OwnRoom, resident_bytes

SMALL = ExtractorConfig(delegate="cpu", max_memory_mb=10)
"""Less than any process has: what counts is half as much again as a fresh one."""


def test_a_process_that_leaks_is_replaced_and_loses_no_picture(make_engine, drop, photo, caplog):
    """A decoder that keeps 25 MB of each picture: all are answered, in order and alike, by small processes."""
    caplog.set_level(logging.INFO)
    engine = make_engine(worker_module="leaking_worker", extractor=SMALL)
    fresh = resident_bytes(engine.start().pid)
    pids, largest = set(), 0
    found = []
    for extraction in engine.extract(drop(b"LEAK 25\n" + photo, number) for number in range(4 * LOOKS)):
        found.append(extraction)
        pids.add(engine.facts.pid)
        largest = max(largest, resident_bytes(engine.facts.pid))

    assert [one.key for one in found] == list(range(4 * LOOKS))
    assert [one.error for one in found] == [None] * len(found)
    assert all((one.features == found[0].features).all() for one in found)
    assert len(pids) > 2
    assert engine.restarts == len(pids) - 1
    assert largest < fresh + 2 * LOOKS * (26 << 20)
    said = [record for record in caplog.records if "is replaced" in record.getMessage()]
    assert [record.levelno for record in said][:2] == [logging.INFO, logging.WARNING]


@pytest.mark.parametrize(
    ("config", "megabytes"), [(ExtractorConfig(delegate="cpu", max_memory_mb=0), 25), (SMALL, 0)]
)
def test_without_a_limit_or_a_leak_the_process_stays(make_engine, drop, photo, config, megabytes):
    """With 0 nobody looks; a fresh process larger than the limit is not replaced over and over."""
    engine = make_engine(worker_module="leaking_worker", extractor=config)
    jobs = (drop(b"LEAK %d\n" % megabytes + photo, number) for number in range(2 * LOOKS))

    assert all(one.error is None for one in engine.extract(jobs))
    assert engine.restarts == 0


@pytest.mark.parametrize(("max_mb", "room"), [(0, True), (100_000, True), (1, True)])
def test_a_fresh_process_has_room(max_mb, room):
    """Without a limit, far from it, and also above it, where half as much again is allowed."""
    assert OwnRoom(max_mb)() is room


def test_room_is_used_up_and_comes_back():
    """What counts is the memory that the process has now, not what it had once."""
    own = OwnRoom(1.0)
    kept = np.ones(resident_bytes(os.getpid()), dtype=np.uint8)
    full = own()
    del kept

    assert full is False
    assert own() is True


def test_a_process_that_is_gone_takes_nothing():
    """Whoever looks may come too late."""
    assert resident_bytes(2**22 + 1) == 0
