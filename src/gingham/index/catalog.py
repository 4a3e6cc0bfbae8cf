"""Every SQL statement: documents, metadata, segments, tombstones, settings.

All statements are constants; all values are bound. A catalog is one SQLite database in WAL mode:
readers hold a transaction and so a snapshot, the writer never waits for them. Whoever calls decides
where transactions begin and end.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from gingham.codec.scalar import SCALAR_CODECS, ScalarCodec
from gingham.document import Document, Int64
from gingham.errors import CollectionNotFoundError, CorruptionError, VersionError
from gingham.index.layout import APPLICATION_ID, CATALOG, FORMAT_VERSION
from gingham.index.migrations import MIGRATIONS, migrate
from gingham.index.segment_writer import SegmentRecord

Scalar = str | int | float | bool | None

_COMPARISONS = {
    "$eq": "SELECT number FROM metadata WHERE key = ? AND kind = ? AND value = ?",
    "$gt": "SELECT number FROM metadata WHERE key = ? AND kind = ? AND value > ?",
    "$gte": "SELECT number FROM metadata WHERE key = ? AND kind = ? AND value >= ?",
    "$lt": "SELECT number FROM metadata WHERE key = ? AND kind = ? AND value < ?",
    "$lte": "SELECT number FROM metadata WHERE key = ? AND kind = ? AND value <= ?",
}
_IS_NULL = "SELECT number FROM metadata WHERE key = ? AND kind = 'z'"


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document as the catalog stores it; `digest` tells whether it has changed."""

    number: int
    id: str
    text: str | None
    metadata: str
    digest: bytes


def kind_of(value: Scalar) -> str:
    """The class of values that a metadata value is compared within."""
    if value is None:
        return "z"
    if isinstance(value, bool):
        return "b"
    return "s" if isinstance(value, str) else "n"


