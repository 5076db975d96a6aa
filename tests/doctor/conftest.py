"""Collections of pictures without pictures: samples by name, with features around a direction of their label."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from edge_agent.doctor.collection import Collection
from edge_agent.store.samples import Sample


def sample(label: str, name: str, sequence: int = 0) -> Sample:
    """A stored picture of 640 x 480 pixels."""
    digest = hashlib.sha256(f"{label}/{name}".encode()).hexdigest()
    path = f"archive/{label}/{name}-{digest[:16]}.jpg"
    return Sample(digest, label, sequence, 1.5e9, f"{name}.jpg", path, 1000, 640, 480)


def drawn(sizes: dict[str, int], noise: float = 1.5, D: int = 64, seed: int = 0) -> Collection:
    """So many pictures of each label, in clouds of their own."""
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []
    rows: list[np.ndarray] = []
    for label in sorted(sizes):
        mean = np.abs(rng.normal(size=D)) * 2
        for number in range(sizes[label]):
            samples.append(sample(label, f"p{number}"))
            rows.append(np.abs(mean + noise * rng.normal(size=D)))
    return Collection(tuple(samples), np.array(rows, dtype=np.float32), dict(sizes))


def recalled(one: Collection, changes: dict[int, str]) -> Collection:
    """The same pictures, some of them under another label."""
    samples = [
        sample(changes[row], f"wrong{row}") if row in changes else each
        for row, each in enumerate(one.samples)
    ]
    return joined(samples, one.X)


def joined(samples: Sequence[Sample], X: np.ndarray) -> Collection:
    """A collection, sorted as the store gives it."""
    order = sorted(range(len(samples)), key=lambda row: (samples[row].label, samples[row].digest))
    counts = dict(sorted(Counter(each.label for each in samples).items()))
    return Collection(tuple(samples[row] for row in order), X[order], counts)


@pytest.fixture
def kit():
    """What makes collections."""
    return type(
        "Kit",
        (),
        {
            "drawn": staticmethod(drawn),
            "recalled": staticmethod(recalled),
            "joined": staticmethod(joined),
            "sample": staticmethod(sample),
        },
    )
