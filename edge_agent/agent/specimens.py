"""This is where some of the owner's labelled pictures are chosen, for extractors to be tried on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge_agent.agent.archive import Archive
from edge_agent.agent.home import Home
from edge_agent.agent.split import is_held_out
from edge_agent.store.samples import SampleStore

_T = TypeVar("_T")

FEWEST_LABELS, FEWEST_PICTURES = 2, 4
"""Fewer labels, of fewer pictures each, say nothing about an extractor."""


@dataclass(frozen=True)
class Specimen:
    """One picture."""

    path: Path
    label: str
    held_out: bool


def owners_pictures(home: Home, *, per_label: int, most: int, fraction: float) -> list[Specimen]:
    """Up to `per_label` archived pictures of each label and `most` in all, always the same ones; none for too few.

    They are in the order of their digests, which says nothing about them. `fraction` is the share held out.
    """
    if not home.database_path.is_file():
        return []
    archive = Archive(home)
    found: dict[str, list[Specimen]] = defaultdict(list)
    with SampleStore(home.database_path, read_only=True, check=False) as store:
        for sample in sorted(store.list(), key=lambda one: one.digest):
            if len(found[sample.label]) < per_label and (path := archive.find(sample)) is not None:
                found[sample.label].append(Specimen(path, sample.label, is_held_out(sample.digest, fraction)))
    labels = [label for label in sorted(found) if len(found[label]) >= FEWEST_PICTURES]
    if len(labels) < FEWEST_LABELS:
        return []
    share = max(FEWEST_PICTURES, most // len(labels))
    return [one for label in labels[: most // FEWEST_PICTURES] for one in found[label][:share]]


def from_files(pictures: Sequence[tuple[Path, str]], *, per_label: int, most: int) -> list[Specimen]:
    """Pictures of a labelled folder instead, spread over each label and over the labels; none of them is held out."""
    by_label: dict[str, list[Path]] = defaultdict(list)
    for path, label in pictures:
        by_label[label].append(path)
    labels = _spread(list(by_label), most // FEWEST_PICTURES)
    share = min(per_label, max(FEWEST_PICTURES, most // max(len(labels), 1)))
    return [
        Specimen(path, label, held_out=False) for label in labels for path in _spread(by_label[label], share)
    ]


def _spread(things: list[_T], most: int) -> list[_T]:
    """At most so many, from all over a list."""
    return things[:: max(1, len(things) // most)][:most]
