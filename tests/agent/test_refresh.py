"""Archived pictures are read again for another extractor, and hopeless ones are given up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.agent.refresh import BATCH_SAMPLES, MOST_TRIES
from edge_agent.testing import FakeEngine, drop_texts
from edge_agent.vision.engine import Extraction

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


class WornEngine(FakeEngine):
    """Fails for ever, through no fault of the picture, at `cat 1`."""

    def _look(self, key: object, data: bytes, variant: str = "") -> Extraction:
        seen = super()._look(key, data, variant)
        if data != b"cat 1":
            return seen
        return Extraction(
            key=key,
            digest=seen.digest,
            features=None,
            width=0,
            height=0,
            error="the engine died",
            permanent=False,
            seconds=0.0,
        )


def teach(bench: Bench, count: int = 4) -> list[Path]:
    """Learn cats and dogs; returns the archived cats."""
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(count)])
    bench.settle()
    return sorted((bench.home / "archive" / "cat").iterdir())


def learned(bench: Bench) -> int:
    """How many samples the newest version learned from."""
    return int(bench.ask("versions")[0]["samples"])


def test_everything_is_read_again_in_batches(bench: Bench) -> None:
    """More pictures than one batch holds are all extracted, once, before the next version."""
    teach(bench, BATCH_SAMPLES)
    bench.open(fingerprint="fake:2")
    answer = bench.ask("update")

    assert (answer["state"], answer["samples"]) == ("published", learned(bench))
    assert bench.engines[-1].extracted == 2 * BATCH_SAMPLES


def test_lasting_engine_trouble_is_given_up(bench: Bench) -> None:
    """A picture the engine fails at is tried a few times; then the others are learned without it."""
    teach(bench)
    bench.engine_class = WornEngine
    bench.open(fingerprint="fake:2")
    answer = bench.ask("update")

    assert (answer["state"], answer["samples"]) == ("published", 7)
    assert bench.engines[-1].extracted == 7 + MOST_TRIES + 1
    assert bench.ask("status")["unusable"] == 1


def test_a_picture_that_is_gone_or_another_is_left_out(bench: Bench) -> None:
    """Archived files that were removed, exchanged or damaged are not learned from; the status counts them."""
    cats = teach(bench)
    cats[0].unlink()
    cats[1].write_text("dog in disguise")
    cats[2].write_text("bad")
    bench.open(fingerprint="fake:2")
    answer = bench.ask("update")

    assert (answer["state"], answer["samples"]) == ("published", 5)
    assert bench.ask("status")["unusable"] == 3


def test_a_link_in_the_archive_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    """What lies in the archive under a sample's name must be a file."""
    cat = teach(bench)[0]
    elsewhere = tmp_path / "elsewhere.jpg"
    cat.rename(elsewhere)
    cat.symlink_to(elsewhere)
    bench.open(fingerprint="fake:2")

    assert bench.ask("update")["samples"] == 7


def test_a_moved_picture_is_found_by_its_digest(bench: Bench) -> None:
    """A picture that lies under another label after a crash is read all the same."""
    cat = teach(bench)[0]
    cat.rename(bench.home / "archive" / "dog" / cat.name)
    bench.open(fingerprint="fake:2")

    assert bench.ask("update")["samples"] == 8


def test_going_back_to_the_old_extractor_reads_nothing(bench: Bench) -> None:
    """Features of each fingerprint are kept, so the way back needs no extraction."""
    teach(bench)
    bench.open(fingerprint="fake:2")
    bench.ask("update")
    bench.open()
    answer = bench.ask("update")

    assert (answer["state"], bench.engines[-1].extracted) == ("published", 0)
