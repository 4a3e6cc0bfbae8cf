"""Every SQL statement on documents, metadata, segments, tombstones and settings.

All are constants; all values are bound. Whoever calls decides where transactions begin and end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from gingham.codec.scalar import SCALAR_CODECS
from gingham.document import Document, Int64
from gingham.errors import CorruptionError
from gingham.index.codebook_files import CodebookRecord, record_of
from gingham.index.database import Database
from gingham.index.layout import CATALOG, CODEBOOKS, SEGMENTS, Component
from gingham.index.segment_writer import DEFAULT_BITS, SegmentCodec, SegmentRecord
from gingham.kernels.codebook import BITS
from gingham.splitting import SHORTEST

Scalar = str | int | float | bool | None

_SETTINGS: dict[str, type] = {
    "dim": int,
    "codec": str,
    "bits": int,
    "titles": bool,
    "passage_length": int,
    "parameters": dict,
    "model": dict,
    "generation": int,
    "next_document": int,
    "next_segment": int,
    "digests": dict,
}
_MODEL = ("name", "precision", "fingerprint")
_LARGEST_NUMBER = 1 << 62  # of a document or segment; never reached by counting
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


def content_digest(text: str | None, metadata: str, vectors: bytes | None = None) -> bytes:
    """Changes with a document's content: 16 bytes for text and metadata, 16 more for vectors.

    The parts are length-prefixed, so that no text can pass for another's metadata.
    """
    state = hashlib.blake2b(digest_size=16)
    for part in ((text or "").encode(), metadata.encode()):
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    if vectors is None:
        return state.digest()
    return state.digest() + hashlib.blake2b(vectors, digest_size=16).digest()


def kind_of(value: Scalar) -> str:
    """The class of values that a metadata value is compared within."""
    if value is None:
        return "z"
    if isinstance(value, bool):
        return "b"
    return "s" if isinstance(value, str) else "n"


class Catalog:
    """What the tables hold, with a method a statement."""

    def __init__(self, collection: Path, *, writable: bool) -> None:
        """Connect; see `Database`."""
        self.database = Database(collection, writable=writable)
        self.path = self.database.path
        self._rows, self._row = self.database.rows, self.database.row

    # Settings -----------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """All settings."""
        rows = self._rows("SELECT key, value FROM settings")
        try:
            settings = {key: json.loads(value) for key, value in rows}
        except (ValueError, TypeError, RecursionError) as error:
            raise CorruptionError(f"{self.path}: a setting is not JSON: {error}") from error
        for key, kind in _SETTINGS.items():
            if not isinstance(settings.get(key, kind()), kind):
                raise CorruptionError(f"{self.path}: the setting {key!r} is no {kind.__name__}")
        bits = settings.get("bits", DEFAULT_BITS)
        if isinstance(bits, bool) or bits not in BITS:
            raise CorruptionError(f"{self.path}: the setting 'bits' is {bits!r}, not one of {BITS}")
        length = settings.get("passage_length", SHORTEST)
        if isinstance(length, bool) or length < SHORTEST:
            raise CorruptionError(f"{self.path}: the setting 'passage_length' is {length!r}")
        model = settings.get("model")
        if model is not None and not all(isinstance(model.get(key), str) for key in _MODEL):
            raise CorruptionError(f"{self.path}: the setting 'model' lacks one of {_MODEL}")
        return settings

    def next_numbers(self) -> tuple[int, int]:
        """The numbers that the next document and the next segment get.

        The settings say them; what is there is asked too, so that a damaged setting can never make
        a writer give a number twice.
        """
        settings = self.settings()
        numbers = self._row(
            """SELECT max((SELECT ifnull(max(number), -1) FROM documents),
                          (SELECT ifnull(max(number), -1) FROM tombstones)),
                      (SELECT ifnull(max(segment), -1) FROM segments)"""
        )
        document, segment = numbers or (-1, -1)
        following = (
            max(settings.get("next_document", 0), document + 1),
            max(settings.get("next_segment", 0), segment + 1),
        )
        if max(following) > _LARGEST_NUMBER:
            raise CorruptionError(f"{self.path}: the next numbers are impossible: {following}")
        return following

    def set_setting(self, key: str, value: Any) -> None:
        """Set or replace one setting."""
        self._row(
            """INSERT INTO settings VALUES (?, ?)
               ON CONFLICT (key) DO UPDATE SET value = excluded.value""",
            (key, json.dumps(value)),
        )

    # Segments -----------------------------------------------------------------------------------

    def segments(self) -> list[SegmentRecord]:
        """The segments of the collection, oldest first."""
        rows = self._rows(
            """SELECT segment, kind, codec, dim, passages, tokens, bytes, codebook
               FROM segments ORDER BY 1"""
        )
        records, digests = [], self._folder_digests()
        for segment, kind, codec, dim, passages, tokens, size, codebook in rows:
            numbers = (segment, dim, passages, tokens, size)
            flat = kind == "flat" and codec in SCALAR_CODECS and codebook is None
            clustered = kind == "clustered" and codec == "residual" and isinstance(codebook, int)
            if not flat and not clustered:
                raise CorruptionError(f"{self.path}: segment {segment} is {kind!r} {codec!r}")
            if not all(isinstance(number, int) and number >= 0 for number in numbers):
                raise CorruptionError(f"{self.path}: segment {segment!r} has impossible sizes")
            records.append(
                SegmentRecord(
                    segment,
                    cast(SegmentCodec, codec),
                    dim,
                    passages,
                    tokens,
                    size,
                    codebook,
                    digests.get(f"{SEGMENTS}/{segment:08d}"),
                )
            )
        return records

    def replace_segments(self, old: Sequence[int], new: SegmentRecord | None) -> None:
        """Take segments off the list and put one on it."""
        self.database.many(
            "DELETE FROM segments WHERE segment = ?", [(segment,) for segment in old]
        )
        if new is not None:
            self._row(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    new.segment,
                    "flat" if new.codebook is None else "clustered",
                    new.codec,
                    new.dim,
                    new.passages,
                    new.tokens,
                    new.bytes,
                    new.codebook,
                ),
            )

    def codebooks(self) -> list[CodebookRecord]:
        """The codebooks of the collection, oldest first."""
        rows = self._rows(
            """SELECT codebook, bits, dim, scale, supers, centroids, tokens, bytes
               FROM codebooks ORDER BY 1"""
        )
        digests = self._folder_digests()
        return [record_of(row, self.path, digests.get(_codebook_name(row[0]))) for row in rows]

    def add_codebook(self, new: CodebookRecord) -> None:
        """Put a codebook on the list."""
        self._row(
            "INSERT INTO codebooks VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.codebook,
                new.bits,
                new.dim,
                new.scale,
                new.supers,
                new.centroids,
                new.tokens,
                new.bytes,
            ),
        )

    def drop_unused_codebooks(self) -> None:
        """Take those off the list that no segment refers to."""
        self._row(
            """DELETE FROM codebooks WHERE codebook NOT IN
               (SELECT codebook FROM segments WHERE codebook IS NOT NULL)"""
        )

    def keep_digests(self, new: Mapping[str, str]) -> None:
        """Remember digests of folders by their names; forget those that are listed no more."""
        listed = {f"{SEGMENTS}/{record.segment:08d}" for record in self.segments()}
        listed |= {_codebook_name(record.codebook) for record in self.codebooks()}
        listed |= {f"{name}/{Component.CHECKSUMS.filename}" for name in listed}
        known = {**self._folder_digests(), **new}
        self.set_setting("digests", {name: known[name] for name in sorted(listed & known.keys())})

    def checksums_digests(self) -> dict[str, str]:
        """Digests of the block checksums of folders that have them, by the folders' names."""
        ending = f"/{Component.CHECKSUMS.filename}"
        return {
            name.removesuffix(ending): digest
            for name, digest in self._folder_digests().items()
            if name.endswith(ending)
        }

    def _folder_digests(self) -> dict[str, str]:
        return cast("dict[str, str]", self.settings().get("digests", {}))

    # Documents ----------------------------------------------------------------------------------

    def count(self) -> int:
        """Documents."""
        row = self._row("SELECT count(*) FROM documents")
        return 0 if row is None else cast(int, row[0])

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

    def ids(self, numbers: Iterable[int]) -> dict[int, str]:
        """Ids by number; a number that is not there is left out."""
        rows = self._rows(
            """SELECT number, id FROM documents
               WHERE number IN (SELECT value FROM json_each(?))""",
            (json.dumps(list(numbers)),),
        )
        if not all(isinstance(id, str) for _, id in rows):
            raise CorruptionError(f"{self.path}: the id of a document is no text")
        return dict(cast("list[tuple[int, str]]", rows))

    def _document(self, row: tuple[Any, ...]) -> Document:
        id, text, metadata = row
        try:
            record = json.loads(metadata)
        except (ValueError, TypeError, RecursionError) as error:
            raise CorruptionError(f"{self.path}: metadata of {id!r}: {error}") from error
        if not (isinstance(id, str) and isinstance(text, str | None) and isinstance(record, dict)):
            raise CorruptionError(
                f"{self.path}: id or text of document {id!r} is no text, or its metadata no object"
            )
        return Document(id, text, record)

    def insert_documents(self, rows: Sequence[DocumentRow]) -> None:
        """Add documents whose ids are free, with what filters can see of their metadata."""
        self.database.many(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
            [(row.number, row.id, row.text, row.metadata, row.digest) for row in rows],
        )
        self.database.many(
            "INSERT INTO metadata VALUES (?, ?, ?, ?)",
            [
                (key, kind_of(value), value, row.number)
                for row in rows
                for key, value in filterable(json.loads(row.metadata))
            ],
        )

    def delete_documents(self, ids: Iterable[str]) -> None:
        """Remove documents, leaving a tombstone for each; ids that do not exist are passed over."""
        for id in ids:
            number = self.number(id)
            if number is not None:
                self._row("DELETE FROM documents WHERE number = ?", (number,))
                self._row("DELETE FROM metadata WHERE number = ?", (number,))
                self._row("INSERT INTO tombstones VALUES (?)", (number,))

    def tombstones(self) -> Int64:
        """Ascending numbers of removed documents that still lie in a segment."""
        rows = self._rows("SELECT number FROM tombstones ORDER BY number")
        return _numbers(rows)

    def bury(self, numbers: Iterable[int]) -> None:
        """Forget tombstones: their passages are in no segment any more."""
        self.database.many(
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
        return np.unique(_numbers(rows))

    def stored(self) -> Iterator[DocumentRow]:
        """Every document, in order of age."""
        statement = "SELECT number, id, text, metadata, digest FROM documents ORDER BY number"
        for row in self.database.each(statement):
            yield DocumentRow(*row)


def _codebook_name(number: object) -> str:
    return f"{CODEBOOKS}/{number:08d}" if isinstance(number, int) else f"{CODEBOOKS}/{number!r}"


def _numbers(rows: Sequence[tuple[Any, ...]]) -> Int64:
    try:
        return np.fromiter((number for (number,) in rows), dtype=np.int64, count=len(rows))
    except (TypeError, ValueError, OverflowError) as error:
        raise CorruptionError(f"{CATALOG}: a document number is no number: {error}") from error


def filterable(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Scalar]]:
    """What filters see: top-level scalars, and each scalar of a top-level list."""
    for key, value in metadata.items():
        for item in value if isinstance(value, list) else [value]:
            if item is None or isinstance(item, (str, int, float, bool)):
                yield key, item
