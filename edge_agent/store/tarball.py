"""This is where files are put into one archive and taken out again, each held against its hash.

It is a tar archive that any tar reads, of regular files only.  Nothing in it depends on the day or on the user, so
that the same files give the same bytes.  Its last member, `SHA256SUMS`, names every other one with its hash, in
the way `sha256sum --check` reads; an archive without it was cut off.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Self

from edge_agent.errors import DamagedError, StoreError
from edge_agent.store.atomic import make_folder, translated

SUMS = "SHA256SUMS"

_CHUNK_BYTES = 1 << 20
_LONGEST_NAME = 255
"""Of one folder or file, in bytes; what file systems take."""


class Packer:
    """Writes an archive into `file`, which is whole once the `with` block has ended well.

    Sums are kept aside in a file without a name, so memory does not grow with the number of files.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __enter__(self) -> Self:
        self._sums = tempfile.TemporaryFile()  # see `__exit__`
        # Nothing is left open here without an orderly end: the file is not this object's.
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._sums:
            if error is None:
                size = self._sums.tell()
                self._sums.seek(0)
                self._tar.addfile(_member(SUMS, size), self._sums)
                self._tar.close()

    def add(self, name: str, source: BinaryIO, size_bytes: int) -> str:
        """Add a file of so many bytes; its SHA-256.  Raises `EOFError` when `source` has fewer."""
        if not safe_name(name):
            raise StoreError(f"{name!r} cannot be the name of a file in an archive")
        hashed = _Hashing(source)
        try:
            self._tar.addfile(_member(name, size_bytes), hashed)  # type: ignore[arg-type]  # only `read` is used
        except OSError as error:
            if error.errno is None:  # tarfile's own word for a source that ended
                raise EOFError(f"{name}: shorter than {size_bytes} bytes") from None
            raise
        self._tar.members.clear()  # type: ignore[attr-defined]  # it would remember them all
        self._sums.write(_line(hashed.hexdigest(), name))
        return hashed.hexdigest()


def unpack(
    file: BinaryIO,
    size_bytes: int,
    folder: Path,
    *,
    accept: Callable[[str], bool],
    extracted: Callable[[str], None] = lambda _name: None,
) -> None:
    """Take every file of an archive of so many bytes out into the empty `folder`, and hold it against its hash.

    Files are made anew, by names that lead nowhere but below `folder`; links, devices and names that `accept` turns
    down are refused.  Raises `DamagedError` for an archive that is not what was written, `DiskFullError` or
    `StoreError` when the disk refuses; what is in `folder` then is of no use.
    """
    with tempfile.TemporaryFile(dir=folder) as found:
        try:
            with tarfile.open(fileobj=file, mode="r|") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # as above
                    _check(member, size_bytes)
                    content = tar.extractfile(member)
                    assert content is not None, "a regular file has content"
                    if member.name == SUMS:
                        _compare(found, content)
                        return
                    if not accept(member.name):
                        raise DamagedError(f"{member.name!r} does not belong there")
                    found.write(_line(_write(content, folder / member.name), member.name))
                    extracted(member.name)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise DamagedError(f"not an archive, or a damaged one: {error}") from None
    raise DamagedError("its end is missing")


def safe_name(name: str) -> bool:
    """Whether a name leads below the folder it is taken in, and can stand in a line of its own."""
    parts = name.split("/")
    return (
        all(part not in ("", ".", "..") and len(os.fsencode(part)) <= _LONGEST_NAME for part in parts)
        and name.isprintable()
        and "\\" not in name
    )


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    """A header without a time, an owner or anything else of this machine."""
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mode = 0o600
    return member


def _line(digest: str, name: str) -> bytes:
    return f"{digest}  {name}\n".encode()


def _check(member: tarfile.TarInfo, size_bytes: int) -> None:
    if not member.isreg() or member.issparse():
        raise DamagedError(f"{member.name!r} is not a plain file")
    if not safe_name(member.name):
        raise DamagedError(f"{member.name!r} leads out of the archive")
    if not 0 <= member.size <= size_bytes:
        raise DamagedError(f"{member.name!r} is larger than the archive")


def _write(content: IO[bytes], path: Path) -> str:
    """Write a new file; its SHA-256."""
    make_folder(path.parent)
    hashed = hashlib.sha256()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            raise DamagedError(f"{path.name!r} is there twice") from None
        with translated(path, "write the file"):
            raise
    with os.fdopen(descriptor, "wb") as file:
        while data := content.read(_CHUNK_BYTES):
            hashed.update(data)
            with translated(path, "write the file"):
                file.write(data)
        with translated(path, "write the file"):
            file.flush()
    return hashed.hexdigest()


def _compare(found: IO[bytes], sums: IO[bytes]) -> None:
    """Hold what was found against what was written, line by line."""
    found.seek(0)
    for line in found:
        if sums.readline(len(line) + 1) != line:
            raise DamagedError(f"{line[66:].decode().rstrip()!r} is not what was written")
    if sums.read(1):
        raise DamagedError("files are missing in it")
