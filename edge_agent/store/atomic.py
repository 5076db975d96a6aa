"""This is where bytes reach the disk whole or not at all, whatever crashes in between.

The recipe is always the same: write aside, fsync the file, rename, fsync the directory. Nothing else in the
project renames or calls `os.fsync`.

Every function raises `DiskFullError` when there is no room (space, inodes or quota) and `StoreError` for
everything else the disk refuses, `DiskFailedError` when it is broken; all name the path and say what to do.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from edge_agent.errors import DiskFailedError, DiskFullError, StoreError

TEMPORARY_PREFIX = ".edge-agent-"
"""Files under this prefix are half-written; every listing of the project ignores them."""
_COPY_BYTES = 1 << 20
_counter = itertools.count()

_NO_ROOM, _FAILED = {errno.ENOSPC, errno.EDQUOT}, {errno.EIO, errno.EROFS}
_ADVICE = {
    errno.EACCES: "give the user that runs edge-agent the right to write there",
    errno.EPERM: "give the user that runs edge-agent the right to write there",
    errno.EROFS: "the file system is mounted read-only; check the card with fsck and remount it",
    errno.EIO: "the disk reports an error; check it with dmesg and copy the data to another one",
    errno.ENOSPC: "free some space (or inodes, or quota) and it goes on",
    errno.EDQUOT: "free some space (or inodes, or quota) and it goes on",
    errno.EMFILE: "too many files are open; raise LimitNOFILE of the service",
    errno.ENFILE: "too many files are open on this machine; raise fs.file-max",
    errno.ENOENT: "a folder on the way was removed; create it again",
    errno.ENAMETOOLONG: "choose a shorter name",
}


@contextlib.contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Turn an `OSError` of the body into `DiskFullError` or `StoreError` that names `path` and what to do."""
    try:
        yield
    except OSError as error:
        raise store_error(error, path, doing) from error


def store_error(error: OSError, path: Path, doing: str) -> StoreError:
    """The `StoreError` (or `DiskFullError`) for `error`, met while `doing` something with `path`."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0)
    text = f"{path}: cannot {doing}: {reason}" + (f"; {advice}" if advice else "")
    if error.errno in _NO_ROOM:
        return DiskFullError(text)
    return DiskFailedError(text, path) if error.errno in _FAILED else StoreError(text)


def make_folder(path: Path, mode: int = 0o700) -> None:
    """Create `path` and its missing parents, each with `mode`, so that they survive a power cut."""
    missing: list[Path] = []
    folder = path
    with translated(path, "create the folder"):
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=mode)
                folder.chmod(mode)  # the umask may have taken bits away
            sync_directory(folder.parent)
        if not path.is_dir():  # a file of that name was made meanwhile
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


@contextlib.contextmanager
def replacing_file(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Replace the content of `path` by what the body writes; after an exception it is what it was."""
    make_folder(path.parent)
    with translated(path, "write the file"):
        temporary, file = _open_temporary(path.parent, mode)
        with _removed_on_failure(temporary):
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        sync_directory(path.parent)


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the content of `path` by `data` in one step; readers see the old bytes or the new ones."""
    with replacing_file(path, mode) as file:
        file.write(data)


def write_json(path: Path, value: Any, mode: int = 0o600) -> None:
    """Replace the content of `path` by `value` as readable JSON; NaN and infinities raise `ValueError`."""
    write_file(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(), mode)


def overwrite_file(path: Path, data: bytes) -> None:
    """Write `data` over a file of the same length, in its place: what can be done without any room.

    Only for a few bytes, which reach the disk in one piece; a reader must recognise half of them still.
    """
    with translated(path, "overwrite the file"):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_size != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.pwrite(descriptor, data, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def overwrite_parts(path: Path, parts: Iterable[tuple[int, bytes]], read: os.stat_result) -> bool:
    """Overwrite parts in place, each from its offset; False for a file with another name, or of another owner.

    One that is not what `read` said any more raises `StoreError`. Moving it makes it durable.
    """
    with translated(path, "overwrite parts of it"):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except PermissionError:
            return False
        try:
            if (now := os.fstat(descriptor)).st_nlink != 1 or now.st_uid != os.geteuid():
                return False
            if (now.st_ino, now.st_size, now.st_mtime_ns) != (read.st_ino, read.st_size, read.st_mtime_ns):
                raise OSError(errno.ESTALE, "it was changed while it was read")
            for offset, part in parts:
                os.pwrite(descriptor, part, offset)
        finally:
            os.close(descriptor)
    return True


def copy_file(source: BinaryIO, target: Path, mode: int = 0o600) -> Path:
    """Copy the rest of `source` to `target` in one step and return the path it got.

    A name that is taken is left alone: the copy of `a.jpg` becomes `a-2.jpg`, `a-3.jpg`, ...
    """
    with translated(target, "copy a file"):
        temporary, file = _open_temporary(target.parent, mode)
        with _removed_on_failure(temporary):
            with file:
                shutil.copyfileobj(source, file, _COPY_BYTES)
                file.flush()
                os.fsync(file.fileno())
            final = _reserve(target)
            with _removed_on_failure(final):
                temporary.replace(final)
        sync_directory(target.parent)
    return final


def move_file(source: Path, target: Path) -> None:
    """Move one file; see `move_files`."""
    move_files([(source, target)])


def move_files(moves: Iterable[tuple[Path, Path]]) -> None:
    """Move files so that content and names survive a power cut; a target of the same name is replaced.

    Across file systems the file is copied, and removed last. Each folder is synced once; the next move is asked for
    when the one before is made. Targets become private (0600) where the file has no other name. Raises `StoreError`
    for the first move that fails; those before it stay done.
    """
    folders: dict[Path, None] = {}
    try:
        for source, target in moves:
            make_folder(target.parent)
            with translated(source, f"move it to {target}"):
                _make_durable(source)
                try:
                    source.replace(target)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    _copy_across(source, target)
                folders |= {target.parent: None, source.parent: None}
    finally:
        for folder in folders:
            sync_directory(folder)


def publish_directory(staging: Path, final: Path) -> None:
    """Make everything below `staging` durable, then rename it to `final`, which must not exist."""
    with translated(final, "publish the directory"):
        for folder, _, names in os.walk(staging):
            for name in names:
                _make_durable(Path(folder, name))
            sync_directory(Path(folder))
        if os.path.lexists(final):  # rename() would silently replace an empty directory
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        staging.rename(final)
        sync_directory(final.parent)
        sync_directory(staging.parent)


def move_directory(source: Path, target: Path) -> None:
    """Rename a directory within one file system; nothing is left of `source` in any listing afterwards."""
    with translated(source, f"move it to {target}"):
        source.rename(target)
        sync_directory(source.parent)
        sync_directory(target.parent)


def remove_file(path: Path) -> None:
    """Remove a file for good; one that is not there is fine."""
    with translated(path, "remove the file"):
        try:
            path.unlink()
        except FileNotFoundError:
            return
        sync_directory(path.parent)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files for good, each folder synced once; those that are not there are fine."""
    folders: dict[Path, None] = {}
    for path in paths:
        with translated(path, "remove the file"):
            path.unlink(missing_ok=True)
        folders[path.parent] = None
    for folder in folders:
        sync_directory(folder)