class Catalog:
    """One connection to catalog.sqlite, with a method a statement."""

    def __init__(self, collection: Path, *, writable: bool) -> None:
        """Connect, and check that this is a catalog of ours and of a version we know.

        Raises:
            CollectionNotFoundError: there is no catalog.
            CorruptionError: not an SQLite database, or not ours.
            VersionError: written by a newer gingham.
        """
        self.path = collection / CATALOG
        if not self.path.is_file():
            raise CollectionNotFoundError(
                f"{collection}: no collection here; create one with gingham.open or `gingham add`"
            )
        with self.reporting_damage():
            self._connection = self._connect(writable)
            self._check()

    @classmethod
    def create(cls, collection: Path) -> None:
        """Create the catalog of a collection; whole or not there, whatever happens meanwhile."""
        path = collection / f"{CATALOG}.new"
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION:d}")
            migrate(connection)
            connection.execute("COMMIT")
        finally:
            connection.close()  # the last to close folds the log into the file
        path.replace(collection / CATALOG)

    def _connect(self, writable: bool) -> sqlite3.Connection:
        if writable:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=30
            )
            connection.execute("PRAGMA synchronous = FULL")
            return connection
        uri = f"file:{_uri_path(self.path.resolve())}?mode=ro"
        try:
            connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30
            )
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            # A read-only file system has no room for the shared memory of WAL; nobody can write
            # there either, so the file may be read as it stands.
            connection = sqlite3.connect(
                uri + "&immutable=1", uri=True, isolation_level=None, check_same_thread=False
            )
        return connection

    def _check(self) -> None:
        application = self._one("PRAGMA application_id")
        version = self._one("PRAGMA user_version")
        if application != APPLICATION_ID:
            raise CorruptionError(f"{self.path}: an SQLite database, but not gingham's")
        if version > FORMAT_VERSION:
            raise VersionError(
                f"{self.path}: format {version}, this gingham reads up to {FORMAT_VERSION}: "
                "pip install --upgrade gingham"
            )
        names = {name for (name,) in self._connection.execute("SELECT name FROM migrations")}
        missing = [step.__name__ for step in MIGRATIONS if step.__name__ not in names]
        if missing:
            raise CorruptionError(f"{self.path}: lacks the schema steps {missing}")

    @contextmanager
    def reporting_damage(self) -> Iterator[None]:
        """Turn SQLite's complaints about the file into ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise CorruptionError(f"{self.path}: cannot be used: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all that happens inside, or nothing."""
        with self.reporting_damage():
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
        with self.reporting_damage():
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM settings").fetchone()

    def close(self) -> None:
        """Give up the connection and its snapshot."""
        self._connection.close()

    def log_bytes(self) -> int:
        """Size of the write-ahead log."""
        try:
            return Path(f"{self.path}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database, as far as no snapshot needs it."""
        with self.reporting_damage():
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # Settings -----------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """All settings."""
        rows = self._rows("SELECT key, value FROM settings")
        try:
            return {key: json.loads(value) for key, value in rows}
        except ValueError as error:
            raise CorruptionError(f"{self.path}: a setting is not JSON: {error}") from error

    def set_setting(self, key: str, value: Any) -> None:
        """Set or replace one setting."""
        self._connection.execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = ?2",
            (key, json.dumps(value)),
        )

    # Segments -----------------------------------------------------------------------------------

    def segments(self) -> list[SegmentRecord]:
        """The segments of the collection, oldest first."""
        rows = self._rows(
            "SELECT segment, kind, codec, dim, passages, tokens, bytes FROM segments ORDER BY 1"
        )
        records = []
        for segment, kind, codec, dim, passages, tokens, size in rows:
            numbers = (segment, dim, passages, tokens, size)
            if kind != "flat" or codec not in SCALAR_CODECS:
                raise CorruptionError(f"{self.path}: segment {segment} is {kind!r} {codec!r}")
            if not all(isinstance(number, int) and number >= 0 for number in numbers):
                raise CorruptionError(f"{self.path}: segment {segment!r} has impossible sizes")
            records.append(
                SegmentRecord(segment, cast(ScalarCodec, codec), dim, passages, tokens, size)
            )
        return records

    def replace_segments(self, old: Sequence[int], new: SegmentRecord | None) -> None:
        """Take segments off the list and put one on it."""
        self._connection.executemany(
            "DELETE FROM segments WHERE segment = ?", [(segment,) for segment in old]
        )
        if new is not None:
            self._connection.execute(
                "INSERT INTO segments VALUES (?, 'flat', ?, ?, ?, ?, ?)",
                (new.segment, new.codec, new.dim, new.passages, new.tokens, new.bytes),
            )

    # Documents ----------------------------------------------------------------------------------

    def count(self) -> int:
        """Documents."""
        return cast(int, self._one("SELECT count(*) FROM documents"))

    def digests(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The digests of those of the ids that exist."""
        # A look-up each, not json_each: SQLite ends JSON strings at a NUL character.
        rows = [self._row("SELECT id, digest FROM documents WHERE id = ?", (id,)) for id in ids]
        return {row[0]: row[1] for row in rows if row is not None}

    def number(self, id: str) -> int | None:
        """The number of a document, None where there is no such id."""
        row = self._row("SELECT number FROM documents WHERE id = ?", (id,))
        return None if row is None else cast(int, row[0])

    def document(self, id: str) -> Document | None:
        """A document by its id."""
        row = self._row("SELECT id, text, metadata FROM documents WHERE id = ?", (id,))
        return None if row is None else self._document(row)

    def documents(self, numbers: Iterable[int]) -> dict[int, Document]:
        """Documents by their numbers; a number that is not there is left out."""
        rows = self._rows(
            """SELECT number, id, text, metadata FROM documents
               WHERE number IN (SELECT value FROM json_each(?))""",
            (json.dumps(list(numbers)),),
        )
        return {row[0]: self._document(row[1:]) for row in rows}

    def _document(self, row: tuple[Any, ...]) -> Document:
        id, text, metadata = row
        try:
            return Document(id, text, json.loads(metadata))
        except ValueError as error:
            raise CorruptionError(f"{self.path}: metadata of {id!r}: {error}") from error

    def insert_documents(self, rows: Sequence[DocumentRow]) -> None:
        """Add documents whose ids are free, with what filters can see of their metadata."""
        self._connection.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
            [(row.number, row.id, row.text, row.metadata, row.digest) for row in rows],
        )
        self._connection.executemany(
            "INSERT INTO metadata VALUES (?, ?, ?, ?)",
            [
                (key, kind_of(value), value, row.number)
                for row in rows
                for key, value in filterable(json.loads(row.metadata))
            ],
        )

    def delete_documents(self, ids: Iterable[str]) -> int:
        """Remove documents and leave a tombstone for each; ids that do not exist are passed over.

        Returns:
            How many there were.
        """
        removed = 0
        for id in ids:
            number = self.number(id)
            if number is None:
                continue
            self._connection.execute("DELETE FROM documents WHERE number = ?", (number,))
            self._connection.execute("DELETE FROM metadata WHERE number = ?", (number,))
            self._connection.execute("INSERT INTO tombstones VALUES (?)", (number,))
            removed += 1
        return removed

    def tombstones(self) -> Int64:
        """Ascending numbers of removed documents that still lie in a segment."""
        rows = self._rows("SELECT number FROM tombstones ORDER BY number")
        return np.fromiter((number for (number,) in rows), dtype=np.int64)

    def bury(self, numbers: Iterable[int]) -> None:
        """Forget tombstones: their passages are in no segment any more."""
        self._connection.executemany(
            "DELETE FROM tombstones WHERE number = ?", [(number,) for number in numbers]
        )

    # Metadata -----------------------------------------------------------------------------------

    def numbers_where(self, key: str, operator: str, operand: Scalar) -> Int64:
        """Ascending numbers of the documents that have a value meeting one comparison.

        Args:
            key: the metadata name.
            operator: "$eq", "$gt", "$gte", "$lt" or "$lte".
            operand: compared within its own kind: numbers with numbers, strings with strings.
        """
        if operand is None:
            rows = self._rows(_IS_NULL, (key,))
        else:
            rows = self._rows(_COMPARISONS[operator], (key, kind_of(operand), operand))
        return np.unique(np.fromiter((number for (number,) in rows), dtype=np.int64))

    # ---------------------------------------------------------------------------------------------

    def _rows(self, statement: str, bound: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self.reporting_damage():
            return self._connection.execute(statement, bound).fetchall()

    def _row(self, statement: str, bound: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        with self.reporting_damage():
            row = self._connection.execute(statement, bound).fetchone()
            return cast("tuple[Any, ...] | None", row)

    def _one(self, statement: str) -> Any:
        row = self._row(statement)
        if row is None:
            raise CorruptionError(f"{self.path}: no answer to {statement!r}")
        return row[0]


def _uri_path(path: Path) -> str:
    """A path as SQLite's URIs want it: https://www.sqlite.org/uri.html, section 3.1."""
    text = path.as_posix()
    for character in "%?#":
        text = text.replace(character, f"%{ord(character):02x}")
    return text if text.startswith("/") else f"/{text}"  # C:/… on Windows


def filterable(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    """What filters see: top-level scalars, and each scalar of a top-level list."""
    for key, value in metadata.items():
        for item in value if isinstance(value, list) else [value]:
            if item is None or isinstance(item, (str, int, float, bool)):
                yield key, item
