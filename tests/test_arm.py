"""The suite on ARM: how its results are put together, and how a run of the main job is compared with another's."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]


def tool(name: str) -> Any:
    """A program of tools/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="results")
def _results(tmp_path: Path) -> Path:
    """One of each outcome, a failure that passed when it was run again, and a file whose process died."""
    folder = tmp_path / "aarch64" / "results-cortex-a72"
    folder.mkdir(parents=True)
    case = '<testcase file="tests/ml/fits/test_x.py" name='
    (folder / "a.xml").write_text(
        f'<testsuites><testsuite>{case}"test_a" time="60"/>'
        f'{case}"test_b" time="60"><failure message="assert 1 == 2\n + where">trace</failure></testcase>'
        f'{case}"test_c" classname="tests.ml.fits.test_x.TestOne"><skipped message="no gcc"/></testcase>'
        f'{case}"test_c" classname="tests.ml.fits.test_x.TestOther"/>'
        f'{case}"test_d"><failure message="once"/></testcase></testsuite></testsuites>'
    )
    (folder / "b.died").write_text("tests/test_z.py: exit status 139\n")
    (folder / "c.xml").write_text(
        '<testsuites><testsuite><testcase file="plugins/edge-agent-gpu/tests/test_y.py" name="test_e" time="1"/>'
        f'{case}"test_d"/></testsuite></testsuites>'
    )
    for age, name in enumerate(("c.xml", "b.died", "a.xml")):
        os.utime(folder / name, (1000 - age, 1000 - age))
    return folder


def test_results_become_a_table_with_every_failure_and_reason(results: Path, tmp_path: Path):
    """The script's summary counts by folder, and names what failed, what died and why something was skipped."""
    done = subprocess.run(
        [ROOT / "scripts" / "test-arm", "aarch64", "--summary", "--root", tmp_path],
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == [
        "| plugins/edge-agent-gpu | 1 | 0 | 0 | 0 |",
        "| tests | 0 | 1 | 0 | 0 |",
        "| tests/ml | 3 | 1 | 1 | 2 |",
        "| all | 4 | 2 | 1 | 2 |",
        "",
        "- failed: tests/ml/fits/test_x.py::test_b: assert 1 == 2 + where",
        "- failed: tests/test_z.py: exit status 139",
        "- skipped 1: no gcc",
    ]


def test_what_did_not_pass_is_named_for_the_next_run(results: Path):
    """Files with a failure and files that died are run again, sound ones not."""
    assert tool("suite_summary").unsound(results) == ["tests/ml/fits/test_x.py", "tests/test_z.py"]


def test_an_option_nobody_knows_is_named():
    """One line says which, and nothing is made."""
    done = subprocess.run(
        [ROOT / "scripts" / "test-arm", "--fast"], capture_output=True, text=True, timeout=100
    )

    assert done.returncode == 1
    assert done.stderr == "test-arm: what is --fast? The first lines of this script name the options\n"


@pytest.mark.parametrize(("noise", "same"), [(0.0, True), (0.02, True), (0.5, False)])
def test_runs_agree_when_their_features_point_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], noise: float, *, same: bool
):
    """Rounding otherwise is agreement; features of another extractor are not."""
    random = np.random.default_rng(1)
    features = random.normal(size=(4, 50)).astype(np.float32)
    run = {
        "digests": np.array(["a", "b", "c", "d"]),
        "asked": np.array(["cat/1.jpg"]),
        "answers": np.array(["cat"]),
        "probabilities": np.array([[0.9, 0.1]]),
        "features": features,
    }
    np.savez(tmp_path / "board.npz", **run)
    run["features"] = (features + noise * random.normal(size=features.shape)).astype(np.float32)

    assert tool("vertical_slice").agrees(run, tmp_path / "board.npz") is same
    assert (
        f"{4 if noise == 0 else 0} of 4 equal bit by bit; answers 1 of 1 the same" in capsys.readouterr().out
    )


def test_runs_on_other_pictures_are_not_compared(tmp_path: Path):
    """Whoever compares two runs that did not see the same is told, and gets no figure."""
    np.savez(tmp_path / "board.npz", digests=np.array(["a"]), asked=np.array(["cat/1.jpg"]))
    with pytest.raises(SystemExit, match="other pictures"):
        tool("vertical_slice").agrees(
            {"digests": np.array(["b"]), "asked": np.array(["cat/1.jpg"])}, tmp_path / "board.npz"
        )
