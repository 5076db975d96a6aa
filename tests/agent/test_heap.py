"""Memory of large arrays goes back to the system when it is freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import numpy as np
from edge_agent.agent.heap import give_memory_back

if sys.argv[1] == "asked" and not give_memory_back():
    sys.exit(77)

def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

before, kept = megabytes(), []
for size in (1300, 1280, 1280):  # what is freed tells glibc how large is large
    arrays = []
    for _ in range(4):
        arrays.append(np.ones((size, size)))
        kept.append(bytes(1000))  # stays, behind it
    del arrays
print(megabytes() - before)
"""


def test_what_large_arrays_took_goes_back():
    """After 50 MB of arrays less than 5 MB are left of them."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "asked"], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip("this C library has no mallopt")

    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 5
