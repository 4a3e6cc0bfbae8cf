"""A damaged catalog → what can still be read of it, in a new one.

SQLite reads a table page by page. Where a page is damaged, a query over a range of numbers fails;
halved again and again, only the numbers on that page are left out. A damaged first page, which
holds the schema, is replaced by that of a new catalog: the tables of all catalogs begin on the same
pages. Nothing is written but to copies.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gingham.errors import CollectionError, CorruptionError
from gingham.forking import gate
from gingham.index.catalog import Catalog
from gingham.index.catalog_repair import (
    insert_raw_documents,
    insert_tombstones,
    keep_settings,
    rewrite_metadata,
)
from gingham.index.codebook_files import record_of
from gingham.index.database import Database
from gingham.index.layout import CATALOG, check_regular

_PAGE = 4096  # bytes, of every catalog
_AT_ONCE = 2048  # document numbers asked for together
_DOCUMENTS = "SELECT number, id, text, metadata, digest FROM documents WHERE number BETWEEN ? AND ?"
_IDS_UP = "SELECT number, id FROM documents INDEXED BY sqlite_autoindex_documents_1 ORDER BY id"
_IDS_DOWN = f"{_IDS_UP} DESC"
_TOMBSTONES = "SELECT number FROM tombstones WHERE number BETWEEN ? AND ?"
_SEGMENT = """SELECT segment, kind, codec, dim, passages, tokens, bytes, codebook
              FROM segments WHERE segment = ?"""
_CODEBOOK = """SELECT codebook, bits, dim, scale, supers, centroids, tokens, bytes
               FROM codebooks WHERE codebook = ?"""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What a damaged catalog still held.

    Attributes:
        documents: that were read.
        lost: ids, as far as the index of ids has them, of documents that could not be read.
        new_schema: the first page was damaged and has been replaced.
    """

    documents: int
    lost: tuple[str, ...]
    new_schema: bool


def copy_catalog(collection: Path, target: Path) -> None:
    """Copy the catalog as it is, with its log: the log first, since it is folded into the file.

    Raises:
        CorruptionError: it is no file but a link, a pipe or a folder.
    """
    for name in (f"{CATALOG}-wal", CATALOG):
        check_regular(collection / name)
        if not (collection / name).exists():
            continue
        if Database.is_in_use(collection):  # closing it here would end SQLite's locks on it
            code = "import shutil, sys; shutil.copyfile(*sys.argv[1:])"
            command = [sys.executable, "-c", code, str(collection / name), str(target / name)]
            subprocess.run(command, check=True, capture_output=True)
        else:
            shutil.copyfile(collection / name, target / name)


def salvage(
    damaged: Path, fresh: Path, numbers: Iterable[int], segments: Iterable[int]
) -> Salvaged:
    """Fill a new catalog with what can be read of a damaged one.

    Args:
        damaged: a folder with a copy of the catalog and its log; they may be changed.
        fresh: an empty folder for the new catalog.
        numbers: of documents that segments hold.
        segments: numbers of segments and codebooks whose folders are there.

    Raises:
        CorruptionError: nothing can be read.
    """
    with gate:
        return _salvage(damaged, fresh, numbers, segments)


def _salvage(
    damaged: Path, fresh: Path, numbers: Iterable[int], segments: Iterable[int]
) -> Salvaged:
    Database.create(fresh)
    connection, new_schema = _connect(damaged, fresh)
    catalog = Catalog(fresh, writable=True)
    try:
        with contextlib.closing(connection), catalog.database.transaction():
            lost = _indexed_ids(connection)
            wanted = sorted({*numbers, *lost, *_own_numbers(connection)})
            found = 0
            for start in range(0, len(wanted), _AT_ONCE):
                part = wanted[start : start + _AT_ONCE]
                rows = [row for row in _between(connection, _DOCUMENTS, part) if _is_document(row)]
                insert_raw_documents(catalog, rows)
                found += len(rows)
                insert_tombstones(catalog, _between(connection, _TOMBSTONES, part))
            for (number,) in catalog.database.rows("SELECT number FROM documents"):
                lost.pop(number, None)
            for number in segments:
                _keep_segment(connection, catalog, number)
                _keep_codebook(connection, catalog, number)
            keep_settings(catalog, _settings(connection))
            if found:
                rewrite_metadata_of_intact(catalog)
    finally:
        catalog.database.close()
    return Salvaged(found, tuple(lost.values()), new_schema)


