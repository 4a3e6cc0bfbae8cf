"""Which segments to join, and the joining.

Small commits leave small segments, and a search visits every one of them. Segments are sorted into
tiers by size, each tier `_FACTOR` times the one below; as soon as a tier holds `_FACTOR` segments
they become one of the next. A token vector is thus rewritten once a tier, O(log n) times in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from gingham.document import Int64
from gingham.index.segment_reader import Segment
from gingham.index.segment_writer import SegmentRecord, SegmentWriter

_FACTOR = 8
_SMALLEST_TIER = 4096  # tokens; everything below is one tier
_LARGEST = 1 << 24  # tokens (2 GB of int8 at 128 dimensions): left alone by automatic merges
_BLOCK = 1 << 12  # passages copied at a time; besides, a merge takes about 40 bytes a passage


def plan(records: Sequence[SegmentRecord]) -> list[SegmentRecord]:
    """The segments to join now: the lowest tier that is full, with all below it; often none."""
    tiers: dict[int, list[SegmentRecord]] = {}
    for record in records:
        if record.tokens < _LARGEST:
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


def merge(
    collection: Path, number: int, segments: Sequence[Segment], tombstones: Int64
) -> tuple[SegmentRecord | None, Int64]:
    """Write the living passages of several segments as one.

    Args:
        collection: the folder.
        number: the new segment's number.
        segments: all of one codec and dimension.
        tombstones: ascending numbers of deleted documents.

    Returns:
        The new segment, None where nothing lives, and the numbers whose passages are gone for good.
    """
    # Document numbers must ascend in a segment; segments may interleave (each is sorted in itself).
    numbers = np.concatenate([segment.numbers for segment in segments])
    owners = np.repeat(np.arange(len(segments)), [len(s.numbers) for s in segments])
    rows = np.concatenate([np.arange(len(s.numbers)) for s in segments])
    dead = np.isin(numbers, tombstones)
    order = np.flatnonzero(~dead)
    order = order[np.argsort(numbers[order], kind="stable")]
    buried = np.unique(numbers[dead])
    if len(order) == 0:
        return None, buried

    record = segments[0].record
    with SegmentWriter(collection, number, record.codec, record.dim) as writer:
        for owner, run in _runs(owners[order], rows[order]):
            segment = segments[owner]
            start, stop = int(segment.offsets[run.start]), int(segment.offsets[run.stop])
            writer.append(
                segment.codes[start:stop],
                None if segment.scales is None else segment.scales[start:stop],
                np.diff(segment.offsets[run.start : run.stop + 1]),
                np.column_stack([segment.numbers[run], segment.spans[run]]),
            )
        return writer.finish(), buried


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
