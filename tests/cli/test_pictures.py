"""The demo's pictures: drawn by code, repeatable, varied, and different enough to be told apart."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from edge_agent.cli.pictures import HEIGHT, LABELS, WIDTH, draw, write_pictures
from edge_agent.errors import NotFoundError


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures in grey levels, averaged over the channels."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.parametrize("label", LABELS)
def test_same_seed_draws_the_same_picture(label):
    """A picture depends on the generator it is given and on nothing else."""
    assert draw(label, random.Random(5)).tobytes() == draw(label, random.Random(5)).tobytes()


@pytest.mark.parametrize("label", LABELS)
def test_every_picture_of_a_thing_is_different(label):
    """Twelve pictures in a row differ from each other by far more than the noise in them."""
    rng = random.Random(1)
    pictures = [draw(label, rng) for _ in range(12)]

    assert {picture.size for picture in pictures} == {(WIDTH, HEIGHT)}
    assert {picture.mode for picture in pictures} == {"RGB"}
    for index, one in enumerate(pictures):
        for other in pictures[index + 1 :]:
            assert difference(one, other) > 8


@pytest.mark.parametrize("label", LABELS)
def test_the_thing_is_in_the_picture(label):
    """Cloth, glaze or metal covers a visible part of the middle: it stands out from what is at the border."""
    rng = random.Random(2)
    for _ in range(8):
        picture = draw(label, rng)
        middle = picture.crop((60, 40, 260, 200))
        border = picture.crop((0, 0, WIDTH, 12))
        assert sum(ImageStat.Stat(middle).stddev) > 1.2 * sum(ImageStat.Stat(border).stddev)


def test_writes_as_many_jpegs_as_asked_below_their_labels(tmp_path: Path):
    """Files lie in `<folder>/<label>/`, are JPEG of the right size, and no two have the same bytes."""
    paths = write_pictures(tmp_path, 3, 7)

    assert sorted(paths) == list(LABELS)
    everything = [path for group in paths.values() for path in group]
    assert sorted(everything) == sorted(tmp_path.glob("*/*.jpg"))
    assert len({path.read_bytes() for path in everything}) == 3 * len(LABELS)
    for label, group in paths.items():
        for path in group:
            with Image.open(path) as picture:
                assert (label, "JPEG", (WIDTH, HEIGHT)) == (path.parent.name, picture.format, picture.size)


def test_a_label_is_drawn_the_same_beside_any_others(tmp_path: Path):
    """The pictures of one label do not depend on which others are asked for."""
    alone = write_pictures(tmp_path / "alone", 2, 3, ["mug"])["mug"]
    among = write_pictures(tmp_path / "among", 2, 3)["mug"]

    assert [path.read_bytes() for path in alone] == [path.read_bytes() for path in among]


def test_another_seed_writes_other_pictures(tmp_path: Path):
    """Pictures to learn from and pictures to be asked about can come from two seeds."""
    one = write_pictures(tmp_path / "one", 2, 1)
    two = write_pictures(tmp_path / "two", 2, 2)

    assert not {p.read_bytes() for g in one.values() for p in g} & {
        p.read_bytes() for g in two.values() for p in g
    }


def test_an_unknown_label_is_refused_before_anything_is_written(tmp_path: Path):
    """The message names the label and what could have been asked for; no folder is left behind."""
    with pytest.raises(NotFoundError, match=r"'unicorn'; known are fish, key, leaf, mug, umbrella"):
        write_pictures(tmp_path, 1, 1, ["mug", "unicorn"])
    with pytest.raises(NotFoundError, match="unicorn"):
        draw("unicorn", random.Random(0))

    assert list(tmp_path.iterdir()) == []
