"""This is where samples go that are older, or more, than their owner wants to keep."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Collection, Iterator

from edge_agent.agent.archive import Archive
from edge_agent.config import RetentionConfig
from edge_agent.store.samples import Sample, SampleStore

log = logging.getLogger(__name__)

ALWAYS_KEPT = 20
"""So many of a label stay whatever their age: a clock that jumps ahead must not make an agent forget everything."""

SLACK = 0.05
"""By this share more go than would have to, so that a label at its limit is not cut for every picture that comes."""

LOOK_SECONDS = 3600.0
"""How often ages are looked at while nothing changes."""

_DAY_SECONDS = 86400.0
_FEW = 200


class Retention:
    """Keeps each label within its limits; the agent's thread, and only while no update reads the samples.

    `before` is called with the places of the samples before they go: they have to be taken out of the sums. Nothing is
    forgotten in the sense of `forget`: versions that learned from a sample go on answering.
    """

    def __init__(
        self,
        store: SampleStore,
        archive: Archive,
        config: RetentionConfig,
        *,
        before: Callable[[Collection[int]], None],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._archive = archive
        self._config = config
        self._before = before
        self._monotonic = monotonic
        self._wall = wall
        self._looked = (-1, -math.inf)  # the revision of the store, and when

    def step(self) -> int:
        """Let go of what is beyond the limits; how many samples went. Raises `StoreError` when the disk refuses."""
        config, now = self._config, self._monotonic()
        if not (config.max_samples_per_label or config.max_megabytes_per_label or config.max_age_days):
            return 0
        revision = self._store.revision
        seen, looked_at = self._looked
        if seen == revision and (not config.max_age_days or now - looked_at < LOOK_SECONDS):
            return 0
        sizes = self._store.kept_bytes() if config.max_megabytes_per_label else {}
        going: list[Sample] = []
        for label, count in self._store.counts().items():
            found = list(self._beyond(label, count, sizes.get(label, 0)))
            if found:
                log.info("%d of %d samples of %s go, as [retention] says", len(found), count, label)
            going += found
        if going:
            self._before([one.sequence for one in going])
            # Pictures first: without its row a picture would be taken for one that a crash left, and learned again.
            self._archive.remove([one.digest for one in going])
            self._store.remove_all([one.digest for one in going])
        self._looked = (self._store.revision, now)
        return len(going)

    def _beyond(self, label: str, count: int, size_bytes: int) -> Iterator[Sample]:
        config = self._config
        number = _excess(count, config.max_samples_per_label)
        most = config.max_megabytes_per_label * 1e6
        spare = math.inf if not most or size_bytes <= most else size_bytes - most * (1 - SLACK)
        oldest = self._wall() - config.max_age_days * _DAY_SECONDS if config.max_age_days else -math.inf
        for gone, sample in enumerate(self._oldest_first(label)):
            too_large = math.isfinite(spare) and spare > 0
            too_old = sample.added_at < oldest and count - gone > ALWAYS_KEPT
            if not (gone < number or too_large or too_old):
                return
            yield sample
            spare -= sample.size_bytes if sample.stored_path else 0

    def _oldest_first(self, label: str) -> Iterator[Sample]:
        """The samples of a label, read bit by bit: mostly few go."""
        for offset in itertools.count(0, _FEW):
            some = self._store.list(label, limit=_FEW, offset=offset)
            yield from some
            if len(some) < _FEW:
                return


def _excess(count: int, most: int) -> int:
    return count - math.floor(most * (1 - SLACK)) if most and count > most else 0
