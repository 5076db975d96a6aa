"""Children that die at a chosen step, a disk that is full, and samples to keep."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.store.samples import NewSample, SampleStore

ROOT = Path(__file__).resolve().parents[2]

DYING = """
import os, pathlib, shutil, sys

die_at, count = int(sys.argv[1]), 0

def step():
    global count
    count += 1
    if count == die_at:
        os._exit(9)

def dying(function):
    def wrapper(*arguments, **more):
        step()
        result = function(*arguments, **more)
        step()
        return result
    return wrapper

for name in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir", "fchmod"):
    setattr(os, name, dying(getattr(os, name)))
"""
"""Before and after each of these calls is a step; the child is gone at the step it was told."""

Child = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def child() -> Child:
    """Runs Python code in a process of its own; `die_at` ends it at that step, with status 9."""

    def run(code: str, *arguments: object, die_at: int = 0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", DYING + code, str(die_at), *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of one megabyte and 64 inodes; skips where it cannot be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use up all the room of a file system; the file that takes it."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return path


@pytest.fixture
def fill_disk() -> Callable[[Path], Path]:
    """Uses up all the room of a file system and returns the file that takes it."""
    return fill


NewSamples = Callable[..., NewSample]


@pytest.fixture(scope="session")
def new_sample() -> NewSamples:
    """Makes the sample number `i`: its digest and features depend on the number alone."""

    def make(i: int, label: str = "cat", n_features: int = 8, **more: object) -> NewSample:
        given = {
            "digest": hashlib.sha256(str(i).encode()).hexdigest(),
            "label": label,
            "source_name": f"{i}.jpg",
            "stored_path": f"archive/{label}/{i}.jpg",
            "size_bytes": 1000 + i,
            "width": 640,
            "height": 480,
            "features": np.random.default_rng(i).normal(size=n_features).astype(np.float32),
        }
        return NewSample(**{**given, **more})  # type: ignore[arg-type]

    return make


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SampleStore]:
    """An empty store whose clock stands at 1000."""
    with SampleStore(tmp_path / "agent.db", clock=lambda: 1000.0) as store:
        yield store
