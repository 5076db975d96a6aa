"""This is where examples wait, in a folder and safe from any crash, until an update learns them."""

from __future__ import annotations

import contextlib
import logging
import re
import uuid
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from edge_agent.errors import MLModelError, StoreError
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureValue
from edge_agent.ml.sample_files import Sample, read_samples, write_samples
from edge_agent.store.atomic import (
    TEMPORARY_PREFIX,
    make_folder,
    move_file,
    remove_file,
    remove_files,
    remove_tree,
    translated,
)

log = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{6,})-(\d+)-[0-9a-f]{32}\.npz")
_DAMAGED = "damaged"


class PendingSamples:
    """Samples in files below `folder`, oldest first; a file appears whole and is never changed.

    The name of a file is never given again, so whoever learned it can say so by its name. A file that cannot
    be read is set aside in `damaged/` with a sentence in the log, and stops no other. Raises `StoreError`
    (`DiskFullError`) with the path when the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """The files there are, oldest first."""
        with translated(self._folder, "list the folder"):
            try:
                found = [path.name for path in self._folder.iterdir()]
            except FileNotFoundError:
                return []
        return sorted(
            (name for name in found if _NAME.fullmatch(name)),
            key=lambda name: (_number(name), name),
        )

    def count(self) -> int:
        """How many samples wait."""
        return sum(int(name.split("-")[1]) for name in self.names())

    def add(self, samples: Sequence[Sample]) -> str:
        """Keep samples; when this returns they survive a power cut. The name of their file."""
        return self._write(max(map(_number, self.names()), default=0) + 1, samples)

    def read(self) -> dict[str, list[MLDictionaryFeatureProvider]]:
        """The samples of each file, oldest first."""
        samples = {}
        for name in self.names():
            try:
                samples[name] = read_samples(self._folder / name)
            except MLModelError as error:
                aside = self._folder / _DAMAGED / name
                move_file(self._folder / name, aside)
                log.warning("%s; it was moved to %s and is not learned", error, aside)
        return samples

    def change(
        self, changed: Callable[[MLDictionaryFeatureProvider], dict[str, MLFeatureValue] | None]
    ) -> int:
        """Put what `changed` makes of it in the place of each sample, nothing where it is None.

        The number of samples that are other than before. What could not be read goes too: nobody can say what
        it holds.
        """
        count = 0
        for name, samples in self.read().items():
            after = [(sample, changed(sample)) for sample in samples]
            other = sum(new is None or new != sample.dictionary for sample, new in after)
            if other:
                left = [new for _, new in after if new is not None]
                if left:
                    self._write(_number(name), left)
                remove_file(self._folder / name)
            count += other
        remove_tree(self._folder / _DAMAGED)
        return count

    def _write(self, number: int, samples: Sequence[Sample]) -> str:
        make_folder(self._folder)
        name = f"{number:06d}-{len(samples)}-{uuid.uuid4().hex}.npz"
        write_samples(self._folder / name, samples)
        return name

    def remove(self, names: Collection[str]) -> None:
        """Remove files for good; those that are not there are fine."""
        remove_files([self._folder / name for name in self.names() if name in names])

    def clear(self) -> None:
        """Remove everything."""
        remove_tree(self._folder)

    def clean(self) -> None:
        """Remove what a crash left half-written."""
        with contextlib.suppress(StoreError):
            remove_files(self._folder.glob(TEMPORARY_PREFIX + "*"))


def _number(name: str) -> int:
    return int(name.partition("-")[0])
