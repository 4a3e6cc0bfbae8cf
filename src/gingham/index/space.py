"""How much room work needs beside what is there, and whether the disk has it.

What a commit replaces is removed after it, and what searches still have open keeps its place until
they let go: so nothing is counted as freed before all is done.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from gingham.codec import training
from gingham.errors import CollectionError
from gingham.index.codebook_files import CodebookRecord
from gingham.index.segment_writer import SegmentRecord
from gingham.kernels.codebook import CODE_BYTES, Bits, row_of

_HEADERS = 64 * 15  # of a segment, the copies in its checksums included
_CHECKSUMS = 1 / 1024  # a byte
_CATALOG = 1 << 20  # bytes for its log, whatever is done
_TOMBSTONE = 64  # bytes of the log for each that is removed


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuse work that the disk has no room for, before it begins.

    Raises:
        CollectionError: it has less than `needed` bytes.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CollectionError(
            f"{folder}: {what} needs up to {_megabytes(needed)} of free disk space, there are "
            f"{_megabytes(free)}: make room, or move the collection to a larger disk; nothing was "
            "changed"
        )


def optimize_bytes(
    flat: Sequence[SegmentRecord],
    clustered: Sequence[SegmentRecord],
    codebooks: Sequence[CodebookRecord],
    bits: Bits | None,
    tombstones: int,
) -> int:
    """What `optimize` writes, at most.

    Args:
        flat: segments that are flat.
        clustered: segments that are not.
        codebooks: of the collection.
        bits: that the flat ones will be coded with; None where they stay flat.
        tombstones: how many there are.
    """
    total = 0
    merged = sum(record.bytes for record in clustered)
    parts = len(clustered)
    if bits is None:
        if len(flat) > 1 or (flat and tombstones):
            total += sum(record.bytes for record in flat)
    elif flat:
        tokens = sum(record.tokens for record in (*flat, *clustered))
        new = _codebook_bytes(tokens, flat[0].dim, bits)
        coded = _coded_bytes(flat, bits, [*(book.centroids for book in codebooks), new[0]])
        total += new[1] + coded
        merged += coded
        parts += 1
    if parts > 1 or (parts and tombstones):
        total += merged
    total += int(total * _CHECKSUMS)
    return total + _CATALOG + _TOMBSTONE * tombstones if total else 0


def _codebook_bytes(tokens: int, dim: int, bits: Bits) -> tuple[int, int]:
    """Centroids and bytes of a codebook for so many tokens."""
    sizes = training.sizes(tokens, bits)
    row = row_of(dim, bits)
    return sizes.centroids, (sizes.centroids + sizes.supers) * row + 8 * sizes.supers + (1 << 12)


def _coded_bytes(flat: Sequence[SegmentRecord], bits: Bits, centroids: Sequence[int]) -> int:
    """A clustered segment of these, with posting lists as long as they can be."""
    tokens = sum(record.tokens for record in flat)
    passages = sum(record.passages for record in flat)
    most = max(centroids)
    runs = min(tokens, most * (passages // (1 << 16) + 1))
    residual = row_of(flat[0].dim, bits) * bits // 8
    return (
        _HEADERS
        + tokens * (CODE_BYTES + residual + 2)
        + 4 * runs
        + 8 * (most + 1)
        + 24 * (passages + 1)
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
