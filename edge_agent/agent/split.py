"""This is where samples are divided into those to train on and those held out for evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

SMALL_LABEL = 5
"""A label with fewer training samples than this trains on its held-out ones too: a version that has seen a label's
only two pictures is worth more than a figure computed on one of them."""


@dataclass(frozen=True)
class Split:
    """Digests in the order they were given: what is learned from, and what may judge the result."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


def is_held_out(digest: str, fraction: float) -> bool:
    """Whether a picture belongs to the held-out side.

    The side follows from the picture's own bytes (sha256, hex), so no picture ever changes sides and no list has to
    be kept. `fraction` is the share of all pictures that is held out, 0 to 1.
    """
    return int(digest[:8], 16) < fraction * 0x1_0000_0000


def split(samples: Sequence[tuple[str, str]], fraction: float) -> Split:
    """Divide `(digest, label)` pairs; small labels train on everything they have."""
    samples = list(samples)  # what is stored names its digests anew each time it is walked through
    aside = {digest for digest, _ in samples if is_held_out(digest, fraction)}
    training_counts = Counter(label for digest, label in samples if digest not in aside)
    small = {label for _, label in samples if training_counts[label] < SMALL_LABEL}
    training = tuple(digest for digest, label in samples if digest not in aside or label in small)
    held_out = tuple(digest for digest, label in samples if digest in aside and label not in small)
    return Split(training, held_out)


def relearned(samples: Sequence[tuple[str, str]], parts: Split, learned: Mapping[str, str]) -> Split:
    """Of what a version has learned what is still stored under the same label; judged by the held-out rest of it.

    `learned` gives the label each digest had then. Where nothing of it is left, `parts`, which is how all of
    `samples` are divided.
    """
    stored = dict(samples)
    training = tuple(digest for digest, label in samples if learned.get(digest) == label)
    if not training:
        return parts
    known = {stored[digest] for digest in training}
    aside = judges(parts.held_out, set(training))
    return Split(training, tuple(digest for digest in aside if stored[digest] in known))


def judges(held_out: Sequence[str], learned: Collection[str]) -> list[str]:
    """The held-out digests that none of the compared versions has learned from."""
    return [digest for digest in held_out if digest not in learned]
