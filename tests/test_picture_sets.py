"""The script that makes labelled picture sets from what a computer has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "picture_sets.py"


def made(*arguments):
    """What the script says."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_pictures_in_folders_become_a_set_and_labels_with_too_few_do_not(tmp_path):
    """What can be seen through is white; a file that is no picture is passed over; 51 are the least."""
    for label, count in (("many", 52), ("few", 10)):
        (tmp_path / label / "deep").mkdir(parents=True)
        for at in range(count):
            Image.new("RGBA", (20, 20), (at, 0, 0, 0)).save(tmp_path / label / "deep" / f"{at}.png")
    (tmp_path / "many" / "broken.png").write_bytes(b"no picture")

    code, said = made(tmp_path, "folders", "set", f"a={tmp_path / 'many'}", f"b={tmp_path / 'few'}")

    assert code == 0, said
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["a"]
    pictures = sorted((tmp_path / "set" / "a").iterdir())
    assert len(pictures) == 52
    with Image.open(pictures[0]) as picture:
        assert picture.getextrema() == ((255, 255),) * 3


def test_patches_of_a_photograph_are_the_same_each_time(tmp_path):
    """A hundred of each photograph, drawn with a fixed seed."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "garden.png")

    for name in ("one", "two"):
        code, said = made(tmp_path, "patches", name, tmp_path / "garden.png")
        assert code == 0, said

    first, second = (sorted((tmp_path / name / "garden").iterdir()) for name in ("one", "two"))
    assert len(first) == 100
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_an_unknown_kind_is_answered_with_how_to_use_it(tmp_path):
    """All kinds are listed."""
    code, said = made(tmp_path, "clouds", "set")

    assert code != 0
    assert "typefaces NAME FONT" in said
