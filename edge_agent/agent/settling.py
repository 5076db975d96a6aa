"""This is where files are waited for: what two listings say about a file decides whether it is whole.

No clock and no disk: listings and times are handed in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from edge_agent.agent.listing import FolderListing, Signature

Key = tuple[str, str]
"""Folder and name of a file; the folder is "" directly in the drop folder."""

MIN_RETRY_SECONDS = 0.1


class _State(Enum):
    SETTLING = 0
    QUEUED = 1
    OUT = 2  # handed out; comes again if it is still there when `due`


@dataclass(slots=True)
class _Look:
    signature: Signature
    due: float
    state: _State = _State.SETTLING
    problem: str = ""


class Settling:
    """Every file that was seen and has not gone; about 400 bytes for each.

    A file is ready when two listings at least `settle_seconds` apart found it with the same signature, and
    sooner when a hint says that it was renamed into place whole. One that was handed out and is still there
    is handed out again after another `settle_seconds`, or after the time given to `put_back`.
    """

    def __init__(self, settle_seconds: float) -> None:
        self._settle_seconds = settle_seconds
        self._folders: dict[str, dict[str, _Look]] = {}
        self._queue: deque[Key] = deque()
        self._out: set[Key] = set()
        self.earliest = math.inf
        """When the next look is due for a file that is known; infinity when for none."""

    def __len__(self) -> int:
        return sum(map(len, self._folders.values()))

    @property
    def queued(self) -> bool:
        """Whether a file can be taken without another listing."""
        return bool(self._queue)

    def see(
        self,
        listings: Iterable[FolderListing],
        started: float,
        monotonic: Callable[[], float],
        whole: Collection[Key] = (),
    ) -> None:
        """Take in one listing that began at `started`; `whole` are files that were renamed into place.

        A folder that could not be read keeps what is known about it.
        """
        seen: dict[str, dict[str, _Look]] = {}
        for listing in listings:
            known = self._folders.get(listing.folder, {})
            if listing.error:
                seen[listing.folder] = known
                continue
            now = (
                monotonic()
            )  # a look is as late as the end of its listing: the next one is then far enough away
            looks = seen[listing.folder] = {}
            for name, signature in listing.files:
                look = known.get(name)
                if look is None or look.signature != signature:
                    look = _Look(signature, now + self._settle_seconds)
                    if self._settle_seconds == 0 or (listing.folder, name) in whole:
                        look.due = started
                if look.state is _State.SETTLING and (listing.folder, name) in whole:
                    look.due = started
                if look.state is not _State.QUEUED and look.due <= started:
                    look.state = _State.QUEUED
                looks[name] = look
        self._folders = seen
        self._sort()

    def take(self, limit: int, now: float) -> list[tuple[Key, Signature, str]]:
        """Hand out at most `limit` ready files, the oldest first: key, signature and what is wrong."""
        taken: list[tuple[Key, Signature, str]] = []
        while self._queue and len(taken) < limit:
            key = self._queue.popleft()
            look = self._look(key)
            if look is not None and look.state is _State.QUEUED:
                look.state = _State.OUT
                self._wait(key, look, now + max(self._settle_seconds, MIN_RETRY_SECONDS))
                taken.append((key, look.signature, look.problem))
        return taken

    def put_back(self, key: Key, due: float, problem: str = "") -> None:
        """Hand a file out again from `due` on, with what is wrong with it."""
        look = self._look(key)
        if look is not None:
            look.state, look.problem = _State.OUT, problem
            self._wait(key, look, due)

    def forget(self, key: Key) -> None:
        """Treat a file as never seen."""
        self._folders.get(key[0], {}).pop(key[1], None)
        self._out.discard(key)

    def forget_gone(self, is_there: Callable[[Key], bool]) -> None:
        """Forget the files that were handed out and have left."""
        gone = [key for key in self._out if not is_there(key)]
        for key in gone:
            self.forget(key)
        if gone and not self._out:
            self._find_earliest()

    def _look(self, key: Key) -> _Look | None:
        return self._folders.get(key[0], {}).get(key[1])

    def _wait(self, key: Key, look: _Look, due: float) -> None:
        look.due = due
        self._out.add(key)
        self.earliest = min(self.earliest, due)

    def _sort(self) -> None:
        ready: list[tuple[int, Key]] = []
        self._out = set()
        for folder, looks in self._folders.items():
            for name, look in looks.items():
                if look.state is _State.QUEUED:
                    ready.append((look.signature.mtime_ns, (folder, name)))
                elif look.state is _State.OUT:
                    self._out.add((folder, name))
        self._queue = deque(key for _, key in sorted(ready))
        self._find_earliest()

    def _find_earliest(self) -> None:
        self.earliest = min(
            (
                look.due
                for looks in self._folders.values()
                for look in looks.values()
                if look.state is not _State.QUEUED
            ),
            default=math.inf,
        )
