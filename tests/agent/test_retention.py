"""What goes when there is more, or older, than its owner wants to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.agent.home import Home
from edge_agent.agent.retention import ALWAYS_KEPT, LOOK_SECONDS
from edge_agent.config import Config, RetentionConfig
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench

DAY = 86400.0


def keeping(**limits: float) -> Config:
    """An agent with limits."""
    return Config(retention=RetentionConfig(**limits))


def teach(bench: Bench, **things: range) -> None:
    """Drop numbered pictures of each thing, one after the other, and let the agent come to rest."""
    for word, numbers in things.items():
        for number in numbers:
            drop_texts(bench.drop, word, [f"{word} {number}"])
            bench.settle()


def held(bench: Bench, label: str) -> list[str]:
    """The pictures of a label in the archive, by what they say, in order of arrival; rows and files agree."""
    rows = [row for row in bench.ask("samples") if row["label"] == label]
    archive = {path.stem[-16:]: path.read_text() for path in (bench.home / "archive" / label).glob("*")}
    assert sorted(archive) == sorted(row["digest"][:16] for row in rows)
    return [archive[row["digest"][:16]] for row in rows]


def test_the_oldest_go_first(bench: Bench) -> None:
    """D7: after every cycle a label is within its number, the newest are there, and other labels are as they were."""
    bench.open(keeping(max_samples_per_label=10))
    teach(bench, dog=range(3))
    for number in range(14):
        teach(bench, cat=range(number, number + 1))
        assert len(held(bench, "cat")) <= 10

    assert held(bench, "cat") == [f"cat {number}" for number in range(4, 14)][-len(held(bench, "cat")) :]
    assert len(held(bench, "cat")) >= 9
    assert len(held(bench, "dog")) == 3


def test_bytes_of_pictures(bench: Bench) -> None:
    """D7: kept pictures have no more bytes than wanted."""
    size = len(b"cat 10")
    bench.open(keeping(max_megabytes_per_label=8 * size / 1e6))
    for number in range(10, 30):
        teach(bench, cat=range(number, number + 1))
        assert sum(map(len, held(bench, "cat"))) <= 8 * size

    assert held(bench, "cat")[-1] == "cat 29"
    assert len(held(bench, "cat")) >= 7


def test_age(bench: Bench) -> None:
    """D7: what is too old goes within an hour, without anything new, and never the newest of a label."""
    bench.open(keeping(max_age_days=30))
    teach(bench, cat=range(ALWAYS_KEPT + 5), dog=range(3))
    bench.wall.advance(29 * DAY)
    teach(bench, cat=range(100, 102))
    assert len(held(bench, "cat")) == ALWAYS_KEPT + 7

    bench.wall.advance(2 * DAY)
    bench.clock.advance(LOOK_SECONDS)
    bench.settle()

    assert len(held(bench, "cat")) == ALWAYS_KEPT
    assert held(bench, "cat")[-2:] == ["cat 100", "cat 101"]
    assert len(held(bench, "dog")) == 3


@pytest.mark.parametrize("days", [-400.0, 20_000.0])
def test_a_clock_that_jumps(bench: Bench, days: float) -> None:
    """E7: years ahead or back, the newest of every label stay."""
    bench.open(keeping(max_age_days=30))
    teach(bench, cat=range(ALWAYS_KEPT + 2))
    bench.wall.advance(days * DAY)
    bench.clock.advance(LOOK_SECONDS)
    teach(bench, cat=range(100, 101))

    assert len(held(bench, "cat")) >= ALWAYS_KEPT


def test_the_next_version_is_learned_without_them(bench: Bench) -> None:
    """The version that knew them answers on; the next one learned exactly what is left, and so did its sums."""
    bench.open(keeping(max_samples_per_label=40))
    drop_texts(bench.drop, "cat", [f"cat {i}" for i in range(40)])
    drop_texts(bench.drop, "dog", [f"dog {i}" for i in range(40)])
    bench.settle()
    first = bench.ask("status")["version"]
    drop_texts(bench.drop, "cat", [f"cat {i}" for i in range(40, 60)])
    bench.settle()
    bench.settle()
    status = bench.ask("status")

    assert first is not None
    assert status["version"] > first
    assert status["labels"]["cat"] <= 40
    assert np.isclose(bench.ask("versions")[0]["samples"], 0.9 * status["samples"], rtol=0.2)


def test_what_goes_is_in_no_sum_on_the_disk(bench: Bench) -> None:
    """D7: the sums that were written down when the agent was closed go with the samples that are in them."""
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(30)])
    bench.settle()
    bench.close()
    Home(bench.home).sums_path.write_bytes(b"as of thousands of samples")

    bench.open(keeping(max_samples_per_label=25))
    bench.settle()
    assert len(held(bench, "cat")) <= 25
    assert not Home(bench.home).sums_path.exists()


def test_nothing_goes_unless_it_is_wanted(bench: Bench) -> None:
    """By default everything is kept."""
    bench.open()
    teach(bench, cat=range(30))
    bench.wall.advance(9000 * DAY)
    bench.clock.advance(LOOK_SECONDS)
    bench.settle()

    assert len(held(bench, "cat")) == 30
