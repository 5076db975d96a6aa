"""This is where a process gives up reaching files, with Landlock; see `landlock(7)`.

What is said here holds for the calling thread and all that it starts, for good; nobody can take it back.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from edge_agent.vision.kernel import Call
from edge_agent.vision.syscalls import Processor

READ = 1 << 0 | 1 << 2 | 1 << 3
"""To run a file, to read one, to list a folder: a library is loaded by reading and running it."""
WRITE = 1 << 1
IOCTL = 1 << 15
_FOLDERS_ONLY = 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights about files each version of Landlock knows; later ones know no more."""
_NETWORK_RIGHTS = 1 << 0 | 1 << 1
"""To bind and to connect TCP; since version 4."""
_SCOPES = 1 << 0 | 1 << 1
"""Abstract Unix sockets and signals of others; since version 6."""


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def version(processor: Processor, call: Call) -> int:
    """Which version of Landlock the kernel offers; raises `OSError` where it offers none."""
    return call(processor.numbers["landlock_create_ruleset"], None, 0, 1)


def restrict(
    processor: Processor, call: Call, *, readable: Iterable[Path] = (), devices: Iterable[Path] = ()
) -> int:
    """Let this thread open nothing but what lies below `readable`, for reading, and `devices`; give the version.

    Places that are not there are passed over. The process must have set `no_new_privs`. Raises `OSError` where the
    kernel refuses.
    """
    number = version(processor, call)
    rights = (1 << _FILE_RIGHTS[min(number, max(_FILE_RIGHTS))]) - 1
    ruleset = _Ruleset(rights, _NETWORK_RIGHTS if number >= 4 else 0, _SCOPES if number >= 6 else 0)
    # An older kernel refuses a longer structure than it knows.
    size = 8 if number < 4 else 16 if number < 6 else 24
    fd = call(processor.numbers["landlock_create_ruleset"], ctypes.byref(ruleset), size, 0)
    try:
        for path in readable:
            _allow(processor, call, fd, path, READ & rights)
        for path in devices:
            _allow(processor, call, fd, path, (READ | WRITE | IOCTL) & rights)
        call(processor.numbers["landlock_restrict_self"], fd, 0)
    finally:
        os.close(fd)
    return number


def _allow(processor: Processor, call: Call, ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            rights &= ~_FOLDERS_ONLY
        beneath = _Beneath(rights, place)
        call(processor.numbers["landlock_add_rule"], ruleset, 1, ctypes.byref(beneath), 0)
    finally:
        os.close(place)
