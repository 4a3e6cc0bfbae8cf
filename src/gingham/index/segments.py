"""Opens the segments of a collection, of either kind, with the codebooks that they share."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from pathlib import Path

from gingham.errors import CorruptionError
from gingham.index.clustered_segment import ClusteredSegment, open_clustered
from gingham.index.codebook_files import CodebookRecord, OpenCodebook, open_codebook
from gingham.index.segment_reader import FlatSegment, open_flat
from gingham.index.segment_writer import SegmentRecord

# Both have record, offsets, numbers, spans, score, vectors, passages_of and span.
Segment = FlatSegment | ClusteredSegment


def open_all(
    collection: Path,
    records: Sequence[SegmentRecord],
    codebooks: Sequence[CodebookRecord],
    mapped: MutableMapping[SegmentRecord, Segment] | None = None,
) -> tuple[Segment, ...]:
    """Open the segments that the catalog lists.

    Args:
        collection: the folder.
        records: of the segments.
        codebooks: of the collection.
        mapped: segments that are open already, taken over with their codebooks; what is opened is
            added, even where the next is gone.

    Raises:
        FileNotFoundError: a folder is gone (merged away since the catalog was read?).
        CorruptionError: a file is damaged or contradicts the catalog.
        VersionError: written by a newer gingham.
    """
    known = {} if mapped is None else mapped
    opened: dict[CodebookRecord, OpenCodebook] = {
        segment.codebook.record: segment.codebook
        for segment in known.values()
        if isinstance(segment, ClusteredSegment)
    }
    by_number = {record.codebook: record for record in codebooks}

    def codebook_of(record: SegmentRecord) -> OpenCodebook:
        book = by_number.get(-1 if record.codebook is None else record.codebook)
        if book is None:
            raise CorruptionError(
                f"{collection}: segment {record.segment} needs codebook {record.codebook}, which "
                "the catalog does not list; restore the collection from a backup"
            )
        if book not in opened:
            opened[book] = open_codebook(collection, book)
        return opened[book]

    segments: list[Segment] = []
    for record in records:
        segment = known.get(record)
        if segment is None and record.codebook is None:
            segment = open_flat(collection, record)
        elif segment is None:
            segment = open_clustered(collection, record, codebook_of(record))
        known[record] = segment
        segments.append(segment)
    return tuple(segments)
