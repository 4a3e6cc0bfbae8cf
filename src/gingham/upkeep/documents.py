"""The documents of a catalog, one by one: content against digest, filters against content."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from gingham.document import Int64
from gingham.errors import CollectionError, CorruptionError
from gingham.index.catalog import Catalog, content_digest
from gingham.index.catalog_repair import expected_metadata, raw_documents, raw_metadata
from gingham.upkeep.values import Report, UpkeepProgress

_EVERY = 2000  # documents


@dataclass(slots=True)
class Documents:
    """What was found in the catalog's tables of documents and metadata.

    Attributes:
        numbers: of all documents, ascending.
        lengths: characters of each text, -1 where there is none.
        altered: numbers of documents that are not as they were written → their ids.
        misfiltered: numbers of documents of which filters see something else.
        strays: rows of metadata without a document.
    """

    numbers: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    lengths: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    altered: dict[int, str] = field(default_factory=dict)
    misfiltered: list[int] = field(default_factory=list)
    strays: int = 0


def examine_documents(catalog: Catalog, report: Report | None) -> Documents:
    """Read all texts and metadata.

    Raises:
        CorruptionError: the tables cannot be read to their end.
    """
    try:
        return _examine(catalog, report)
    except CorruptionError:
        raise
    except CollectionError as error:
        if "decode" not in str(error):
            raise
        raise CorruptionError(f"{catalog.path}: a text is no UTF-8") from error


def _examine(catalog: Catalog, report: Report | None) -> Documents:
    found = Documents()
    numbers: list[int] = []
    lengths: list[int] = []
    total = catalog.count()
    filters = groupby(raw_metadata(catalog), key=_place)
    of_filters = next(filters, None)
    for number, id, text, metadata, digest in raw_documents(catalog):
        if report is not None and len(numbers) % _EVERY == 0:
            report(UpkeepProgress("documents", len(numbers), total))
        numbers.append(number)
        lengths.append(len(text) if isinstance(text, str) else -1)
        record = _record(id, text, metadata, digest)
        if record is None:
            found.altered[number] = str(id)
        seen: Counter[tuple[Any, ...]] = Counter()
        while of_filters is not None and of_filters[0] <= number:
            rows = list(of_filters[1])
            if of_filters[0] == number:
                seen = Counter(rows)
            else:
                found.strays += len(rows)
            of_filters = next(filters, None)
        if record is not None and seen != Counter(expected_metadata(number, record)):
            found.misfiltered.append(number)
    if of_filters is not None:
        found.strays += _count(of_filters[1]) + sum(_count(rows) for _, rows in filters)
    found.numbers = np.array(numbers, dtype=np.int64)
    found.lengths = np.array(lengths, dtype=np.int64)
    return found


def _place(row: tuple[Any, ...]) -> float:
    """The number of a row's document; what is no number comes last, where SQLite has it too."""
    number = row[0]
    return number if isinstance(number, (int, float)) else math.inf


def _count(rows: Iterator[Any]) -> int:
    return sum(1 for _ in rows)


def _record(id: Any, text: Any, metadata: Any, digest: Any) -> dict[str, Any] | None:
    """Metadata of a document that is as it was written, else None."""
    whole = isinstance(id, str) and id and isinstance(metadata, str) and isinstance(digest, bytes)
    if not whole or not (text is None or isinstance(text, str)):
        return None
    if content_digest(text, metadata) != digest[:16]:
        return None
    try:
        record = json.loads(metadata)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
