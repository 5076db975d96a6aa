"""This is where samples are divided into those to train on and those held out for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.learned import Learned
from edge_agent.store.chosen import DIGEST_BYTES, Chosen, Keys
from edge_agent.store.training_set import TrainingSet

SMALL_LABEL = 5
"""A label with fewer training samples than this trains on its held-out ones too: a version that has seen a label's
only two pictures is worth more than a figure computed on one of them."""


@dataclass(frozen=True)
class Split:
    """Digests of one training set in its order: what is learned from, and what may judge the result."""

    training: Chosen
    held_out: Chosen


def held_out(digests: Keys, fraction: float) -> NDArray[np.bool_]:
    """Which pictures belong to the held-out side.

    The side follows from a picture's own bytes (sha256), so no picture ever changes sides and no list has to be kept.
    `fraction` is the share of all pictures that is held out, 0 to 1.
    """
    first = np.frombuffer(digests.tobytes(), dtype=">u4")[:: DIGEST_BYTES // 4]
    return np.asarray(first < fraction * 0x1_0000_0000)


def is_held_out(digest: str, fraction: float) -> bool:
    """Whether the picture with this digest belongs there."""
    return int(digest[:8], 16) < fraction * 0x1_0000_0000


def split(samples: TrainingSet, fraction: float) -> Split:
    """Divide stored samples; small labels train on everything they have."""
    aside = held_out(samples.table, fraction)
    small = np.bincount(samples.codes[~aside], minlength=len(samples.names)) < SMALL_LABEL
    aside &= ~small[samples.codes]
    return Split(samples.chosen.only(~aside), samples.chosen.only(aside))


def relearned(samples: TrainingSet, parts: Split, learned: Learned) -> Split:
    """Of what a version has learned what is still stored under the same label; judged by the held-out rest of it.

    Where nothing of it is left, `parts`, which is how all of `samples` are divided.
    """
    same = learned.same(samples, samples.chosen)
    if not same.any():
        return parts
    known = np.bincount(samples.codes[same], minlength=len(samples.names)) > 0
    at = parts.held_out.at
    return Split(samples.chosen.only(same), parts.held_out.only(~same[at] & known[samples.codes[at]]))


def judges(parts: Split, learned: Learned | None = None) -> Chosen:
    """The held-out samples that none of the compared versions has learned from."""
    one = parts.held_out.only(parts.training.rows(parts.held_out) < 0)
    return one if learned is None else one.only(~learned.has(one.keys))
