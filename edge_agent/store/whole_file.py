"""This is where a file is read whole that might be something else: a pipe nobody writes to, a device, far too large."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

MOST_BYTES = 2 << 30
"""Neither a flatbuffer nor a protobuf can be larger."""


def open_regular(path: Path, most_bytes: int = MOST_BYTES) -> BufferedReader:
    """A file opened for reading in bytes, without ever waiting for the writer of a pipe.

    Raises `OSError`, whose `strerror` also says what is no regular file, or is larger than `most_bytes`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if status.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {most_bytes >> 20} MB", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_whole_file(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file; raises as `open_regular` does, also for one that grows while it is read."""
    with open_regular(path, most_bytes) as file:
        data = file.read()  # with a number it would take so much memory beforehand
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes >> 20} MB", str(path))
    return data
