"""What an update of many samples takes in memory, and what events nobody asked for cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARK = ROOT / "benchmarks" / "updates.py"
MOST_MB = 16


def growth(head, samples):
    """MB by which the highest mark of a fresh process grows while it updates."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--child", head, str(samples)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[0]) / 1024


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("head", ["lda", "softmax", "network"])
def test_checklist_53_102_memory_stays_flat(head):
    """Five times as many samples of 1280 features, 102 MB of them, raise the highest mark by hardly anything."""
    assert growth(head, 20_000) - growth(head, 4_000) < MOST_MB


@pytest.mark.slow
@pytest.mark.measured
def test_checklist_25_events_nobody_asked_for_cost_nothing(tmp_path):
    """Without mini-batches an update takes what it takes without handlers; with them it takes longer."""
    lines = [
        "import json, sys",
        "sys.path.insert(0, sys.argv[1])",
        "import updates",
        "print(json.dumps(updates.events(9, 300)))",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), str(BENCHMARK.parent)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["epoch_end / no handlers"] < 1.2
    assert told["mini_batch_end / no handlers"] > told["epoch_end / no handlers"]
