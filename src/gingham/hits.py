"""Found passages → hits: ids, and unless they are not wanted, texts and metadata of the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from gingham.errors import CorruptionError
from gingham.index.snapshot import Snapshot
from gingham.ranking import Hit
from gingham.search.searcher import Found


def with_texts(snapshot: Snapshot, found: Sequence[Found]) -> list[Hit]:
    """Each passage with its text and its document's metadata.

    Raises:
        CorruptionError: a document is not in the catalog.
    """
    documents = snapshot.documents({item.number for item in found})
    hits = []
    for item in found:
        document = documents.get(item.number)
        if document is None:
            raise _lost(snapshot, item)
        text = None if document.text is None else document.text[slice(*item.span)]
        hits.append(Hit(document.id, item.score, text, item.span, document.metadata))
    return hits


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
