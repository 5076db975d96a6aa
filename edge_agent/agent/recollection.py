"""This is where is kept what the next candidate's judgement would otherwise find out again."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.learned import Learned, read_learned
from edge_agent.agent.opinions import opinion
from edge_agent.agent.publishing import probabilities
from edge_agent.errors import DamagedError
from edge_agent.ml.evidence import STRICT
from edge_agent.ml.likenesses import Likenesses
from edge_agent.ml.model import MLModel
from edge_agent.store.chosen import Chosen, Keys, places
from edge_agent.store.registry import Version
from edge_agent.store.training_set import TrainingSet

log = logging.getLogger(__name__)

PROBES = 64
"""So many of the answers that are kept a version has to give again before the others are believed."""
TOLERANCE = 1e-9
"""Rounding differs with how many rows are asked about at a time."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What a model said of some pictures, its digests sorted, before it was written down."""

    digests: Keys
    proba: Matrix
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Published:
    number: int
    fingerprint: str
    learned: Learned
    answers: Answers | None


class Recollection:
    """Near-duplicates among the samples of one extractor, and of the version published last what it learned and said.

    It is of use and nothing more: a new one finds out the same.
    """

    def __init__(self) -> None:
        self._likenesses: tuple[str, Likenesses] = "", Likenesses(STRICT)
        self._published: _Published | None = None
        self.said: Answers | None = None
        """What the candidate that is judged said of the held-out pictures."""

    def likenesses(self, fingerprint: str) -> Likenesses:
        """Those of the samples as an extractor sees them."""
        if self._likenesses[0] != fingerprint:
            self._likenesses = fingerprint, Likenesses(STRICT)
        return self._likenesses[1]

    def publish(self, version: Version, learned: Learned) -> None:
        """The candidate that was judged last is this version now."""
        self._published = _Published(version.number, version.extractor_fingerprint, learned, self.said)

    def learned_by(self, version: Version | None) -> Learned:
        """What a version learned from; nothing, and a warning, where that is lost."""
        if version is None:
            return Learned.by({})
        if self._published is not None and self._published.number == version.number:
            return self._published.learned
        try:
            return read_learned(version)
        except DamagedError as error:
            log.warning("it is not known what version %d learned from: %s", version.number, error)
            return Learned.by({})

    def opinions(self, version: Version, model: MLModel, samples: TrainingSet, asked: Chosen) -> Matrix:
        """Probabilities [n, C] that a version, loaded as `model`, gives to samples.

        It is asked about those it was not asked about before it was published, and about some others, to see that it
        says of them what it said then. Raises `UnsoundError` where it fails or they are no probabilities.
        """
        kept = self._published.answers if self._is(version) and self._published else None
        if kept is None or kept.classes != tuple(model.classes):
            return probabilities(model, samples, asked, ask=opinion)
        at, known = places(kept.digests, asked.keys)
        again = np.flatnonzero(known)
        again = again[:: max(1, len(again) // PROBES)][:PROBES]
        ask = ~known
        ask[again] = True
        found = np.empty((len(asked), len(kept.classes)))
        found[known] = kept.proba[at[known]]
        fresh = probabilities(model, samples, asked.only(ask), ask=opinion)
        if not np.allclose(fresh[known[ask]], found[again], rtol=0.0, atol=TOLERANCE):
            return probabilities(model, samples, asked, ask=opinion)
        found[ask] = fresh
        return found

    def _is(self, version: Version) -> bool:
        one = self._published
        return one is not None and (one.number, one.fingerprint) == (
            version.number,
            version.extractor_fingerprint,
        )
