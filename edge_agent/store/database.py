"""This is where SQLite is opened, asked and closed: one connection that writes, short-lived ones that read.

Write-ahead log with synchronous=FULL: what was committed survives a power cut. Only one connection writes,
because SQLite before 3.51.3 can lose data when two connections write and checkpoint at once.

Errors: `DiskFullError` when there is no room, `DamagedError` when the file is not what was written,
`DiskFailedError` when the disk reports an error, `StoreError` for the rest (locked, read-only, newer format). All
name the file.  After a `DiskFailedError` nothing is written any more until the file is opened anew: a disk that
failed to keep one commit may say of the next that it is kept, and lose both.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from edge_agent.errors import DamagedError, DiskFailedError, DiskFullError, StoreError
from edge_agent.store.atomic import TEMPORARY_PREFIX, move_file, store_error

_APPLICATION_ID = 0x65646765  # "edge": tells our file from any other SQLite database
_BUSY_SECONDS = 5.0
_WAL_LIMIT_BYTES = 8 << 20
_WAL_PAGES = 4000  # as many bytes as the usual thousand pages of 4 KiB
_PAGE_BYTES = 1024
"""Every commit rewrites a handful of pages that are only partly new: small ones save 7 % of all bytes."""

_KEPT_READERS = 2


class Database:
    """One SQLite file with a format version.

    `migrations[i]` is the script that leads from format i to format i + 1; before the first of them a file that is
    there is copied to `NAME.format-i`, and each is a transaction of its own. With `read_only` the file must
    exist and nothing is ever written. `check` asks SQLite to look at every page first.
    """

    def __init__(
        self, path: Path, migrations: Sequence[str], *, read_only: bool = False, check: bool = True
    ) -> None:
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._failure = ""
        with self._translated():
            self._writer = self._connect(read_only=read_only)
        try:
            with self._translated():
                self._prepare(migrations, check=check)
        except BaseException:
            self._writer.close()
            raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the body is kept, durably, or nothing of it."""
        with self._lock, self._translated():
            self.trust()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if (
                    self._writer.in_transaction
                ):  # SQLite itself rolls back after some errors, a full disk for one
                    self._writer.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection for the length of the body; any thread may ask at any time."""
        with self._translated():
            with self._lock:
                if self._closed:
                    raise StoreError(f"{self.path}: the store is closed")
                connection = self._readers.pop() if self._readers else self._connect(read_only=True)
            try:
                yield connection
            finally:
                with self._lock:
                    if self._closed or len(self._readers) >= _KEPT_READERS:
                        connection.close()
                    else:
                        self._readers.append(connection)

    def copy_to(self, path: Path) -> None:
        """Write what the database holds at this moment to a new file, one file, while others go on writing.

        Raises `DamagedError` when the copy does not hold together.
        """
        with self.reading() as connection, contextlib.closing(sqlite3.connect(path)) as copy:
            connection.backup(copy)  # all pages in one step: one transaction's view
            copy.execute("PRAGMA journal_mode = DELETE")
            findings = [row[0] for row in copy.execute("PRAGMA quick_check(3)")]
        if findings != ["ok"]:
            raise DamagedError(f"{self.path}: the database is damaged: {'; '.join(findings)}")

    def trust(self) -> None:
        """Raise `DiskFailedError` once the disk has failed."""
        if self._failure:
            raise DiskFailedError(self._failure)

    def distrust(self, failure: str) -> None:
        """Write nothing any more, for a reason in words; the first one is kept."""
        self._failure = self._failure or (
            f"{failure}; nothing more is stored until the agent is started again, predictions go on"
        )

    def erase_traces(self) -> None:
        """Move the write-ahead log into the file and empty it, so that removed bytes are not left in it."""
        with self._lock, self._translated():
            self.trust()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def rewrite(self) -> None:
        """Write the file anew from its rows, so that no page has anything left between them.

        `secure_delete` clears what is deleted, not the copies that moving rows from page to page leaves behind.
        Without room for that the old pages stay. Raises `StoreError` while another program reads the file.
        """
        with self._lock, self._translated():
            self.trust()
            try:
                with self._translated():
                    self._writer.execute("VACUUM")
            except DiskFullError:
                pass
            if self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise StoreError(
                    f"{self.path}: another program reads it, so old pages are kept for that; end it and try again"
                )

    def close(self) -> None:
        """Close every connection; calling it again is fine."""
        with self._lock:
            self._closed = True
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers.clear()

    def _connect(self, *, read_only: bool) -> sqlite3.Connection:
        if not read_only:
            # SQLite gives its -wal and -shm files the mode of the database, so this makes all three private.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        connection = sqlite3.connect(
            f"file:{quote(os.fspath(self.path.absolute()))}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # the lock and the pool see to it that one thread uses it at a time
        )
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        return connection

    def _prepare(self, migrations: Sequence[str], *, check: bool) -> None:
        writer = self._writer
        version: int = writer.execute("PRAGMA user_version").fetchone()[0]
        owner: int = writer.execute("PRAGMA application_id").fetchone()[0]
        tables: int = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and owner != _APPLICATION_ID:
            if _layout(writer) == _layout_of(migrations):
                raise DamagedError(f"{self.path}: the database is damaged: its mark is gone")
            raise StoreError(f"{self.path}: this is another program's database; choose another --home")
        if version > len(migrations):
            raise StoreError(
                f"{self.path}: written by a newer edge_agent (format {version}, known is "
                f"{len(migrations)}); update edge_agent, or use a backup made by this version"
            )
        if self.read_only:
            return
        writer.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        if writer.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreError(
                f"{self.path}: this file system cannot hold a write-ahead log; put --home on a local disk"
            )
        writer.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute("PRAGMA secure_delete = ON")
        writer.execute("PRAGMA foreign_keys = ON")
        writer.execute("PRAGMA temp_store = MEMORY")
        writer.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        if check:
            findings = [row[0] for row in writer.execute("PRAGMA quick_check(3)")]
            if findings != ["ok"]:
                raise DamagedError(f"{self.path}: the database is damaged: {'; '.join(findings)}")
        if version and version < len(migrations):
            self._back_up(version)
        for number, script in enumerate(migrations[version:], start=version + 1):
            with self.writing() as connection:
                for statement in script.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {number}")
        if check and _layout(writer) != _layout_of(migrations):
            raise DamagedError(f"{self.path}: the database is damaged: its tables are not as they were made")

    def _back_up(self, version: int) -> None:
        """Keep the file as it is before it is changed for good; a copy that is whole already stays."""
        copy = self.path.with_name(f"{self.path.name}.format-{version}")
        if not copy.exists():
            half = copy.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{copy.name}")
            half.unlink(missing_ok=True)
            self._writer.execute("VACUUM INTO ?", (os.fspath(half),))
            half.chmod(0o600)
            move_file(half, copy)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._store_error(error) from error
        except UnicodeDecodeError as error:
            raise DamagedError(f"{self.path}: the database is damaged: {error}") from error
        except OSError as error:
            raise store_error(error, self.path, "open the database") from error

    def _store_error(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary == sqlite3.SQLITE_FULL or (
            primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and self._no_room()
        ):
            return DiskFullError(f"{self.path}: no room left ({error}); free some space and it goes on")
        undecodable = code is None and "decode" in str(error)  # by Python's module, which has no code for it
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or undecodable:
            return DamagedError(f"{self.path}: the database is damaged: {error}")
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreError(
                f"{self.path}: the database is locked by another process; stop it and try again"
            )
        if primary == sqlite3.SQLITE_IOERR and code != sqlite3.SQLITE_IOERR_NOMEM:
            self.distrust(f"{self.path}: the disk reports an error ({error}); check it with dmesg")
            return DiskFailedError(self._failure)
        if primary == sqlite3.SQLITE_CANTOPEN and not self.path.exists():
            return StoreError(f"{self.path}: there is no database here yet")
        if self._closed:
            return StoreError(f"{self.path}: the store is closed")
        return StoreError(f"{self.path}: the database refused: {error}")

    def _no_room(self) -> bool:
        """Whether the file system is full: SQLite calls it an I/O error when its index cannot grow."""
        try:
            room = os.statvfs(self.path.parent)
        except OSError:
            return False
        return room.f_bavail == 0 or (room.f_files > 0 and room.f_favail == 0)


def _layout(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Every table with its columns: name, type, whether it may be empty, place in the key."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
    )
    columns = 'SELECT name, type, "notnull", pk FROM pragma_table_info(?)'
    return {name: connection.execute(columns, (name,)).fetchall() for (name,) in tables.fetchall()}


def _layout_of(migrations: Sequence[str]) -> dict[str, list[tuple[object, ...]]]:
    """What the scripts make of an empty file."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for script in migrations:
            connection.executescript(script)
        return _layout(connection)
