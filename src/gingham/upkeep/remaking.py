"""A segment written anew from those of its files that are intact. Vectors stay what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gingham.codec import scalar
from gingham.codec.scalar import ScalarCodec
from gingham.document import Int64
from gingham.index.clustered_segment import ClusteredWriter
from gingham.index.codebook_files import OpenCodebook
from gingham.index.layout import Component
from gingham.index.segment_writer import VECTORS, SegmentRecord, SegmentWriter
from gingham.kernels.clustered import Coder
from gingham.upkeep.segments import SegmentState

_BLOCK = 1 << 10  # passages


def remake_clustered(
    collection: Path, number: int, state: SegmentState, codebook: OpenCodebook
) -> SegmentRecord | None:
    """Codes and residuals as they are, with posting lists made anew."""
    left = state.files.left
    with ClusteredWriter(collection, number, codebook) as writer:
        for tokens, run, numbers, spans, lengths in _blocks(state):
            writer.append(
                np.array(_rows(left(Component.CODES), tokens)),
                np.array(_rows(left(Component.RESIDUALS), tokens)),
                lengths,
                numbers[run],
                spans[run],
            )
        return writer.finish() if len(_stays(state)) else None


def remake_flat(
    collection: Path, number: int, state: SegmentState, coder: Coder | None, codec: ScalarCodec
) -> SegmentRecord | None:
    """The same vectors in a flat segment: copied, or decoded.

    Decoded rows are int8 with a factor each, as flat segments keep them: scores stay the same.

    Args:
        collection: the folder.
        number: of the new segment.
        state: of the old one.
        coder: of a clustered one.
        codec: of decoded vectors.
    """
    left, record = state.files.left, state.record
    wanted = codec if coder is not None or record.codec == "residual" else record.codec
    with SegmentWriter(collection, number, wanted, record.dim) as writer:
        for tokens, run, numbers, spans, lengths in _blocks(state):
            codes: np.ndarray[Any, Any]
            scales: np.ndarray[Any, Any] | None
            if coder is None:
                codes = _rows(left(VECTORS[record.codec]), tokens)
                factors = left(Component.SCALES)
                scales = None if factors is None else factors[tokens]
            else:
                decoded, factors = coder.decode(
                    np.array(_rows(left(Component.CODES), tokens)),
                    np.array(_rows(left(Component.RESIDUALS), tokens)),
                )
                codes, scales = np.ascontiguousarray(decoded[:, : record.dim]), factors
                if wanted == "fp16":
                    values = codes.astype(np.float32) * factors[:, None]
                    codes, scales = scalar.encode(values, wanted)
            writer.append(codes, scales, lengths, np.column_stack([numbers[run], spans[run]]))
        return writer.finish() if len(_stays(state)) else None


def _rows(rows: np.ndarray[Any, Any] | None, tokens: slice) -> np.ndarray[Any, Any]:
    assert rows is not None
    return rows[tokens]


def _stays(state: SegmentState) -> Int64:
    """Passages that are intact, of documents that no other segment has."""
    if state.numbers is None:
        return np.empty(0, dtype=np.int64)
    stays = ~np.isin(state.numbers, state.without)
    if state.intact is not None:
        stays &= state.intact.passages
    return np.flatnonzero(stays)


def _blocks(state: SegmentState) -> Iterator[tuple[slice, slice, Int64, Int64, Int64]]:
    """Stretches of passages that stay: tokens, passages, all numbers, all spans, lengths."""
    numbers, spans, offsets = state.numbers, state.spans, state.files.left(Component.OFFSETS)
    assert numbers is not None
    assert spans is not None
    assert offsets is not None
    stays = _stays(state)
    for part in np.split(stays, np.flatnonzero(np.diff(stays) != 1) + 1):
        for start in range(0, len(part), _BLOCK):
            run = slice(int(part[start]), int(part[min(start + _BLOCK, len(part)) - 1]) + 1)
            tokens = slice(int(offsets[run.start]), int(offsets[run.stop]))
            lengths = np.diff(offsets[run.start : run.stop + 1])
            yield tokens, run, numbers, spans, lengths
