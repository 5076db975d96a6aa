"""This is where pictures that show the same are kept from being learned more often than is wanted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_agent.agent.split import Split, split
from edge_agent.config import LearningConfig
from edge_agent.ml.copies import PIECE, capped
from edge_agent.store.chosen import Chosen
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


def without_copies(samples: TrainingSet, digests: Chosen, most: int) -> Chosen:
    """Of the pictures of a label that show the same, `most` at most; the digests that are left, in their order.

    Which of them stay follows from the digests, so any order of arrival leaves the same. Features of `PIECE`
    pictures are read at a time and held against each other, so that the work grows with the pictures only: of a
    larger burst so many stay in each piece. Raises `StoreError` where a sample was forgotten meanwhile.
    """
    at = np.sort(digests.at)  # which is the order of the digests
    stay = np.zeros(len(samples), dtype=np.bool_)
    for code in range(len(samples.names)):
        rows = at[samples.codes[at] == code]
        for start in range(0, len(rows), PIECE):
            piece = rows[start : start + PIECE]
            X, _ = samples.provider(Chosen(samples.table, piece)).arrays(range(len(piece)))
            stay[piece[capped(X, most)]] = True
    return digests.only(stay[digests.at])
