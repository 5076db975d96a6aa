"""This is where a folder is listened to: watchdog's threads ring a doorbell and do nothing else."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from edge_agent.agent.listing import is_ignored
from edge_agent.agent.settling import Key
from edge_agent.store.atomic import TEMPORARY_PREFIX

_MOST_HINTS = 10_000
_JOIN_SECONDS = 5.0
_HEARD: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
"""Not the opening and closing of a file for reading: that is us, and we would hear of each picture twenty times."""

_REMOTE = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "fuse",
    "afs",
    "ceph",
    "gluster",
    "davfs",
    "vboxsf",
    "virtiofs",
    "ncpfs",
)


class Watch:
    """Events of one folder and what lies below it.

    `rang` is set when something may have arrived, `heard` by any event at all. `doorbell` is called from
    another thread each time `rang` is set.
    """

    def __init__(
        self,
        root: Path,
        doorbell: Callable[[], None],
        *,
        make_observer: Callable[[], BaseObserver] = Observer,
    ) -> None:
        self.rang = threading.Event()
        self.heard = threading.Event()
        self._root = root
        self._doorbell = doorbell
        self._make_observer = make_observer
        self._observer: BaseObserver | None = None
        self._lock = threading.Lock()
        self._whole: set[Key] = set()

    @property
    def is_on(self) -> bool:
        """Whether it was started and not stopped."""
        return self._observer is not None

    @property
    def is_alive(self) -> bool:
        """Whether all of its threads run."""
        observer = self._observer
        return (
            observer is not None
            and observer.is_alive()
            and all(part.is_alive() for part in observer.emitters)
        )

    def handler(self) -> FileSystemEventHandler:
        """What watchdog's threads call."""
        return _Handler(self, self._root.resolve())

    def start(self) -> str:
        """Begin to listen; the reason when that is not possible, or nothing."""
        observer: BaseObserver | None = None
        root = self._root.resolve()  # the folder itself may be a link; what is watched is where it leads
        try:
            observer = self._make_observer()
            observer.schedule(self.handler(), str(root), recursive=True, event_filter=_HEARD)
            observer.start()
        except OSError as error:
            if observer is not None:
                observer.stop()
            return _reason(error)
        self._observer = observer
        return ""

    def stop(self) -> None:
        """Stop listening; calling it again is fine."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=_JOIN_SECONDS)
            self._observer = None

    def answer(self) -> set[Key]:
        """Silence the bell; the files that were renamed into place whole since the last time."""
        self.rang.clear()
        with self._lock:
            whole, self._whole = self._whole, set()
        return whole

    def ring(self, whole: Key | None = None) -> None:
        """Say that something may have arrived, and that the file `whole` did so by a rename."""
        if whole is not None:
            with self._lock:
                if len(self._whole) < _MOST_HINTS:  # without a hint a file only waits until it has settled
                    self._whole.add(whole)
        self.rang.set()
        self._doorbell()


class _Handler(FileSystemEventHandler):
    """What runs on watchdog's threads."""

    def __init__(self, watch: Watch, root: Path) -> None:
        self._watch = watch
        self._root = str(root)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Ring for what may be an arrival; what comes from our own reading and taking away is none."""
        self._watch.heard.set()
        kind = event.event_type
        if kind in ("opened", "closed_no_write", "attrib") or kind == (
            "modified" if event.is_directory else "deleted"
        ):
            return
        folder, name = os.path.split(os.fsdecode(event.dest_path or event.src_path))
        if is_ignored(name) and not event.is_directory:
            return
        whole: Key | None = None
        if isinstance(event, FileMovedEvent):
            _, old_name = os.path.split(os.fsdecode(event.src_path))
            outer, label = os.path.split(folder)
            if outer == self._root and old_name.startswith(TEMPORARY_PREFIX):
                whole = (label, name)
        self._watch.ring(whole)


def remote_file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system at `folder`, or mounted below it, if others may write there unseen."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    here = folder.resolve()
    holder: tuple[int, str] = (-1, "")
    below = ""
    for line in lines:
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point, kind = Path(_unescaped(parts[1])), parts[2]
        if here.is_relative_to(point) and len(point.parts) >= holder[0]:
            holder = (len(point.parts), kind)
        elif point.is_relative_to(here) and kind.startswith(_REMOTE):
            below = kind
    return holder[1] if holder[1].startswith(_REMOTE) else below or None


def _unescaped(text: str) -> str:
    """The kernel writes space, tab, newline and backslash in mount points as octal numbers."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the limit of watches is reached; raise fs.inotify.max_user_watches"
    if error.errno == errno.EMFILE:
        return "the limit of watchers is reached; raise fs.inotify.max_user_instances"
    return f"the folder cannot be watched: {error.strerror}"
