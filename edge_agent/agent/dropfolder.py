"""This is where files arrive: found, waited for until they are still, and handed out.

The event is a doorbell, the listing is the truth: watchdog only says that a look is worth while.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edge_agent.agent.arrival import Arrival, Oddity, arrival_at
from edge_agent.agent.delivery import deliver
from edge_agent.agent.listing import FolderListing, Signature, list_drop_folder, marks, open_file
from edge_agent.agent.settling import Key, Settling
from edge_agent.agent.watch import Watch, remote_file_system
from edge_agent.config import DropFolderConfig
from edge_agent.errors import UserError
from edge_agent.store.atomic import store_error

__all__ = ["Arrival", "DropFolder", "Oddity", "deliver"]

CHECK_SECONDS = 5.0
"""How often a watch is checked for being alive, and how soon a lost one falls back to polling."""

RETRY_SECONDS = 30.0
"""How long a lost watch is replaced by polling before it is tried again."""

MIN_GAP_SECONDS = 0.25
"""A bell that rings without end leads to at most one listing in this time."""

_MOST_ODDITIES = 1000
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_NOT_A_FILE_NOW = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


class DropFolder:
    """The folder `folder`, watched from `open` to `close`.

    `doorbell` is called from another thread when a call of `ready` may be worth while; everything else
    happens on the caller's thread. `mounts` and `make_watch` are arguments so that tests can bring their
    own.
    """

    def __init__(
        self,
        config: DropFolderConfig,
        folder: Path,
        *,
        doorbell: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        mounts: Path = Path("/proc/self/mounts"),
        make_watch: Callable[[Path, Callable[[], None]], Watch] = Watch,
    ) -> None:
        self.path = folder.absolute()
        self.rescan_seconds = config.rescan_seconds
        self._config = config
        self._monotonic = monotonic
        self._mounts = mounts
        self._watch = make_watch(self.path, doorbell)
        self._settling = Settling(config.settle_seconds)
        self._is_open = False
        self._may_watch = False
        self._why_polling = ""
        self._trouble = ""
        self._marks: dict[str, tuple[int, ...]] = {}
        self._silent_changes = 0
        self._listed_at = -math.inf
        self._gap = 0.0
        self._next_listing = -math.inf
        self._next_check = math.inf
        self._retry_at = math.inf
        self._odd: dict[Path, str] = {}
        self._new_oddities: list[Oddity] = []

    # ------------------------------------------------------------------ life

    def open(self, *, watch: bool = True) -> None:
        """Make the folder if it is missing and begin to watch; without `watch` only `ready` looks.

        Raises `UserError` when the folder cannot be made or read.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = marks(self.path)
        except OSError as error:
            raise UserError(
                f"{self.path}: the drop folder cannot be used: {error.strerror}; "
                "mend its owner and mode, or name another one in drop_folder.path"
            ) from error
        self._is_open = True
        self._marks = found
        self._why_polling = self._reason_to_poll(watch=watch)
        self._may_watch = not self._why_polling
        if self._may_watch:
            self._start_watch(self._monotonic())

    def close(self) -> None:
        """Stop watching; safe without `open` and when called twice."""
        self._is_open = False
        self._watch.stop()

    @property
    def watching(self) -> str:
        """How arrivals are noticed: "events", or "polling: " or "nothing: " with the reason."""
        if self._trouble:
            return f"nothing: {self._trouble}"
        return "events" if self._watch.is_on else f"polling: {self._why_polling or 'not open'}"

    # ------------------------------------------------------------------ look

    def ready(self, limit: int) -> list[Arrival]:
        """At most `limit` files that lay still, the oldest first, after a listing if one is due.

        A file that is still there `settle_seconds` after it was handed out is handed out again.
        """
        now = self._monotonic()
        self._check_watch(now)
        self._settling.forget_gone(self._is_there)
        if now >= self._listing_due():
            self._look(now)
        return self.more(limit)

    def next_look(self) -> float | None:
        """The monotonic time at which `ready` has something to do; None when closed."""
        if not self._is_open:
            return None
        if self._settling.queued:
            return self._monotonic()
        retry_at = math.inf if self._trouble else self._retry_at
        return max(self._monotonic(), min(self._listing_due(), self._next_check, retry_at))

    def look_again(self) -> None:
        """List the folder at the next `ready`, however short ago the last listing was."""
        self._listed_at = self._next_listing = -math.inf

    @property
    def must_look(self) -> bool:
        """Whether the next `ready` lists the folder because nobody has yet, or somebody asked for it."""
        return self._listed_at == -math.inf

    @property
    def pending(self) -> int:
        """How many files are here that were not handed out, or were and have not left, as far as `ready` saw."""
        return len(self._settling)

    def left(self, arrivals: Iterable[Arrival]) -> None:
        """Forget files that were handed out and have gone, where they belong or by somebody else's hand."""
        for arrival in arrivals:
            self._settling.forget(arrival.key)

    def more(self, limit: int) -> list[Arrival]:
        """At most `limit` further files that lay still when the folder was last listed, the oldest first."""
        return [arrival_at(self.path, *taken) for taken in self._settling.take(limit, self._monotonic())]

    def put_back(self, arrival: Arrival, delay_seconds: float) -> None:
        """Hand a file out again after `delay_seconds` instead of after `settle_seconds`."""
        self._settling.put_back(arrival.key, self._monotonic() + delay_seconds, arrival.problem)

    @property
    def oddities(self) -> list[Oddity]:
        """What lies here and is not read: links, pipes, folders in label folders, closed folders."""
        return [Oddity(path, reason) for path, reason in self._odd.items()]

    def new_oddities(self) -> list[Oddity]:
        """The oddities found since the last call; each is reported once for as long as it is there."""
        found, self._new_oddities = self._new_oddities, []
        return found

    # ------------------------------------------------------------------ one file

    def open_arrival(self, arrival: Arrival) -> int | None:
        """A descriptor for reading exactly the file that was handed out; None when it has changed or gone.

        One that cannot be read is None too and comes again with that as its `problem`. Raises `StoreError`
        when no file at all can be opened.
        """
        key = arrival.key
        try:
            descriptor = open_file(self.path, *key)
        except OSError as error:
            if error.errno in _OUT_OF_FILES:
                raise store_error(error, arrival.path, "open the file") from error
            if error.errno in _NOT_A_FILE_NOW:
                self._look_again(key)
            else:
                reason = f"the file cannot be read: {error.strerror}; mend its owner and mode"
                self._settling.put_back(key, self._monotonic(), reason)
            return None
        state = os.fstat(descriptor)
        if stat.S_ISREG(state.st_mode) and Signature.of(state) == arrival.signature:
            return descriptor
        os.close(descriptor)
        self._look_again(key)
        return None

    def still_same(self, arrival: Arrival, fd: int | None = None, *, changed_ns: int | None = None) -> bool:
        """Whether the file (and the one open as `fd`) is the one that was handed out, unchanged.

        `changed_ns`: its time of change (ctime) when it was opened, for whoever did not touch it since. It tells of
        bytes that were exchanged by somebody who set the date back. A signature is without it, because moving a file
        gives it another mode, and one that then could not be moved would settle anew without end.
        """
        try:
            descriptor = open_file(self.path, *arrival.key)
        except OSError:
            same = False
        else:
            states = [os.fstat(each) for each in (descriptor, fd) if each is not None]
            os.close(descriptor)
            same = all(
                stat.S_ISREG(state.st_mode)
                and Signature.of(state) == arrival.signature
                and changed_ns in (None, state.st_ctime_ns)
                for state in states
            )
        if not same:
            self._look_again(arrival.key)
        return same

    # ------------------------------------------------------------------

    def _look(self, now: float) -> None:
        whole = self._watch.answer()
        try:
            seen = marks(self.path)
            listings = list(list_drop_folder(self.path))
        except OSError as error:
            self._trouble = f"the drop folder cannot be read: {error.strerror}"
            self._lose_watch("the drop folder was lost", now)
            self._listed_at, self._next_listing = now, now + self._poll_seconds()
            return
        if self._trouble:
            self._trouble, self._retry_at = "", now
        self._marks = seen
        self._settling.see(listings, now, self._monotonic, whole)
        self._note_oddities(listings)
        ended = self._monotonic()
        self._listed_at = now
        # A long listing must not fill all of the time, however often the bell rings.
        self._gap = max(min(MIN_GAP_SECONDS, self._config.settle_seconds), 4 * (ended - now))
        self._next_listing = ended + (
            self._config.rescan_seconds if self._watch.is_on else self._poll_seconds()
        )

    def _listing_due(self) -> float:
        if self._watch.rang.is_set():
            return self._listed_at + self._gap
        return max(min(self._next_listing, self._settling.earliest), self._listed_at + self._gap)

    def _poll_seconds(self) -> float:
        return min(self._config.poll_seconds, self._config.rescan_seconds)

    def _look_again(self, key: Key) -> None:
        """A file changed under our hands: it begins to settle anew."""
        self._settling.forget(key)
        self._watch.rang.set()

    def _is_there(self, key: Key) -> bool:
        try:
            self.path.joinpath(*key).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def _note_oddities(self, listings: Iterable[FolderListing]) -> None:
        odd: dict[Path, str] = {}
        for path, reason in self._found_odd(listings):
            if len(odd) == _MOST_ODDITIES:
                break
            odd[path] = reason
            if path not in self._odd and len(self._new_oddities) < _MOST_ODDITIES:
                self._new_oddities.append(Oddity(path, reason))
        self._odd = odd

    def _found_odd(self, listings: Iterable[FolderListing]) -> Iterator[tuple[Path, str]]:
        for listing in listings:
            folder = self.path / listing.folder
            if listing.error:
                yield folder, listing.error
            for name, reason in listing.odd:
                yield folder / name, reason

    # ------------------------------------------------------------------ the watch

    def _reason_to_poll(self, *, watch: bool) -> str:
        if not watch:
            return "nobody waits for events"
        if self._config.watch == "polling":
            return "drop_folder.watch says so"
        remote = remote_file_system(self.path, self._mounts) if self._config.watch == "auto" else None
        return f"{remote} tells nothing about what others write" if remote else ""

    def _start_watch(self, now: float) -> None:
        self._next_check = now + CHECK_SECONDS
        self._retry_at = math.inf
        self._silent_changes = 0
        self._why_polling = self._watch.start()
        if self._why_polling:
            self._retry_at = now + RETRY_SECONDS
            self._next_check = math.inf
        else:
            self._watch.rang.set()  # what came before the watch began is found by a listing

    def _lose_watch(self, reason: str, now: float) -> None:
        if not self._watch.is_on:
            return
        self._watch.stop()
        self._why_polling = reason
        self._next_check = math.inf
        self._retry_at = now + RETRY_SECONDS
        self._watch.rang.set()

    def _check_watch(self, now: float) -> None:
        """Find out whether the watch lives: two changes in a row without an event mean no."""
        if not self._watch.is_on:
            if self._may_watch and self._is_open and now >= self._retry_at and not self._trouble:
                self._start_watch(now)
            return
        if now < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        if not self._watch.is_alive:
            self._lose_watch("the watch ended by itself", now)
            return
        try:
            found = marks(self.path)
        except OSError as error:
            self._lose_watch(f"the drop folder was lost: {error.strerror}", now)
            return
        if found.get("", ())[:2] != self._marks.get("", ())[:2]:
            self._lose_watch("the drop folder was replaced", now)
            return
        heard = self._watch.heard.is_set() or self._watch.rang.is_set()
        self._watch.heard.clear()
        self._silent_changes = 0 if heard or found == self._marks else self._silent_changes + 1
        if found != self._marks:
            self._watch.rang.set()
        if self._silent_changes > 1:
            self._lose_watch("files changed and no event told of it", now)
