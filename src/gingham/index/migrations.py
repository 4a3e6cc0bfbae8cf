"""The schema of catalog.sqlite as append-only steps: a released step is never edited.

Each step runs once, inside the transaction that records its name in `migrations`. The oldest
collection is upgraded by running all that it lacks, when it is next opened for writing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import lru_cache


def m001_first_schema(connection: sqlite3.Connection) -> None:
    """Documents, their metadata, segments, tombstones, settings."""
    for statement in (
        # What holds for the whole collection: JSON values by name.
        "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        # Document numbers are given out once and never again; segments refer to them.
        """CREATE TABLE documents (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            text TEXT,
            metadata TEXT NOT NULL,
            digest BLOB NOT NULL
        )""",
        # One row for each value that a filter can look at; kind: n(umber) s(tring) b(ool) z (null).
        # `value` has no declared type, so that SQLite keeps 1, 1.0 and '1' as they are.
        """CREATE TABLE metadata (
            key TEXT NOT NULL,
            kind TEXT NOT NULL,
            value,
            number INTEGER NOT NULL
        )""",
        "CREATE INDEX metadata_by_value ON metadata (key, kind, value, number)",
        "CREATE INDEX metadata_by_document ON metadata (number)",
        """CREATE TABLE segments (
            segment INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            codec TEXT NOT NULL,
            dim INTEGER NOT NULL,
            passages INTEGER NOT NULL,
            tokens INTEGER NOT NULL,
            bytes INTEGER NOT NULL
        )""",
        # Numbers of deleted or replaced documents whose passages still lie in some segment.
        "CREATE TABLE tombstones (number INTEGER PRIMARY KEY)",
    ):
        connection.execute(statement)


def m002_codebooks(connection: sqlite3.Connection) -> None:
    """What clustered segments are coded with; flat segments have none."""
    for statement in (
        """CREATE TABLE codebooks (
            codebook INTEGER PRIMARY KEY,
            bits INTEGER NOT NULL,
            dim INTEGER NOT NULL,
            scale REAL NOT NULL,
            supers INTEGER NOT NULL,
            centroids INTEGER NOT NULL,
            tokens INTEGER NOT NULL,
            bytes INTEGER NOT NULL
        )""",
        "ALTER TABLE segments ADD COLUMN codebook INTEGER",
    ):
        connection.execute(statement)


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (m001_first_schema, m002_codebooks)


def missing_steps(connection: sqlite3.Connection) -> list[str]:
    """Names of the steps that a catalog lacks."""
    done = {name for (name,) in connection.execute("SELECT name FROM migrations")}
    return [step.__name__ for step in MIGRATIONS if step.__name__ not in done]


def migrate(connection: sqlite3.Connection) -> None:
    """Run the steps that a catalog lacks, in the caller's transaction."""
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
    missing = set(missing_steps(connection))
    for step in MIGRATIONS:
        if step.__name__ in missing:
            step(connection)
            connection.execute("INSERT INTO migrations VALUES (?)", (step.__name__,))


def strange_objects(connection: sqlite3.Connection) -> str | None:
    """What a catalog has that no step makes, None where it is as ours are.

    A view in a table's place could compute for ever, a trigger change what is written.
    """
    for kind, name in connection.execute(
        "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR rootpage < 1"
    ):
        return f"it has the {kind} {name!r}"
    if missing_steps(connection):
        return None  # older: the steps that it lacks do not read what is in its tables
    found = _columns(connection)
    for table, columns in _expected_columns(MIGRATIONS).items():
        if found.get(table) != columns:
            return (
                f"the columns of the table {table!r} are others"
                if table in found
                else (f"no such table: {table}")
            )
    return None


@lru_cache(maxsize=1)
def _expected_columns(
    steps: tuple[Callable[[sqlite3.Connection], None], ...],
) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(":memory:")
    try:
        for step in steps:
            step(connection)
        return _columns(connection)
    finally:
        connection.close()


def _columns(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    rows = connection.execute(
        """SELECT m.name, x.name, x.type, x."notnull", x.dflt_value, x.pk, x.hidden
           FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS x
           WHERE m.type = 'table' ORDER BY m.name, x.cid"""
    )
    columns: dict[str, list[tuple[object, ...]]] = {}
    for table, *column in rows:
        columns.setdefault(table, []).append(tuple(column))
    return columns
