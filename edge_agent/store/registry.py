"""This is where versions of the classifier are published, found, verified, rolled back and pruned.

    models/versions/000007/    never changed after it appeared; manifest.json describes it
    models/current             one line: the number of the version that answers
    models/staging/            what is being built, and what is being removed; empty after `clean()`

A version appears by one rename and becomes current by one replacement of `current`. Between the two it is
marked as pending in `staging/`, so that a crash there leaves nothing that looks published. One process may
write at a time (see `ProcessLock`); any number may read: they resolve `current()` once and then read inside
that directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import DamagedError, DiskFullError, NotFoundError, StoreError
from edge_agent.store.atomic import (
    TEMPORARY_PREFIX,
    make_folder,
    move_directory,
    overwrite_file,
    publish_directory,
    remove_file,
    remove_tree,
    translated,
    write_file,
)
from edge_agent.store.manifest import (
    Manifest,
    Version,
    VersionFacts,
    read_manifest,
    verify_files,
    version_of,
    write_manifest,
)

__all__ = ["Version", "VersionFacts", "VersionRegistry"]

_NUMBER = re.compile("[0-9]{6,18}")
_PENDING = ".pending"
_REMOVED = ".removed"


class VersionRegistry:
    """The versions below `folder` (HOME/models).

    `damage` says in whole sentences what the last reading found wrong; it is empty when all was well. Methods
    raise `NotFoundError` for a version that is not there, `DamagedError` for one that is not what was
    published, `DiskFullError` or `StoreError` when the disk refuses.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.damage: list[str] = []
        self._clock = clock
        self._versions = folder / "versions"
        self._staging = folder / "staging"
        self._pointer = folder / "current"
        self._highest = folder / "highest"
        self._verified: dict[int, tuple[object, ...]] = {}

    # ------------------------------------------------------------------ write: one process at a time

    def publish(
        self,
        write: Callable[[Path], None],
        facts: VersionFacts,
        verify: Callable[[Path], None] | None = None,
    ) -> Version:
        """Make a version and let it answer from now on.

        `write` fills an empty directory. `verify` is given the directory in its final place, before it
        becomes current, and raises to refuse it; then, as after any other failure, nothing of it is left.
        """
        self.clean()
        number = self._next_number()
        for folder in (self._versions, self._staging):
            make_folder(folder)
        staging = self._staging / _name(number)
        pending = self._pending(number)
        final = self._path(number)
        try:
            make_folder(staging)
            with translated(staging, "write the version"):
                write(staging)
            write_manifest(staging, number, facts, self._clock())
            write_file(pending, b"")
            publish_directory(staging, final)
            self.verify(number)
            if verify is not None:
                verify(final)
            self._point_to(number)
        except BaseException:
            self._abandon(number)
            raise
        with contextlib.suppress(StoreError):  # it answers already; `clean()` removes the mark later
            remove_file(pending)
        return self.get(number)

    def roll_back(self, to: int | None = None) -> Version:
        """Let an earlier version answer again: the parent of the current one, or version `to`.

        The target is verified first; `DamagedError` leaves everything as it is.
        """
        if to is None:
            current = self.current()
            if current is None:
                raise NotFoundError("nothing has been published yet, so there is nothing to go back to")
            to = current.parent
            if to is None or to not in self.numbers():
                raise NotFoundError(f"version {current.number} has no earlier version to go back to")
        self.verify(to)
        self._point_to(to)
        return self.get(to)

    def withdraw(self) -> None:
        """Let no version answer, and keep them all; for those who have another answer then."""
        self._point_to(0)

    def heal(self) -> Version | None:
        """Write into `current` the version that answers because the one named there is damaged."""
        version = self.current()
        if version is not None and self.pointed() != version.number:
            self._point_to(version.number)
        return version

    def prune(self, keep: int) -> list[int]:
        """Remove all but the newest `keep` versions, the current one and its parent. The numbers removed."""
        current = self.current()
        protected = {current.number, current.parent} if current is not None else set()
        removed = [number for number in self.numbers()[: -keep if keep else None] if number not in protected]
        for number in removed:
            self.remove(number)
        return removed

    def remove(self, number: int) -> None:
        """Remove one version for good; its number is never given again. `StoreError` for the current one."""
        self._known(number)
        if number == self.pointed():
            raise StoreError(f"version {number} is the current one; roll back to another first")
        self._discard(number)

    def remove_all(self) -> None:
        """Remove every version, the current one too; numbers are not given again."""
        remove_file(self._pointer)
        for number in self.numbers():
            self._discard(number)

    def clean(self) -> list[str]:
        """Remove what a crash left: unfinished and half-removed versions. What was removed, in words."""
        removed: list[str] = []
        for pending in self._staging.glob("*" + _PENDING):
            number = int(pending.stem) if _NUMBER.fullmatch(pending.stem) else -1
            if number != self.pointed() and self._path(number).is_dir():
                self._discard(number)
                removed.append(f"version {number}, which was never published")
            remove_file(pending)
        for path in sorted(self._staging.glob("*")):
            remove_tree(path) if path.is_dir() and not path.is_symlink() else remove_file(path)
            removed.append(path.name)
        for path in sorted(self.folder.glob(TEMPORARY_PREFIX + "*")):
            remove_file(path)
            removed.append(path.name)
        return removed

    # ------------------------------------------------------------------ read: any process, at any time

    def versions(self) -> list[Version]:
        """Every published version with a readable manifest, oldest first; `damage` names the others."""
        current = self._current_or_none()
        versions: list[Version] = []
        for number in self.numbers():
            try:
                versions.append(self._version(read_manifest(self._path(number), number), current))
            except StoreError as error:
                self._note(str(error))
        return versions

    def current(self) -> Version | None:
        """The version that answers, verified; `None` before the first is published and after `withdraw()`.

        When the one named in `current` is damaged it is its parent, or else the next older one that verifies, or
        a newer one where no older is left, and `damage` says so; only `heal()` repairs the pointer. Raises
        `DamagedError` when none verifies.
        Files are read again only when their size, time of change or identity differ from the last time.
        """
        while True:
            self.damage = []
            pointed = self.pointed()
            try:
                version = self._resolve(pointed)
            except DamagedError:
                if self.pointed() == pointed:
                    raise
                continue
            if self.pointed() == pointed:  # else another process published or rolled back meanwhile
                return version

    def get(self, number: int) -> Version:
        """Version `number`, its manifest checked."""
        self._known(number)
        return self._version(read_manifest(self._path(number), number), self._current_or_none())

    def verify(self, number: int) -> Manifest:
        """Hold all files of version `number` against its manifest; `DamagedError` when they differ."""
        self._known(number, pending=True)
        path = self._path(number)
        manifest = read_manifest(path, number)
        signature = _signature(path)
        verify_files(path, manifest)
        self._verified[number] = signature
        return manifest

    def numbers(self) -> list[int]:
        """The published versions, oldest first; a pending one counts once `current` names it."""
        with translated(self._versions, "list the versions"):
            try:
                numbers = sorted(
                    int(path.name) for path in self._versions.iterdir() if _NUMBER.fullmatch(path.name)
                )
            except FileNotFoundError:
                return []
        pointed = self.pointed()
        return [number for number in numbers if number == pointed or not self._pending(number).exists()]

    def pointed(self) -> int | None:
        """The number in `current`, 0 after `withdraw()`, None where none can be read; nothing is verified."""
        try:
            text = self._pointer.read_text("ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        except OSError as error:
            self._note(f"{self._pointer}: cannot be read: {error.strerror}")
            return None
        return int(text) if _NUMBER.fullmatch(text) else None

    # ------------------------------------------------------------------

    def _current_or_none(self) -> Version | None:
        try:
            return self.current()
        except DamagedError:
            return None

    def _resolve(self, pointed: int | None) -> Version | None:
        numbers = self.numbers()
        if pointed == 0 or (pointed is None and not numbers):
            return None
        candidates = [pointed] if pointed is not None else []
        if pointed is None:
            self._note(f"{self._pointer}: does not name a version")
        else:
            with contextlib.suppress(StoreError):
                parent = read_manifest(self._path(pointed), pointed).parent
                candidates += [] if parent is None else [parent]
        below = pointed if pointed is not None else numbers[-1] + 1
        candidates += [number for number in reversed(numbers) if number < below and number not in candidates]
        # Better one that was rolled back from than none.
        candidates += [number for number in numbers if number > below]
        for number in candidates:
            try:
                manifest = self._checked(number)
            except (StoreError, NotFoundError) as error:
                self._note(str(error))
                continue
            if self.damage:
                self._note(f"version {number} answers instead")
            return version_of(manifest, self._path(number), current=True)
        raise DamagedError(f"{self.folder}: no version can be used: {'; '.join(self.damage)}")

    def _checked(self, number: int) -> Manifest:
        """The manifest of a version whose files verified, now or when they last changed."""
        path = self._path(number)
        if number in self._verified and self._verified[number] == _signature(path):
            return read_manifest(path, number)
        return self.verify(number)

    def _note(self, finding: str) -> None:
        if finding not in self.damage:
            self.damage.append(finding)

    def _version(self, manifest: Manifest, current: Version | None) -> Version:
        is_current = current is not None and current.number == manifest.version
        return version_of(manifest, self._path(manifest.version), current=is_current)

    def _path(self, number: int) -> Path:
        return self._versions / _name(number)

    def _pending(self, number: int) -> Path:
        return self._staging / (_name(number) + _PENDING)

    def _known(self, number: int, *, pending: bool = False) -> None:
        if number not in self.numbers() and not (pending and self._path(number).is_dir()):
            known = ", ".join(map(str, self.numbers())) or "none"
            raise NotFoundError(f"there is no version {number}; there are: {known}")

    def _point_to(self, number: int) -> None:
        line = f"{_name(number)}\n".encode()
        if (before := self.pointed()) is not None:  # a mark that is left would undo what was published
            remove_file(self._pending(before))
        try:
            write_file(self._pointer, line)
        except DiskFullError:  # going back must be possible on a full disk, too
            overwrite_file(self._pointer, line)

    def _next_number(self) -> int:
        """One more than any number ever given: of versions present, and of the highest one ever removed."""
        numbers = [int(path.name) for path in self._versions.glob("*") if _NUMBER.fullmatch(path.name)]
        with contextlib.suppress(OSError, ValueError):
            numbers.append(int(self._highest.read_text("ascii")))
        return max([*numbers, self.pointed() or 0], default=0) + 1

    def _discard(self, number: int) -> None:
        """Take a version out of the listing in one step, then remove its files."""
        if number + 1 == self._next_number():
            write_file(self._highest, f"{number}\n".encode())
        self._verified.pop(number, None)
        removed = self._staging / (_name(number) + _REMOVED)
        make_folder(self._staging)
        move_directory(self._path(number), removed)
        remove_tree(removed)

    def _abandon(self, number: int) -> None:
        """Undo a publication that failed; what the disk refuses to remove now, `clean()` removes later."""
        with contextlib.suppress(StoreError):
            if self.pointed() != number:
                self.clean()


def _name(number: int) -> str:
    return f"{number:06d}"


def _signature(path: Path) -> tuple[object, ...]:
    """What changes when a file below a version is exchanged or written to."""
    found: list[object] = []
    with translated(path, "look at the version"):
        for folder, _, names in os.walk(path):
            for name in sorted(names):
                state = Path(folder, name).lstat()
                found += [(folder, name, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)]
    return tuple(found)
