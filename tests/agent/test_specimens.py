"""Of the owner's pictures the same ones are always chosen, none of a label that has too few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.agent.home import Home
from edge_agent.agent.specimens import from_files, owners_pictures
from edge_agent.agent.split import is_held_out
from edge_agent.store.samples import NewSample, SampleStore


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    """Ten archived pictures of a and b each, three of c, and some of a that were not kept."""
    home = Home(tmp_path / "home")
    home.make()
    with SampleStore(home.database_path) as store:
        for number in range(26):
            label = "ab"[number % 2] if number < 20 else "c" if number < 23 else "a"
            digest = f"{number * 7919 % 256:02x}" + f"{number:062x}"
            stored = f"archive/{label}/p-{digest[:16]}.jpg" if number < 23 else ""
            if stored:
                (home.path / stored).parent.mkdir(parents=True, exist_ok=True)
                (home.path / stored).write_bytes(b"picture")
            new = NewSample(
                digest=digest,
                label=label,
                source_name=f"{number}.jpg",
                stored_path=stored,
                size_bytes=7,
                width=8,
                height=8,
                features=np.ones(4, np.float32),
            )
            store.add([new], "x")
    return home


def test_archived_pictures_of_labels_with_enough_are_chosen(home: Home) -> None:
    """c has too few; pictures that were not kept are passed over; the held-out side is the agent's own."""
    found = owners_pictures(home, per_label=20, most=100, fraction=0.3)

    assert {one.label for one in found} == {"a", "b"}
    assert len(found) == 20
    assert all(one.path.is_file() for one in found)
    digests = {one.path.stem.removeprefix("p-"): one.held_out for one in found}
    assert any(digests.values())
    assert all(away == is_held_out(digest, 0.3) for digest, away in digests.items())


def test_no_more_than_asked_for_are_chosen_and_always_the_same(home: Home) -> None:
    """Limits hold for each label and for all."""
    found = owners_pictures(home, per_label=6, most=100, fraction=0.1)

    assert len(found) == 12
    assert found == owners_pictures(home, per_label=6, most=100, fraction=0.1)
    assert len(owners_pictures(home, per_label=20, most=9, fraction=0.1)) == 8


def test_without_pictures_there_are_none(tmp_path: Path) -> None:
    """A home without a database has none, and none is made."""
    assert owners_pictures(Home(tmp_path), per_label=5, most=50, fraction=0.1) == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_gives_pictures_spread_over_each_label() -> None:
    """Not the first ones only, and at most so many."""
    files = [(Path(f"{label}/{number}"), label) for label in "ab" for number in range(40)]

    found = from_files(files, per_label=8, most=100)

    assert len(found) == 16
    assert found[7].path == Path("a/35")
    assert len(from_files(files, per_label=8, most=10)) == 10


def test_a_folder_of_many_labels_is_no_more_work() -> None:
    """Some of the labels are tried then, from first to last, with enough pictures of each."""
    files = [(Path(f"{label:03}/{number}"), f"{label:03}") for label in range(300) for number in range(9)]

    found = from_files(files, per_label=8, most=100)

    assert len(found) == 100
    labels = [one.label for one in found]
    assert {labels.count(label) for label in labels} == {4}
    assert (labels[0], labels[-1] > "250") == ("000", True)
