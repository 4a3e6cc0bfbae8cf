"""Flat segments → a clustered one: when, with which codebook, and the coding.

A collection is flat while scoring everything is fast enough. Once it has grown past that, what was
added is coded with a codebook that later segments share. A codebook serves until the collection is
`_GROWTH` times what it was trained for; then the next one is trained, for what comes after it:
coded vectors are never coded again, which would cost accuracy each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gingham.codec import training
from gingham.document import Float32, Int64
from gingham.index.clustered_segment import ClusteredSegment, ClusteredWriter
from gingham.index.codebook_files import OpenCodebook
from gingham.index.merge import living
from gingham.index.segment_reader import FlatSegment
from gingham.index.segment_writer import SegmentRecord
from gingham.index.segments import Segment
from gingham.kernels.clustered import quantize_rows
from gingham.kernels.codebook import MOST_DIMENSIONS, Bits, Codebook, row_of
from gingham.report import OptimizeProgress

FIRST = 1 << 20  # flat tokens that make a collection clustered: some 10 ms to score on one thread
NEXT = 1 << 17  # flat tokens that are coded once it is: some 1 ms
AT_ONCE = 1 << 25  # tokens of one clustered segment: its posting lists are sorted in memory
_GROWTH = 8
_BLOCK = 1 << 17  # sampled tokens that are dequantised at a time
_UNIT = 0.05  # how far from 1 a vector's length may be

Report = Callable[[OptimizeProgress], None]


class NotUnitLengthError(Exception):
    """A vector is not of unit length, which coded vectors are."""


def due(records: Sequence[SegmentRecord], *, at_end: bool) -> bool:
    """Whether the flat segments should be coded now.

    Args:
        records: of all segments.
        at_end: of an `add`; within one, flat segments wait for as much as is coded at once, so that
            a codebook is trained on as much as can be.
    """
    flat = sum(record.tokens for record in records if record.codebook is None)
    if any(record.dim > MOST_DIMENSIONS for record in records):
        return False
    if not at_end:
        return flat >= AT_ONCE
    return flat >= (NEXT if any(record.codebook is not None for record in records) else FIRST)


def outgrown(codebooks: Sequence[int], tokens: int) -> bool:
    """Whether a collection of so many tokens needs a new codebook.

    Args:
        codebooks: how many tokens each was trained for, the latest last.
        tokens: of the collection.
    """
    return not codebooks or tokens > _GROWTH * codebooks[-1]


def train(
    segments: Sequence[Segment], bits: Bits, threads: int | None, report: Report | None
) -> Codebook:
    """A codebook for collections of the size and kind of these segments. Seeded.

    Memory: the sample, at most 2^23 rows of int8 (1 GiB at 128 dimensions), and about 50 bytes a
    row beside it; what is read from the segments is mapped.
    """
    tokens = sum(segment.record.tokens for segment in segments)
    dim = segments[0].record.dim
    sizes = training.sizes(tokens, bits)
    random = np.random.default_rng(0)
    # One token of each of `sample` equal stretches, so that positions ascend and need no memory.
    stretch = tokens / sizes.sample
    positions = ((np.arange(sizes.sample) + random.random(sizes.sample)) * stretch).astype(np.int64)
    positions = np.minimum(positions, tokens - 1)  # what rounding could make one too many
    order = random.permutation(sizes.sample)
    rows = np.empty((sizes.sample, row_of(dim, bits)), dtype=np.int8)
    fine = _vectors_at(segments, np.sort(positions[order[: training.FINE_SAMPLE]]))
    scale = training.scale_of(fine)
    for start in range(0, sizes.sample, _BLOCK):
        if report is not None:
            report(OptimizeProgress("sampling", start, sizes.sample))
        block = positions[start : start + _BLOCK]
        rows[start : start + len(block)] = quantize_rows(
            _vectors_at(segments, block), scale, rows.shape[1], threads
        )

    def clustered(done: int) -> None:
        if report is not None:
            report(OptimizeProgress("clustering", done, sizes.centroids))

    clustered(0)
    return training.train(rows, order, fine, sizes, bits, scale, threads, clustered)


def _vectors_at(segments: Sequence[Segment], positions: Int64) -> Float32:
    """Token vectors by ascending positions, counted over all segments."""
    parts: list[Float32] = [np.empty((0, segments[0].record.dim), dtype=np.float32)]
    first = 0
    for segment in segments:
        low, high = np.searchsorted(positions, (first, first + segment.record.tokens))
        own = positions[low:high] - first
        first += segment.record.tokens
        if isinstance(segment, ClusteredSegment):
            passages = segment.passages
            rows, scales = passages.coder.decode(passages.codes[own], passages.residuals[own])
            parts.append(rows[:, : segment.record.dim] * scales[:, None])
        else:
            parts.append(
                _floats(segment.codes[own], None if segment.scales is None else segment.scales[own])
            )
    return np.concatenate(parts)


def _floats(codes: np.ndarray, scales: Float32 | None) -> Float32:
    values = codes.astype(np.float32)
    if scales is not None:
        values *= scales[:, None]
    return values


def promote(
    collection: Path,
    number: int,
    segments: Sequence[FlatSegment],
    tombstones: Int64,
    codebook: OpenCodebook,
    threads: int | None,
    report: Report | None,
) -> tuple[SegmentRecord | None, Int64]:
    """Code the living passages of flat segments into one clustered segment.

    Args:
        collection: the folder.
        number: the new segment's number.
        segments: flat ones.
        tombstones: ascending numbers of deleted documents.
        codebook: to code with.
        threads: for coding; the bytes do not depend on them.
        report: told how far it has come.

    Returns:
        The new segment, None where nothing lives, and the numbers whose passages are gone for good.

    Raises:
        NotUnitLengthError: a vector cannot be coded: the segments stay flat.
    """
    alive = living(segments, tombstones)
    if alive.passages == 0:
        return None, alive.buried
    total = sum(segment.record.tokens for segment in segments)
    done = 0
    with ClusteredWriter(collection, number, codebook) as writer:
        for segment, run in _blocks(segments, alive.runs):
            if report is not None:
                report(OptimizeProgress("coding", done, total))
            tokens = slice(int(segment.offsets[run.start]), int(segment.offsets[run.stop]))
            scales = None if segment.scales is None else segment.scales[tokens]
            values = _floats(segment.codes[tokens], scales)
            lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
            if (np.abs(lengths - 1) > _UNIT).any():
                raise NotUnitLengthError
            codes, residuals = codebook.coder.encode(values, threads)
            writer.append(
                codes,
                residuals,
                np.diff(segment.offsets[run.start : run.stop + 1]),
                segment.numbers[run],
                segment.spans[run],
            )
            done += len(values)
        if report is not None:
            report(OptimizeProgress("listing", done, total))
        return writer.finish(), alive.buried


def _blocks(
    segments: Sequence[FlatSegment], runs: Sequence[tuple[int, slice]]
) -> Iterator[tuple[FlatSegment, slice]]:
    for owner, run in runs:
        yield segments[owner], run
