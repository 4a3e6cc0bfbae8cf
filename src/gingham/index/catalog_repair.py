"""The SQL of checking and repairing a catalog: statements that nothing else needs.

As in `catalog`, all values are bound, and whoever calls decides where transactions begin and end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gingham.errors import CorruptionError
from gingham.index.catalog import Catalog, filterable, kind_of
from gingham.index.codebook_files import CodebookRecord
from gingham.index.segment_writer import SegmentRecord

_DOCUMENTS = "SELECT number, id, text, metadata, digest FROM documents ORDER BY number"
_METADATA = "SELECT number, key, kind, value FROM metadata ORDER BY number"


def integrity(catalog: Catalog) -> list[str]:
    """What SQLite finds wrong with its structures and indexes; empty where all is well."""
    rows = catalog.database.rows("PRAGMA integrity_check(20)")
    found = [" ".join(str(row[0]).split()) for row in rows]
    return [] if found == ["ok"] else found


def raw_documents(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    """Number, id, text, metadata, digest of every document, whatever they are, by number."""
    return catalog.database.each(_DOCUMENTS)


def raw_metadata(catalog: Catalog) -> Iterator[tuple[Any, ...]]:
    """Number, key, kind and value of everything that filters see, by number."""
    return catalog.database.each(_METADATA)


def expected_metadata(number: int, metadata: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a document that `raw_metadata` should give, in no order."""
    return [(number, key, kind_of(value), value) for key, value in filterable(metadata)]


def document_row(catalog: Catalog, number: int) -> tuple[Any, ...] | None:
    """Id, text and metadata of a document, as they are stored."""
    statement = "SELECT id, text, metadata FROM documents WHERE number = ?"
    return catalog.database.row(statement, (number,))


def drop_documents(catalog: Catalog, numbers: Iterable[int]) -> None:
    """Remove documents with what filters see of them; tombstones are set elsewhere."""
    bound = [(number,) for number in numbers]
    catalog.database.many("DELETE FROM documents WHERE number = ?", bound)
    catalog.database.many("DELETE FROM metadata WHERE number = ?", bound)


def rewrite_metadata(catalog: Catalog) -> None:
    """Make anew, from the documents, what filters see."""
    catalog.database.rows("DELETE FROM metadata")
    pending: list[tuple[Any, ...]] = []
    # A list, not a cursor: a statement that is being read keeps others from writing.
    for (number,) in catalog.database.rows("SELECT number FROM documents ORDER BY number"):
        row = catalog.database.row("SELECT metadata FROM documents WHERE number = ?", (number,))
        if row is not None:
            pending += [
                (key, kind, value, n)
                for n, key, kind, value in expected_metadata(number, json.loads(row[0]))
            ]
        if len(pending) > 10_000:
            _insert_metadata(catalog, pending)
            pending = []
    _insert_metadata(catalog, pending)


def _insert_metadata(catalog: Catalog, rows: Sequence[tuple[Any, ...]]) -> None:
    catalog.database.many("INSERT INTO metadata VALUES (?, ?, ?, ?)", rows)


def replace_lists(
    catalog: Catalog,
    segments: Sequence[SegmentRecord],
    codebooks: Sequence[CodebookRecord],
    tombstones: Iterable[int],
) -> None:
    """List these segments, codebooks and tombstones and no others."""
    for statement in ("DELETE FROM segments", "DELETE FROM codebooks", "DELETE FROM tombstones"):
        catalog.database.rows(statement)
    for segment in segments:
        catalog.replace_segments([], segment)
    for codebook in codebooks:
        catalog.add_codebook(codebook)
    catalog.database.many("INSERT INTO tombstones VALUES (?)", ((number,) for number in tombstones))


def insert_raw_documents(catalog: Catalog, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add documents as they were read, without what filters see."""
    catalog.database.many("INSERT OR IGNORE INTO documents VALUES (?, ?, ?, ?, ?)", rows)


def insert_tombstones(catalog: Catalog, rows: Iterable[tuple[Any, ...]]) -> None:
    """Remember that documents are deleted."""
    catalog.database.many("INSERT OR IGNORE INTO tombstones VALUES (?)", rows)


def raw_settings(catalog: Catalog) -> list[tuple[Any, ...]]:
    """Names and values of all settings, as they are stored."""
    return catalog.database.rows("SELECT key, value FROM settings")


def keep_settings(catalog: Catalog, rows: Iterable[tuple[Any, ...]]) -> None:
    """Of stored settings keep those that make sense, each on its own, and no others."""
    catalog.database.rows("DELETE FROM settings")
    for key, value in rows:
        if isinstance(key, str) and isinstance(value, str):
            catalog.database.rows("INSERT INTO settings VALUES (?, ?)", (key, value))
            try:
                catalog.settings()
                catalog.next_numbers()
            except CorruptionError:
                catalog.database.rows("DELETE FROM settings WHERE key = ?", (key,))
