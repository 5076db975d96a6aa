"""Files that anybody may have put there: read whole, or refused, and never waited for."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from edge_agent.store.whole_file import open_regular, read_whole_file


def test_a_regular_file_is_read_whole(tmp_path):
    """Also by way of a link."""
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")

    assert read_whole_file(tmp_path / "link") == b"bytes"


def test_reading_takes_the_memory_of_the_file(tmp_path):
    """Not that of the limit, which is far more than a board has."""
    (tmp_path / "file").write_bytes(bytes(1 << 20))

    tracemalloc.start()
    try:
        read_whole_file(tmp_path / "file")
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 4 << 20


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    """Nobody writes to it: whoever opened it plainly would never come back."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="no regular file"):
        open_regular(tmp_path / "pipe")


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/mem"])
def test_what_never_ends_is_refused(path):
    """A device has no end; reading some files of the kernel is an error, which names the file."""
    with pytest.raises(OSError, match=r"no regular file|Input/output error"):
        read_whole_file(Path(path), 1 << 20)


def test_a_folder_is_refused(tmp_path):
    """With words of its own."""
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        read_whole_file(tmp_path)


def test_what_is_too_large_is_not_read(tmp_path):
    """A file of ten gigabytes of nothing costs no memory."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(10 << 30)

    with pytest.raises(OSError, match="larger than 2048 MB"):
        read_whole_file(tmp_path / "huge")


def test_no_descriptor_stays_open(tmp_path):
    """What is refused is closed."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        with pytest.raises(OSError, match="folder"):
            open_regular(tmp_path)

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
