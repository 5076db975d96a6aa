"""This is where archived pictures are read again for an extractor that has not seen them."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from edge_agent.agent.archive import Archive
from edge_agent.agent.sight import Eyes
from edge_agent.errors import NotFoundError
from edge_agent.store.samples import Sample, SampleStore

log = logging.getLogger(__name__)

BATCH_SAMPLES = 32
MOST_TRIES = 3


class Refresh:
    """Extracts what is missing after the extractor, its runtime or its delegate changed.

    Features of different fingerprints are never mixed, so until this is done the samples concerned are not learned
    from.
    """

    def __init__(self, store: SampleStore, archive: Archive, engine: Eyes) -> None:
        self._store = store
        self._archive = archive
        self._engine = engine
        self._hopeless: set[str] = set()
        self._complete = ""
        self._fingerprint = ""
        self._tries: Counter[str] = Counter()

    def remaining(self, fingerprint: str) -> bool:
        """Whether samples are still to be looked at; asked of the store until the answer is no, then remembered."""
        if self._complete != fingerprint and not self._missing(fingerprint):
            self._complete = fingerprint
        return self._complete != fingerprint

    def step(self, go_on: Callable[[], bool]) -> None:
        """Extract one batch of what is missing, as long as `go_on`, called after each picture, says so."""
        fingerprint = self._engine.start().fingerprint
        if fingerprint != self._fingerprint:
            # What another extractor failed at, this one may see.
            self._fingerprint = fingerprint
            self._hopeless.clear()
            self._tries.clear()
        if not self.remaining(fingerprint):
            return
        missing = self._missing(fingerprint)
        for extraction in self._engine.extract(self._jobs(missing[:BATCH_SAMPLES]), keep=True):
            digest = str(extraction.key)
            same = extraction.digest == digest or (extraction.features is not None and self._is_whole(digest))
            if extraction.features is not None and same:
                with suppress(NotFoundError):  # forgotten while it was looked at
                    self._store.put_features(digest, fingerprint, extraction.features)
            elif extraction.features is not None:
                self._give_up(digest, "the archived file is not the one that was learned from")
            elif extraction.permanent or self._tries[digest] >= MOST_TRIES:
                self._give_up(digest, extraction.error or "no features came out")
            else:
                self._tries[digest] += 1
            if not go_on():
                break

    @property
    def lost(self) -> int:
        """How many samples cannot be learned from because their picture is gone or damaged."""
        return len(self._hopeless)

    def _missing(self, fingerprint: str) -> list[Sample]:
        limit = BATCH_SAMPLES + 1 + len(self._hopeless)
        rows = self._store.missing_features(fingerprint, limit)
        return [sample for sample in rows if sample.digest not in self._hopeless]

    def _jobs(self, samples: list[Sample]) -> Iterator[tuple[object, int]]:
        for sample in samples:
            path = self._archive.find(sample)
            if path is None:
                self._give_up(sample.digest, "its picture was not archived")
                continue
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError as error:
                self._give_up(sample.digest, f"{path}: {error.strerror}")
                continue
            yield sample.digest, fd

    def _is_whole(self, digest: str) -> bool:
        """Whether the kept picture still has all that its file said: kept before such was taken away."""
        with suppress(NotFoundError, OSError):
            path = self._archive.find(self._store.get(digest))
            if path is not None:
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest() == digest
        return False

    def _give_up(self, digest: str, reason: str) -> None:
        self._hopeless.add(digest)
        level = (
            logging.WARNING if len(self._hopeless) == 1 else logging.DEBUG
        )  # one line; `status` has the number
        log.log(level, "sample %s cannot be learned from with this extractor: %s", digest[:12], reason)
