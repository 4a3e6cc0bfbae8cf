"""Which segments to join, and the joining.

Small commits leave small segments, and a search visits every one of them. Segments are sorted into
tiers by size, each tier `_FACTOR` times the one below; as soon as a tier holds `_FACTOR` segments
they become one of the next. A token vector is thus rewritten once a tier, O(log n) times in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np

from gingham.codec.scalar import ScalarCodec
from gingham.document import Int64
from gingham.index.clustered_segment import ClusteredSegment, ClusteredWriter
from gingham.index.segment_reader import FlatSegment
from gingham.index.segment_writer import SegmentRecord, SegmentWriter
from gingham.index.segments import Segment

_FACTOR = 8
_SMALLEST_TIER = 4096  # tokens; everything below is one tier
LARGEST = 1 << 24  # tokens (2 GB of int8 at 128 dimensions): left alone by automatic merges
LARGEST_CODED = 1 << 22  # the same for clustered ones: eight of them sort their lists in 2 GB
_BLOCK = 1 << 12  # passages copied at a time; besides, a merge takes about 40 bytes a passage


def plan(records: Sequence[SegmentRecord]) -> list[SegmentRecord]:
    """The segments to join now, all of one kind and codebook: the lowest tier that is full, with
    all below it; often none.
    """
    for codebook in sorted({-1 if r.codebook is None else r.codebook for r in records}):
        alike = [r for r in records if (-1 if r.codebook is None else r.codebook) == codebook]
        chosen = _full_tier(alike, LARGEST if codebook == -1 else LARGEST_CODED)
        if chosen:
            return chosen
    return []


def _full_tier(records: Sequence[SegmentRecord], largest: int) -> list[SegmentRecord]:
    tiers: dict[int, list[SegmentRecord]] = {}
    for record in records:
        if record.tokens < largest:
            tiers.setdefault(_tier(record.tokens), []).append(record)
    for tier in sorted(tiers):
        if len(tiers[tier]) >= _FACTOR:
            return sorted(
                (r for t, members in tiers.items() if t <= tier for r in members),
                key=lambda record: record.segment,
            )
    return []


def _tier(tokens: int) -> int:
    return max(0, math.ceil(math.log(max(tokens, 1) / _SMALLEST_TIER, _FACTOR)))


@dataclass(frozen=True, slots=True, eq=False)
class Living:
    """The living passages of several segments, in the order in which one segment will hold them.

    Attributes:
        runs: position of the segment, consecutive passages of it, at most `_BLOCK` at a time.
        passages: how many they are.
        buried: numbers of deleted documents whose passages these segments hold, ascending.
    """

    runs: list[tuple[int, slice]]
    passages: int
    buried: Int64


def living(segments: Sequence[Segment], tombstones: Int64) -> Living:
    """What of the segments is not deleted.

    Document numbers must ascend in a segment; segments may interleave (each is sorted in itself).

    Args:
        segments: to be joined.
        tombstones: ascending numbers of deleted documents.
    """
    numbers = np.concatenate([segment.numbers for segment in segments])
    owners = np.repeat(np.arange(len(segments)), [len(s.numbers) for s in segments])
    rows = np.concatenate([np.arange(len(s.numbers)) for s in segments])
    dead = np.isin(numbers, tombstones)
    order = np.flatnonzero(~dead)
    order = order[np.argsort(numbers[order], kind="stable")]
    return Living(_runs(owners[order], rows[order]), len(order), np.unique(numbers[dead]))


def merge(
    collection: Path, number: int, segments: Sequence[Segment], tombstones: Int64
) -> tuple[SegmentRecord | None, Int64]:
    """Write the living passages of several segments as one; their codes are copied as they are.

    Args:
        collection: the folder.
        number: the new segment's number.
        segments: all of one kind, codec and codebook.
        tombstones: ascending numbers of deleted documents.

    Returns:
        The new segment, None where nothing lives, and the numbers whose passages are gone for good.

    Raises:
        CorruptionError: a segment is damaged, which a copy with new checksums would hide.
    """
    for segment in segments:
        if isinstance(segment, ClusteredSegment):
            segment.verify_structure()  # of a flat one that is done when it is opened
    alive = living(segments, tombstones)
    if alive.passages == 0:
        return None, alive.buried
    first = segments[0]
    if isinstance(first, ClusteredSegment):
        with ClusteredWriter(collection, number, first.codebook) as clustered:
            for owner, run in alive.runs:
                coded = segments[owner]
                assert isinstance(coded, ClusteredSegment)
                tokens = slice(int(coded.offsets[run.start]), int(coded.offsets[run.stop]))
                clustered.append(
                    coded.passages.codes[tokens],
                    coded.passages.residuals[tokens],
                    np.diff(coded.offsets[run.start : run.stop + 1]),
                    coded.numbers[run],
                    coded.spans[run].astype(np.int64),
                )
            return clustered.finish(), alive.buried
    codec = cast(ScalarCodec, first.record.codec)
    with SegmentWriter(collection, number, codec, first.record.dim) as writer:
        for owner, run in alive.runs:
            flat = segments[owner]
            assert isinstance(flat, FlatSegment)
            start, stop = int(flat.offsets[run.start]), int(flat.offsets[run.stop])
            writer.append(
                flat.codes[start:stop],
                None if flat.scales is None else flat.scales[start:stop],
                np.diff(flat.offsets[run.start : run.stop + 1]),
                np.column_stack([flat.numbers[run], flat.spans[run]]),
            )
        return writer.finish(), alive.buried


def _runs(owners: Int64, rows: Int64) -> list[tuple[int, slice]]:
    """Stretches of consecutive rows of one segment, of at most `_BLOCK` rows."""
    breaks = np.flatnonzero((np.diff(owners) != 0) | (np.diff(rows) != 1)) + 1
    edges = [0, *breaks.tolist(), len(rows)]
    runs: list[tuple[int, slice]] = []
    for start, stop in pairwise(edges):
        for block in range(start, stop, _BLOCK):
            length = min(_BLOCK, stop - block)
            first = int(rows[block])
            runs.append((int(owners[block]), slice(first, first + length)))
    return runs
