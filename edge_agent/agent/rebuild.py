"""This is where a lost database is made again from the pictures in the archive."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_agent.agent.archive import Archive
from edge_agent.agent.home import Home
from edge_agent.agent.labels import printable
from edge_agent.agent.sight import Eyes
from edge_agent.errors import DamagedError
from edge_agent.store.atomic import move_files
from edge_agent.store.samples import NewSample, SampleStore
from edge_agent.vision.engine import Extraction

log = logging.getLogger(__name__)

BATCH_SAMPLES = 50


def open_store(home: Home, clock: Callable[[], float]) -> SampleStore:
    """Open the database; one that is damaged is put aside under another name and an empty one begun.

    Raises `StoreError` when the disk refuses, or the database was written by a newer edge_agent.
    """
    path = home.database_path
    try:
        return SampleStore(path, clock=clock)
    except DamagedError as error:
        number = 1
        while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
            number += 1
        log.error("%s; it is kept as %s, and the samples are read again from the archive", error, aside.name)  # noqa: TRY400
        parts = [
            (path.with_name(path.name + end), aside.with_name(aside.name + end))
            for end in ("", "-wal", "-shm")
        ]
        move_files([(source, target) for source, target in parts if source.exists()])
        return SampleStore(path, clock=clock)


class Rebuild:
    """Takes archived pictures in again, under the label of their folder, when the database knows of none.

    Corrections made with `samples relabel` are kept, because the archive follows them.
    """

    def __init__(self, home: Home, store: SampleStore, archive: Archive, engine: Eyes) -> None:
        self._home = home
        self._store = store
        self._engine = engine
        self._left: list[Path] = [] if store.count() else archive.pictures()

    @property
    def remaining(self) -> int:
        """How many archived pictures are still to be read."""
        return len(self._left)

    @property
    def trouble(self) -> str:
        """What to tell people while it lasts."""
        return (
            f"the database was lost; {self.remaining} archived pictures are to be read again"
            if self._left
            else ""
        )

    def step(self, go_on: Callable[[], bool]) -> None:
        """Read one batch, as long as `go_on`, called after each picture, says so."""
        if not self._left:
            return
        batch = self._left[:BATCH_SAMPLES]
        fingerprint = self._engine.start().fingerprint
        found: list[NewSample] = []
        for extraction in self._engine.extract(self._jobs(batch), keep=True):
            if extraction.features is None:
                log.warning("%s cannot be read again: %s", extraction.key, extraction.error)
            else:
                found.append(self._sample(extraction))
            if not go_on():
                break
        # What was removed meanwhile is not to come back.
        self._store.add([new for new in found if (self._home.path / new.stored_path).exists()], fingerprint)
        self._left = self._left[BATCH_SAMPLES:]
        if not self._left:
            log.warning("the database was made again from the archive: %d samples", self._store.count())

    def _jobs(self, paths: list[Path]) -> Iterator[tuple[object, int]]:
        for path in paths:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError as error:
                log.warning("%s cannot be read again: %s", printable(str(path)), error.strerror)
                continue
            yield path, fd

    def _sample(self, extraction: Extraction) -> NewSample:
        path = extraction.key
        assert isinstance(path, Path)
        assert extraction.features is not None
        return NewSample(
            digest=extraction.digest,
            label=path.parent.name,
            source_name=path.name,
            stored_path=str(path.relative_to(self._home.path)),
            size_bytes=path.stat().st_size,
            width=extraction.width,
            height=extraction.height,
            features=extraction.features,
        )
