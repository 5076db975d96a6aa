"""`demo`: the main job, told as it happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


def test_it_does_not_touch_an_older_demo(shell: Shell, tmp_path: Path) -> None:
    """A folder that holds a demo already is left as it is."""
    (tmp_path / "demo" / "home").mkdir(parents=True)
    done = shell.run("demo", "--keep", tmp_path / "demo")
    assert (done.status, "choose another folder" in done.err) == (2, True)
    assert list((tmp_path / "demo").iterdir()) == [tmp_path / "demo" / "home"]


@pytest.mark.slow
def test_it_shows_the_main_job_and_keeps_it(shell: Shell, tmp_path: Path) -> None:
    """Pictures are drawn, learned and recognised; what is kept can be gone on with."""
    done = shell.run("demo", "--keep", tmp_path / "demo")
    assert (done.status, done.err) == (0, "")
    order = [
        "1. Show it",
        "training_begin",
        "accepted",
        "version 1 published",
        "2. Ask it about an umbrella",
        "unknown",
        "3. Show it",
        "version 2 published",
        "4. Ask it about 20",
        "20 of 20",
    ]
    places = [done.out.index(words) for words in order]
    assert places == sorted(places)
    assert f"--home {tmp_path / 'demo' / 'home'} run" in done.out

    shell.home = tmp_path / "demo" / "home"
    assert shell.ask("versions")[0]["current"] is True
    assert not shell.run("demo", "--keep", tmp_path / "demo").out
