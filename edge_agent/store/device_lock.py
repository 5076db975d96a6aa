"""This is where one process gets a device for itself, and where others learn who has it."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

SHARED_FOLDER = Path("/run/lock")
"""Where programs of all users see each other's locks, on most systems."""


class DeviceLock:
    """The right to use a device: a file that is locked, and says by whom.

    The lock is lost with the process. Where files cannot be locked nobody is kept out: a device that two programs
    want refuses one of them anyway.
    """

    def __init__(self, name: str, folders: tuple[Path, ...]) -> None:
        self._name = f"edge-agent-{name}.lock"
        self._folders = folders
        self._descriptor: int | None = None

    def acquire(self) -> str:
        """Take the lock without waiting; empty when it was taken, else who has it, in words."""
        if self._descriptor is not None:
            return ""
        for folder in self._folders:
            descriptor = _opened(folder / self._name)
            if descriptor is None:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                words = os.pread(descriptor, 200, 0).decode("utf-8", "replace").split()
                os.close(descriptor)
                return f"process {' '.join(words[:1]) or 'unknown'} ({' '.join(words[1:]) or 'unknown'})"
            except OSError:
                os.close(descriptor)
                continue
            self._descriptor = descriptor
            _sign(descriptor)
            break
        return ""

    def release(self) -> None:
        """Give the lock back; the file stays, because removing it would let two processes hold two files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _opened(path: Path) -> int | None:
    # Another user's file can be locked though not be written to; the system refuses to open it for making.
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        try:
            return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError:
            continue
    return None


def _sign(descriptor: int) -> None:
    try:
        os.fchmod(
            descriptor, 0o644
        )  # a service's umask would hide from others who has it, and even that it is there
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {Path(sys.argv[0]).name or 'python'}\n".encode(), 0)
    except OSError:
        pass  # another user's file: it is locked all the same