def remove_tree(path: Path) -> None:
    """Remove a directory with everything below it; links are not followed, a missing one is fine."""
    with translated(path, "remove the directory"):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if os.path.lexists(path):
                raise
            return
        sync_directory(path.parent)


def remove_empty_folder(path: Path) -> None:
    """Remove a folder if nothing is in it; one that is not there is fine."""
    with translated(path, "remove the folder"):
        try:
            path.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            return
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in `path` durable."""
    with translated(path, "sync the directory"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Reserve:
    """Room for two files that is kept on the disk for the day when it is full: without it a little can be written."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._paths = (path, path.with_name(path.name + "-2"))
        self._size_bytes = size_bytes // 2

    def hold(self) -> None:
        """Take the room, if there is any; a full disk is no reason to stop here."""
        for path in self._paths:
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb"):
                    os.posix_fallocate(descriptor, 0, self._size_bytes)

    def release(self) -> None:
        """Give the room back to the file system."""
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.unlink()


def _open_temporary(folder: Path, mode: int) -> tuple[Path, BinaryIO]:
    """A new empty file in `folder`, with exactly `mode`."""
    while True:
        temporary = folder / f"{TEMPORARY_PREFIX}{os.getpid()}-{next(_counter)}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        except FileExistsError:  # left by an earlier process that had our number
            continue
        os.fchmod(descriptor, mode)
        return temporary, os.fdopen(descriptor, "wb")


def _reserve(target: Path) -> Path:
    """Claim a free name with an empty file: renaming over our own claim destroys nobody's file."""
    for number in itertools.count(1):
        path = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except FileExistsError:
            continue
        return path
    raise AssertionError("itertools.count never ends")


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _make_durable(path: Path) -> None:
    """Force a regular file's bytes to the disk and make it private, unless it has another name somewhere."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if os.fstat(descriptor).st_nlink == 1:
            with contextlib.suppress(PermissionError):  # somebody else's file in a shared drop folder
                os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_across(source: Path, target: Path) -> None:
    temporary, file = _open_temporary(target.parent, 0o600)
    with _removed_on_failure(temporary):
        with file, os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as original:
            shutil.copyfileobj(original, file, _COPY_BYTES)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    sync_directory(target.parent)  # the copy must be durable before the original goes
    source.unlink()
