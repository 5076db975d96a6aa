"""This is where the pictures that are looked at are taken out of the store, so many of each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.home import Home
from edge_agent.store.samples import Sample, SampleStore

MOST_PICTURES = 2000
"""So many are looked at unless another number is said: seconds on a desk, and some 60 MB."""


@dataclass(frozen=True, eq=False)
class Collection:
    """Stored pictures with their features, sorted by label and digest; all there are, or some of each label."""

    samples: tuple[Sample, ...]
    X: NDArray[np.float32]
    """Features [n, D] of these."""
    counts: Mapping[str, int]
    """How many each label has in the store, those not looked at too."""
    unseen: int = 0
    """Of the stored pictures: how many the present extractor has no features of."""
    suspects: tuple[Sample, ...] = ()
    """Those the last update was refused for and that still have the label they had, looked at or not."""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of the pictures that are looked at, sorted."""
        return tuple(sorted({sample.label for sample in self.samples}))

    @property
    def y(self) -> NDArray[np.intp]:
        """The class of each picture [n], an index into `classes`."""
        column = {label: index for index, label in enumerate(self.classes)}
        return np.array([column[sample.label] for sample in self.samples], dtype=np.intp)

    @property
    def total(self) -> int:
        """How many pictures are stored."""
        return sum(self.counts.values())

    def part(self, rows: Sequence[int] | NDArray[np.intp]) -> Collection:
        """Only some rows."""
        return Collection(
            tuple(self.samples[int(row)] for row in rows),
            self.X[np.asarray(rows, dtype=np.intp)],
            self.counts,
            self.unseen,
            self.suspects,
        )

    def fact(self, row: int, **more: Any) -> dict[str, Any]:
        """A picture as findings name it."""
        return fact(self.samples[row], **more)


def fact(sample: Sample, **more: Any) -> dict[str, Any]:
    """A stored picture as findings name it; `path` is relative to the state directory, None when it was not kept."""
    return {
        "digest": sample.digest,
        "label": sample.label,
        "source": sample.source_name,
        "path": sample.stored_path or None,
        **more,
    }


def collect(
    home: Path, fingerprint: str, most: int = MOST_PICTURES, suspected: Mapping[str, str] | None = None
) -> Collection:
    """Read at most `most` pictures, of each label those with the lowest digests, and check the whole database.

    Of those `suspected`, labels by digest, the ones that still have that label become its `suspects`, in this order.
    The file is only read, and let go of at once: an agent may go on working on it. Raises `DamagedError` or
    `StoreError`.
    """
    with SampleStore(Home(home).database_path, read_only=True) as store:
        samples = {sample.digest: sample for sample in store.list()}
        snapshot = store.snapshot(fingerprint)
        by_label: dict[str, list[str]] = {}
        for digest, label in snapshot:  # sorted by digest, which has nothing to do with what a picture shows
            if digest in samples:
                by_label.setdefault(label, []).append(digest)
        chosen = [
            digest
            for label, quota in quotas({name: len(rows) for name, rows in by_label.items()}, most).items()
            for digest in by_label[label][:quota]
        ]
        X, labels = snapshot.provider(chosen).arrays(range(len(chosen)))
        counts = store.counts()
    del labels  # those of the samples are as new
    return Collection(
        tuple(samples[digest] for digest in chosen),
        X,
        counts,
        len(samples) - len(snapshot),
        tuple(
            samples[digest]
            for digest, label in (suspected or {}).items()
            if digest in samples and samples[digest].label == label
        ),
    )


def quotas(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """How many of each label, so that they are at most `most` together and small labels keep all they have."""
    left = most
    given: dict[str, int] = {}
    for place, label in enumerate(sorted(counts, key=lambda name: (counts[name], name))):
        given[label] = min(counts[label], left // (len(counts) - place))
        left -= given[label]
    return {label: given[label] for label in sorted(given)}
