"""This is where it is told which files are read and closed without waiting for anybody.

Whoever mounts a file system of their own (FUSE), or a server far away, decides when reading or closing a file of theirs
ends, and that may be never. Only kinds of file system that the kernel answers for alone are trusted; an overlay may
stand on any other.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from edge_agent.errors import UserError

_LOCAL = frozenset(
    {
        0xEF53,  # ext2 to ext4
        0x01021994,  # tmpfs, and memfd
        0x858458F6,  # ramfs
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0xF2F52010,  # F2FS
        0x4D44,  # FAT
        0x2011BAB0,  # exFAT
        0x7366746E,  # NTFS, of the kernel
        0x73717368,  # squashfs
        0xE0F5E1E2,  # EROFS
        0x9660,  # ISO 9660
    }
)
"""`statfs.f_type`, from linux/magic.h and the sources of those that are not in it."""

_STATFS_BYTES = 512
"""More than a `struct statfs` has on any processor; its first word is the type."""

COPIED_BYTES = 64 << 20
"""Longer files are not copied."""

PART_BYTES = 1 << 20


def is_local(fd: int) -> bool:
    """Whether the kernel alone answers for an open file; asking may take long where it does not."""
    import ctypes  # every command that asks an agent would pay for it

    found = ctypes.create_string_buffer(_STATFS_BYTES)
    ask = getattr(ctypes.CDLL(None), "fstatfs64", None) or ctypes.CDLL(None).fstatfs
    return ask(fd, found) == 0 and ctypes.c_ulong.from_buffer(found).value & 0xFFFFFFFF in _LOCAL


def admit(fds: list[int]) -> None:
    """Leave in `fds` only files that nobody can be kept waiting by; the others are closed, which may take long.

    What is no regular file is replaced by another such. Raises `UserError` for a regular file that is not local.
    """
    for place, fd in enumerate(fds):
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            fds[place] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            with suppress(OSError):  # of the last write of somebody; it is closed all the same
                os.close(fd)
        elif not is_local(fd):
            raise UserError(
                f"file {place + 1} of {len(fds)} is on a file system that could keep the agent waiting (FUSE, a"
                " network, an overlay); members of its group send a copy in memory instead (memfd)"
            )


def copied(fd: int) -> int:
    """A copy in memory of a file that is not local, which is closed then; `fd` itself where none is needed or made.

    Its position in the file does not matter and stays: another try begins with the same file.
    """
    copy = -1
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or is_local(fd) or facts.st_size > COPIED_BYTES:
            return fd
        copy = os.memfd_create("picture", os.MFD_CLOEXEC)
        done = 0
        while part := os.pread(fd, PART_BYTES, done):
            done += os.pwrite(copy, part, done)
            if done > COPIED_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    except OSError:
        if copy >= 0:
            os.close(copy)
        return fd
    with suppress(OSError):
        os.close(fd)
    return copy
