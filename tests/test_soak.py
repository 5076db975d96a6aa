"""A hard life of some seconds, and that the eyes that watch over it see."""

from __future__ import annotations

import pytest

from tools.soak import Life


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hard_life_loses_nothing(tmp_path):
    """Drops, rubbish and a kill: all is held as told; what is taken away afterwards is missed."""
    life = Life(tmp_path / "home", seed=4)
    try:
        life.drop.mkdir(parents=True)
        life.start()
        for what in (
            life.drops,
            life.drops,
            life.drops_rubbish,
            life.is_killed,
            life.drops,
            life.drops_again,
        ):
            what()
        life.comes_to_rest()
        life.check()
        assert life.bad == []
        assert len(life.expected) > 3

        next((life.home / "archive").glob("*/*.jpg")).unlink()
        life.expected["ab" * 32] = "mug"
        life.rubbish += 1
        life.check()
    finally:
        life.close()
    assert [line.split()[0] for line in life.bad] == ["abababababab", "the", "1"]
