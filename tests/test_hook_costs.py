"""The script that measures what listeners cost says what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "hooks.py"


@pytest.mark.slow
def test_costs_are_told_for_none_one_and_twenty_listeners(tmp_path):
    """Figures for each call and each picture, none of them nothing; twenty are asked longer than none."""
    file = tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--json", str(file)],
        check=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )

    none, one, twenty = json.loads(file.read_text())["rows"]
    assert [row.pop("listeners") for row in (none, one, twenty)] == [0, 1, 20]
    assert set(none) == {"tell_agent_us", "tell_all_us", "ask_us", "picture_ms"}
    assert all(value > 0 for row in (none, one, twenty) for value in row.values())
    assert twenty["ask_us"] > none["ask_us"]
