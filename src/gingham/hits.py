"""A search in the words of callers: ids and conditions in; hits with ids, texts, metadata out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gingham.document import Document, TokenVectors
from gingham.errors import CorruptionError, DocumentNotFoundError, InputError, shown
from gingham.index.snapshot import Snapshot
from gingham.intake import check_id, check_k
from gingham.ranking import Hit
from gingham.search import filters, searcher
from gingham.search.parameters import SearchParameters
from gingham.search.searcher import Found


def search(
    snapshot: Snapshot,
    queries: TokenVectors,
    k: int,
    where: Mapping[str, Any] | None,
    ids: Iterable[str] | None,
    exact: bool,
    parameters: SearchParameters | None,
    group: bool,
    texts: bool,
    threads: int | None,
) -> list[list[Hit]]:
    """The hits of each query; see `Collection.search`.

    Raises:
        InputError: k is no number of hits, or `ids` no list.
        FilterError: `where` cannot be understood.
        DocumentNotFoundError: one of `ids` does not exist.
    """
    k = check_k(k)
    condition = None if where is None else filters.parse(where)
    if ids is not None:
        listed = _listed(snapshot, ids)
        condition = listed if condition is None else filters.And((condition, listed))
    found = searcher.search(
        snapshot,
        queries,
        k,
        condition=condition,
        group=group,
        parameters=parameters,
        exact=exact,
        threads=threads,
    )
    fill = with_texts if texts else without_texts
    return [fill(snapshot, one) for one in found]


def _listed(snapshot: Snapshot, ids: Iterable[str]) -> filters.Among:
    if isinstance(ids, str):
        raise InputError("ids must be a list of ids, got one string")
    numbers = []
    for id in ids:
        number = snapshot.number(check_id(id))
        if number is None:
            raise DocumentNotFoundError(f"no document {shown(id)} in {snapshot.collection}")
        numbers.append(number)
    return filters.Among(np.unique(np.array(numbers, dtype=np.int64)))


def with_texts(snapshot: Snapshot, found: Sequence[Found]) -> list[Hit]:
    """Each passage with its text and its document's metadata.

    Raises:
        CorruptionError: a document is not in the catalog.
    """
    hits = []
    for item, document in zip(found, documents_of(snapshot, found), strict=True):
        text = None if document.text is None else document.text[slice(*item.span)]
        hits.append(Hit(document.id, item.score, text, item.span, document.metadata))
    return hits


def documents_of(snapshot: Snapshot, found: Sequence[Found]) -> list[Document]:
    """The document of each passage.

    Raises:
        CorruptionError: a document is not in the catalog.
    """
    documents = snapshot.documents({item.number for item in found})
    for item in found:
        if item.number not in documents:
            raise _lost(snapshot, item)
    return [documents[item.number] for item in found]


def without_texts(snapshot: Snapshot, found: Sequence[Found]) -> list[Hit]:
    """Each passage with the id of its document only: for deep rankings.

    Raises:
        CorruptionError: a document is not in the catalog.
    """
    ids = snapshot.ids({item.number for item in found})
    hits = []
    for item in found:
        if item.number not in ids:
            raise _lost(snapshot, item)
        hits.append(Hit(ids[item.number], item.score, None, item.span))
    return hits


def _lost(snapshot: Snapshot, item: Found) -> CorruptionError:
    return CorruptionError(
        f"{snapshot.collection}: document {item.number} has passages but no entry in the catalog; "
        "restore the collection from a backup or index it again"
    )
