"""A connection to catalog.sqlite: how it is opened, checked, upgraded, and what its errors mean.

WAL mode: readers hold a transaction and so a snapshot, the writer never waits for them. What is in
the tables is the catalog's business.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from gingham.errors import (
    CollectionError,
    CollectionNotFoundError,
    CorruptionError,
    InputError,
    VersionError,
)
from gingham.forking import gate, renew_after_fork
from gingham.index.layout import APPLICATION_ID, CATALOG, FORMAT_VERSION, check_regular
from gingham.index.migrations import migrate, missing_steps, strange_objects

_WAIT = 30.0  # seconds for another connection's transaction, which are all short
_ROWS = 64  # fetched at a time of a long answer
_UNFINISHED = tuple(f"{CATALOG}.new{suffix}" for suffix in ("", "-journal", "-wal", "-shm"))
_LOG_LIMIT = 32 << 20  # bytes to which the write-ahead log is cut back when it starts anew
_unusable: list[sqlite3.Connection] = []  # of a parent, in a transaction: closing would undo it
# The file may be somebody else's: https://www.sqlite.org/security.html
_DISTRUST = ("PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """One connection. May be used by one thread at a time, whichever; not after a fork."""

    def __init__(self, collection: Path, *, writable: bool, outdated_ok: bool = False) -> None:
        """Connect, and check that this is a catalog of ours and of a version we know.

        Raises:
            CollectionNotFoundError: there is no catalog.
            CorruptionError: not an SQLite database, or not ours.
            VersionError: written by a newer gingham.
            CollectionError: it cannot be opened, or is of an older version (unless `outdated_ok`).
        """
        self.path = collection / CATALOG
        self._inherited = self._holds_snapshot = self._is_immutable = self._is_closed = False
        self._reading: set[sqlite3.Cursor] = set()
        self._connection: sqlite3.Connection
        renew_after_fork(self)
        _databases.add(self)
        self._check_files()
        if not self.path.is_file():
            raise CollectionNotFoundError(
                f"{collection}: no collection here; create one with gingham.open or `gingham add`"
            )
        with self.reporting():
            self._connection = self._connect(writable)
        try:
            with self.reporting():
                self._check(outdated_ok)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, collection: Path) -> None:
        """Create the catalog of a collection; whole or not there, whatever happens meanwhile."""
        remove_unfinished(collection)
        path = collection / _UNFINISHED[0]
        with _reporting(collection / CATALOG), gate:
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                # Not in WAL mode yet: closing a connection does not say whether the log could be
                # folded into the file, and the file is renamed without its log.
                connection.execute("PRAGMA synchronous = FULL")
                _upgrade(connection)
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            finally:
                connection.close()
        if mode != ("wal",):
            raise CollectionError(
                f"{collection}: SQLite cannot keep a write-ahead log here: use a local disk"
            )
        path.replace(collection / CATALOG)

    def upgrade(self) -> None:
        """Run the schema steps that the catalog lacks, all or none."""
        with self.reporting():
            _upgrade(self._connection)

    def is_outdated(self) -> bool:
        """Whether the catalog lacks schema steps of this version."""
        with self.reporting():
            return bool(missing_steps(self._connection))

    def _check_files(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            check_regular(Path(f"{self.path}{suffix}"))
        # We never make one, and SQLite would do as it says: undo changes, delete a file it names.
        if os.path.lexists(journal := f"{self.path}-journal"):
            raise CorruptionError(f"{journal}: gingham makes no such file; remove it")

    def _connect(self, writable: bool) -> sqlite3.Connection:
        if writable:
            return self._try(
                str(self.path.resolve()),
                "PRAGMA synchronous = FULL",
                f"PRAGMA journal_size_limit = {_LOG_LIMIT:d}",
            )
        uri = f"file:{_uri_path(self.path.resolve())}?mode=ro"
        try:
            return self._try(uri, "SELECT 1 FROM sqlite_master")
        except sqlite3.OperationalError:
            if not _nobody_can_write(self.path.parent) or self.log_bytes():
                raise
        # WAL keeps its shared memory in a file, for which a read-only file system has no room. But
        # nothing can change there either, so the database may be read as it stands.
        self._is_immutable = True
        return self._try(uri + "&immutable=1", "SELECT 1 FROM sqlite_master")

    def _try(self, name: str, *statements: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            name,
            uri=name.startswith("file:"),
            isolation_level=None,
            check_same_thread=False,
            timeout=_WAIT,
        )
        try:
            for statement in (*_DISTRUST, *statements):
                connection.execute(statement).fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, outdated_ok: bool) -> None:
        application = self._one("PRAGMA application_id")
        version = self._one("PRAGMA user_version")
        if application != APPLICATION_ID:
            raise CorruptionError(f"{self.path}: an SQLite database, but not gingham's")
        if version > FORMAT_VERSION:
            raise VersionError(
                f"{self.path}: format {version}, this gingham reads up to {FORMAT_VERSION}: "
                "pip install --upgrade gingham"
            )
        # In another mode a reader would keep the writer from every commit. SQLite is asked: opening
        # the file and closing it again would end all locks that this process has on it.
        if not self._is_immutable and self._one("PRAGMA journal_mode") != "wal":
            raise CorruptionError(
                f"{self.path}: not in WAL mode, in which gingham makes it; mend it with "
                f"sqlite3 {self.path} 'PRAGMA journal_mode = WAL'"
            )
        if strange := strange_objects(self._connection):
            raise CorruptionError(
                f"{self.path}: not as gingham made it: {strange}; restore it from a backup"
            )
        if not outdated_ok and self.is_outdated():
            raise CollectionError(
                f"{self.path}: written by an older gingham: gingham optimize upgrades it, "
                "as does opening it to write"
            )

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Turn SQLite's complaints into ours: damage, or an operation that could not be done.

        No child is forked meanwhile.
        """
        if self._inherited:
            raise CollectionError(
                f"{self.path.parent}: this process was forked in the middle of a read or write: "
                "use the collection anew in the child"
            )
        with _reporting(self.path), gate:
            yield

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that happens inside, or nothing."""
        with self.reporting():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def hold_snapshot(self) -> None:
        """From here on this connection sees the catalog as it now is, until `close`."""
        with self.reporting():
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM settings").fetchone()
        self._holds_snapshot = True

    def close(self) -> None:
        """Give up the connection and its snapshot."""
        if not self._inherited:
            with gate:
                self._is_closed = True
                self._connection.close()

    def after_fork_in_child(self) -> None:
        """Close, so that SQLite forgets the locks that are the parent's.

        A connection to the same file that the child opens shares SQLite's memory of which locks are
        held: it would read without any. Closing touches no lock of the parent's, and does not fold
        the log, which needs a lock that the parent has. Thanks to the gate no other thread was
        inside a call or transaction; a transaction that this thread is inside is never closed.
        """
        self._inherited = True
        if self._is_closed or not hasattr(self, "_connection"):
            return
        if self._connection.in_transaction and not self._holds_snapshot:
            _unusable.append(self._connection)
            return
        for cursor in self._reading:
            cursor.close()
        self._connection.close()

    @staticmethod
    def is_in_use(collection: Path) -> bool:
        """Whether this process has a connection, so that nobody but SQLite may open the catalog."""
        path = (collection / CATALOG).resolve()
        return any(d.path.resolve() == path and d._is_open() for d in list(_databases))

    def _is_open(self) -> bool:
        return hasattr(self, "_connection") and not self._is_closed and not self._inherited

    def log_bytes(self) -> int:
        """Size of the write-ahead log."""
        try:
            return Path(f"{self.path}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database, as far as no snapshot needs it."""
        self.rows("PRAGMA wal_checkpoint(PASSIVE)")

    def copy_to(self, path: Path) -> None:
        """Write what this connection sees as one durable file, while others write on."""
        with self.reporting():
            target = sqlite3.connect(path, isolation_level=None)
            try:
                target.execute("PRAGMA synchronous = FULL")
                self._connection.backup(target)
            finally:
                target.close()
        with path.open("rb+") as file:
            os.fsync(file.fileno())

    def rows(self, statement: str, bound: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of an answer."""
        with self.reporting():
            return self._connection.execute(statement, bound).fetchall()

    def row(self, statement: str, bound: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """The first row of an answer, None where there is none."""
        with self.reporting():
            row = self._connection.execute(statement, bound).fetchone()
            return cast("tuple[Any, ...] | None", row)

    def each(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a long answer, one by one."""
        with self.reporting():
            cursor = self._connection.execute(statement)
        self._reading.add(cursor)
        try:
            while True:
                with self.reporting():
                    rows = cursor.fetchmany(_ROWS)
                if not rows:
                    return
                yield from rows
        finally:
            self._reading.discard(cursor)
            if not self._inherited:
                with gate, contextlib.suppress(sqlite3.ProgrammingError):  # closed meanwhile
                    cursor.close()

    def many(self, statement: str, bound: Iterable[tuple[Any, ...]]) -> None:
        """A statement for each of many values; inside a transaction."""
        with self.reporting():
            self._connection.executemany(statement, bound)

    def _one(self, statement: str) -> Any:
        row = self.row(statement)
        return None if row is None else row[0]


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite quotes its schema in a message, Python decodes it
        raise CorruptionError(
            f"{path}: damaged: its schema is no text; restore the collection from a backup"
        ) from error
    except sqlite3.DataError as error:
        raise InputError(f"{path}: a value cannot be stored: {error}") from error
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            raise CorruptionError(f"{path}: not as gingham made it: {error}") from error
        if "UTF-8" in str(error):
            raise CorruptionError(
                f"{path}: holds text that is none; restore the collection from a backup"
            ) from error
        again = "open the collection again" if "readonly" in str(error) else "try again"
        raise CollectionError(
            f"{path}: {error}; check free space and permissions, then {again}"
        ) from error
    except sqlite3.DatabaseError as error:
        raise CorruptionError(
            f"{path}: damaged: {error}; restore the collection from a backup"
        ) from error


def remove_unfinished(collection: Path) -> None:
    """Remove a catalog that was being created when its process died. Only the writer may."""
    for name in _UNFINISHED:
        (collection / name).unlink(missing_ok=True)


def _upgrade(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION:d}")
        migrate(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _nobody_can_write(folder: Path) -> bool:
    """Whether the file system is read-only: a lack of permissions is ours only."""
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _uri_path(path: Path) -> str:
    """A path as SQLite's URIs want it: https://www.sqlite.org/uri.html, section 3.1."""
    text = path.as_posix()
    for character in "%?#":
        text = text.replace(character, f"%{ord(character):02x}")
    return text if text.startswith("/") else f"/{text}"  # C:/… on Windows
