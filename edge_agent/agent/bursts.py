"""This is where pictures that show the same are kept from being learned more often than is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_agent.agent.split import Split, split
from edge_agent.config import LearningConfig
from edge_agent.ml.copies import PIECE, capped
from edge_agent.store.training_set import TrainingSet


def divided(samples: TrainingSet, learning: LearningConfig) -> Split:
    """What is learned from and what may judge the result; of copies so many are learned from as the configuration says.

    Copies that are left out judge nothing either: they would ask for what was learned. Raises `StoreError` where a
    sample was forgotten meanwhile.
    """
    parts = split(samples, learning.held_out_fraction)
    if not learning.most_near_duplicates:
        return parts
    return replace(parts, training=without_copies(samples, parts.training, learning.most_near_duplicates))


def without_copies(samples: TrainingSet, digests: Sequence[str], most: int) -> tuple[str, ...]:
    """Of the pictures of a label that show the same, `most` at most; the digests that are left, in their order.

    Which of them stay follows from the digests, so any order of arrival leaves the same. Features of `PIECE`
    pictures are read at a time and held against each other, so that the work grows with the pictures only: of a
    larger burst so many stay in each piece. Raises `StoreError` where a sample was forgotten meanwhile.
    """
    labels = dict(samples)
    by_label: dict[str, list[str]] = {}
    for digest in sorted(digests):
        by_label.setdefault(labels[digest], []).append(digest)
    kept: set[str] = set()
    for rows in by_label.values():
        for start in range(0, len(rows), PIECE):
            piece = rows[start : start + PIECE]
            X, _ = samples.provider(piece).arrays(range(len(piece)))
            kept.update(piece[at] for at in capped(X, most).tolist())
    return tuple(digest for digest in digests if digest in kept)