def rewrite_metadata_of_intact(catalog: Catalog) -> None:
    """What filters see, where metadata can be parsed; the check that follows finds the others."""
    with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
        rewrite_metadata(catalog)


def _connect(damaged: Path, fresh: Path) -> tuple[sqlite3.Connection, bool]:
    for new_schema in (False, True):
        if new_schema:
            _replace_first_page(damaged / CATALOG, fresh / CATALOG)
            for name in (f"{CATALOG}-wal", f"{CATALOG}-shm"):
                (damaged / name).unlink(missing_ok=True)
        connection = sqlite3.connect(damaged / CATALOG, isolation_level=None)
        connection.execute("PRAGMA trusted_schema = OFF")
        try:
            connection.execute("SELECT number, id, text, metadata, digest FROM documents LIMIT 0")
            connection.execute("SELECT key, value FROM settings LIMIT 0")
        except sqlite3.DatabaseError as error:
            connection.close()
            if new_schema:
                raise CorruptionError(f"nothing of it can be read ({error})") from error
        else:
            return connection, new_schema
    raise AssertionError("unreachable")


def _replace_first_page(damaged: Path, fresh: Path) -> None:
    """Schema and header of a new catalog, for a file of this size and without free pages."""
    page = bytearray(fresh.read_bytes()[:_PAGE])
    size = damaged.stat().st_size if damaged.exists() else 0
    page[28:32] = (size // _PAGE).to_bytes(4, "big")
    page[32:40] = bytes(8)
    with damaged.open("r+b" if damaged.exists() else "wb") as file:
        file.write(page)


def _own_numbers(connection: sqlite3.Connection) -> Iterator[int]:
    """Numbers that the table gives itself, as far as it can be read in order."""
    try:
        for (number,) in connection.execute("SELECT number FROM documents NOT INDEXED"):
            if isinstance(number, int):
                yield number
    except sqlite3.DatabaseError:
        return


def _indexed_ids(connection: sqlite3.Connection) -> dict[int, str]:
    """Ids by number, from the index of ids: from both ends as far as it can be read."""
    ids: dict[int, str] = {}
    for statement in (_IDS_UP, _IDS_DOWN):
        with contextlib.suppress(sqlite3.DatabaseError):
            for number, id in connection.execute(statement):
                if isinstance(number, int) and isinstance(id, str):
                    if number in ids:
                        break
                    ids[number] = id
    return ids


def _between(
    connection: sqlite3.Connection, statement: str, numbers: list[int]
) -> Iterator[tuple[Any, ...]]:
    pending = [numbers]
    while pending:
        part = pending.pop()
        try:
            found = connection.execute(statement, (part[0], part[-1])).fetchall()
        except sqlite3.DatabaseError:
            half = len(part) // 2
            if half:
                pending += [part[half:], part[:half]]
            continue
        yield from found


def _is_document(row: tuple[Any, ...]) -> bool:
    number, id, text, metadata, digest = row
    return (
        isinstance(number, int)
        and isinstance(id, str)
        and id != ""
        and (text is None or isinstance(text, str))
        and isinstance(metadata, str)
        and isinstance(digest, bytes)
    )


def _one(connection: sqlite3.Connection, statement: str, key: Any) -> tuple[Any, ...] | None:
    with contextlib.suppress(sqlite3.DatabaseError):
        row: tuple[Any, ...] | None = connection.execute(statement, (key,)).fetchone()
        return row
    return None


def _keep_segment(connection: sqlite3.Connection, catalog: Catalog, number: int) -> None:
    """List a segment; a row that makes no sense is left out, for the check to make it anew."""
    row = _one(connection, _SEGMENT, number)
    if row is None:
        return
    _, kind, codec, dim, passages, tokens, size, codebook = row
    sizes = (dim, passages, tokens, size)
    if not all(isinstance(value, int) and value >= 0 for value in sizes):
        return
    flat = kind == "flat" and codec in ("int8", "fp16") and codebook is None
    if flat or (kind == "clustered" and codec == "residual" and isinstance(codebook, int)):
        catalog.database.many("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [row])


def _keep_codebook(connection: sqlite3.Connection, catalog: Catalog, number: int) -> None:
    row = _one(connection, _CODEBOOK, number)
    if row is not None:
        with contextlib.suppress(CollectionError):
            catalog.add_codebook(record_of(row, catalog.path))


def _settings(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    with contextlib.suppress(sqlite3.DatabaseError):
        return connection.execute("SELECT key, value FROM settings").fetchall()
    return []
