"""This is where pictures that were learned from are kept, found again and removed."""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from edge_agent.agent.home import Home
from edge_agent.store.atomic import (
    TEMPORARY_PREFIX,
    move_files,
    overwrite_parts,
    remove_file,
    remove_files,
    translated,
    write_file,
)
from edge_agent.store.samples import Sample
from edge_agent.vision.picture_metadata import private_parts, without_metadata

DIGEST_PART = 16

_NAMED = re.compile(rf"-([0-9a-f]{{{DIGEST_PART}}})(?:\.[A-Za-z0-9]{{1,5}})?\Z")
"""What a stored name ends with. Its stem may have dots of its own and it may have no suffix, so not `Path.stem`."""

_READ_BYTES = 16 << 20
"""A larger file is mapped, not read: who makes a mapped file shorter ends the process that looks at it."""


class Archive:
    """The folder `archive/<label>/`; every file's name carries the first part of its digest.

    The name is what makes it robust: a picture whose row and place disagree after a crash is found by its digest.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def stored_path(self, label: str, name: str, digest: str) -> str:
        """Where a picture belongs, relative to the state directory: label, stem, part of the digest, suffix."""
        path = Path(name)
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).strip("._")[:60] or "picture"
        suffix = path.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", path.suffix) else ""
        file_name = f"{stem}-{digest[:DIGEST_PART]}{suffix}"
        return str(self._home.archive_folder.relative_to(self._home.path) / label / file_name)

    def path_under(self, sample: Sample, label: str) -> str:
        """Where a sample's picture belongs once it has another label; empty when it was not kept."""
        if not sample.stored_path:
            return ""
        stored = Path(sample.stored_path)
        return str(stored.parent.parent / label / stored.name)

    def take(
        self,
        files: Iterable[tuple[Path, str]],
        same: Callable[[Path], bool] = lambda _: True,
        silent: Collection[Path] = (),
    ) -> None:
        """Keep files that just arrived, as `keep` does, without what they say besides their pixels.

        They are overwritten in their place, which costs nothing on a card; one that has another name somewhere, or
        belongs to somebody else, is copied, so that its owner's stays whole. `same` is asked right before a file is
        touched; one that was replaced since it was read is left alone. Those of `silent` say nothing else, as was seen.
        """
        self.keep(self._silenced(files, same, silent))

    def _silenced(
        self, files: Iterable[tuple[Path, str]], same: Callable[[Path], bool], silent: Collection[Path]
    ) -> Iterator[tuple[Path, str]]:
        for source, stored_path in files:
            if same(source):
                if stored_path and source not in silent:
                    self._silence(source, self._home.path / stored_path)
                yield source, stored_path

    @staticmethod
    def _silence(source: Path, target: Path) -> None:
        with translated(source, "read it"):
            descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                before = os.fstat(descriptor)
                if not before.st_size or not stat.S_ISREG(before.st_mode):
                    return
                if before.st_size <= _READ_BYTES:
                    data = file.read(_READ_BYTES)
                    parts = list(private_parts(data))
                    if not parts or overwrite_parts(source, parts, before):
                        return
                    blank = without_metadata(data) if not target.exists() else b""
                else:
                    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
                        parts = list(private_parts(mapped))
                        if not parts or overwrite_parts(source, parts, before):
                            return
                        blank = without_metadata(mapped[:]) if not target.exists() else b""
        if blank:
            write_file(target, blank)

    def keep(self, files: Iterable[tuple[Path, str]]) -> None:
        """Move files to their places, each folder synced once; a place of "" means that a file is not kept.

        A picture that is in its place already makes the file that came superfluous.  Raises `DiskFullError` or
        `StoreError`; a file that could not be moved stays where it is.
        """
        move_files(self._moves(files))

    def _moves(self, files: Iterable[tuple[Path, str]]) -> Iterator[tuple[Path, Path]]:
        """One move after the other is made before the next file is looked at."""
        for source, stored_path in files:
            target = self._home.path / stored_path
            if stored_path and target.exists() and target.samefile(source):
                continue
            if not stored_path or target.exists():
                remove_file(source)
            else:
                yield source, target

    def find(self, sample: Sample) -> Path | None:
        """The picture of a sample, or None when it was not kept."""
        if not sample.stored_path:
            return None
        expected = self._home.path / sample.stored_path
        return expected if expected.exists() else next(self._copies(sample.digest), None)

    def pictures(self) -> list[Path]:
        """Every picture that is kept, in order."""
        return sorted(path for path in self._home.archive_folder.glob("*/[!.]*") if path.is_file())

    def settle(self, sample: Sample) -> None:
        """Make the picture lie where its row says, once: after a relabel, or a crash in the middle of one."""
        if not sample.stored_path:
            return
        target = self._home.path / sample.stored_path
        for copy in self._copies(sample.digest):
            if copy != target:
                self.keep([(copy, sample.stored_path)])

    def agree(self, places: Iterable[tuple[str, str]]) -> list[str]:
        """Digests of pictures that lie elsewhere than their rows say, as after a crash in the middle of a relabel.

        `places` are digest and stored path of every sample; `settle` mends it.
        """
        top = self._home.archive_folder.relative_to(self._home.path)
        there = {f"{top}/{label}/{name}" for label, name in self._names()}
        parts = set(map(_digest_part, there))
        return [
            digest for digest, path in places if path and path not in there and digest[:DIGEST_PART] in parts
        ]

    def _names(self) -> Iterator[tuple[str, str]]:
        """Folder and name of everything in the archive: of very many files their paths alone would take seconds."""
        if not self._home.archive_folder.is_dir():
            return
        with os.scandir(self._home.archive_folder) as folders:
            for folder in folders:
                if folder.is_dir():
                    with os.scandir(folder) as files:
                        for file in files:
                            yield folder.name, file.name

    def remove(self, digests: Collection[str]) -> None:
        """Remove every copy of these pictures, wherever a crash may have left one; the archive is read once."""
        parts = {digest[:DIGEST_PART] for digest in digests}
        remove_files(
            path for path in self._home.archive_folder.glob("*/*") if _digest_part(path.name) in parts
        )

    def clean(self) -> None:
        """Remove copies that a crash interrupted."""
        remove_files(self._home.archive_folder.glob(f"*/{TEMPORARY_PREFIX}*"))

    def _copies(self, digest: str) -> Iterator[Path]:
        part = digest[:DIGEST_PART]
        found = self._home.archive_folder.glob(f"*/*-{part}*")
        # A picture that came out of an archive has the digest it had there in its stem.
        yield from sorted(path for path in found if _digest_part(path.name) == part)


def _digest_part(name: str) -> str:
    """The part of its digest that a stored file's name carries; empty for a name that is not one of `stored_path`."""
    found = _NAMED.search(name)
    return found[1] if found else ""
