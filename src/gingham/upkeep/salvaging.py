"""A damaged array file, block by block: which of its rows are intact."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.errors import CorruptionError
from gingham.index.blocks import BLOCK, HEADER_BYTES, UInt32, block_range, n_blocks
from gingham.index.checksums import ArrayHeader
from gingham.index.layout import Component, check_regular, in_rows, map_bytes

# Left on disk, since they are of any size; only rows that could be read are looked at again. All
# others have at most 4 bytes a token or 24 a passage, or are codebooks.
_LARGE = frozenset({Component.VECTORS_INT8, Component.VECTORS_FP16, Component.RESIDUALS})
_SHOWN = 4  # runs of blocks


@dataclass(frozen=True, slots=True)
class Part:
    """What is left of an array file.

    Attributes:
        rows: where `bad` is False they are as they were written; there may be fewer than there
            were, the missing ones being bad.
        bad: (n_rows) whether a row has damaged bytes.
        blocks: numbers of damaged blocks.
        of: how many blocks the file had.
    """

    rows: npt.NDArray[Any]
    bad: npt.NDArray[np.bool_]
    blocks: tuple[int, ...]
    of: int

    @property
    def text(self) -> str:
        """Which blocks, for people."""
        runs = stretches(self.blocks)
        shown = ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in runs[:_SHOWN])
        more = f" and {len(runs) - _SHOWN} more stretches" if len(runs) > _SHOWN else ""
        return f"of its {self.of} blocks of {BLOCK} bytes {len(self.blocks)} are damaged" + (
            f": {shown}{more}" if self.blocks else ""
        )


def salvage_rows(
    path: Path, component: Component, header: ArrayHeader, checksums: UInt32
) -> Part | None:
    """Read a damaged file and compare its blocks; None where nothing can be told of it.

    Args:
        path: of it; a disk that cannot read some of its blocks is no error.
        component: that it is.
        header: as it was written.
        checksums: of its blocks.
    """
    size = header.bytes_of(component)
    total = n_blocks(size)
    if total == 0 or total != len(checksums):
        return None
    kept = None if component in _LARGE else bytearray(size)
    damaged = []
    try:
        check_regular(path)
        with path.open("rb", buffering=0) as file:
            for block in range(total):
                start, stop = block_range(block, size)
                piece = _read(file, start, stop)
                if len(piece) < stop - start or zlib.crc32(piece) != checksums[block]:
                    damaged.append(block)
                elif kept is not None:
                    kept[start:stop] = piece
        rows = _rows(path, component, header, kept)
    except (OSError, CorruptionError):
        return None
    bad = np.zeros(header.rows, dtype=np.bool_)
    width = size // header.rows
    for first, last in stretches(damaged):
        start, stop = block_range(first, size)[0], block_range(last, size)[1]
        bad[start // width : -(-stop // width)] = True
    return Part(rows, bad, tuple(damaged), total)


def _read(file: Any, start: int, stop: int) -> bytes:
    """Bytes of an array, fewer where the file or the disk has no more."""
    try:
        file.seek(HEADER_BYTES + start)
        piece: bytes = file.read(stop - start)
    except OSError:
        return b""
    return piece


def _rows(
    path: Path, component: Component, header: ArrayHeader, kept: bytearray | None
) -> npt.NDArray[Any]:
    if kept is not None:
        flat = np.frombuffer(kept, dtype=component.dtype)
        return in_rows(flat, component, header.rows, header.columns)
    payload = map_bytes(path)[HEADER_BYTES:]
    width = header.columns * component.dtype.itemsize
    there = min(len(payload) // width, header.rows)
    flat = np.frombuffer(payload[: there * width], dtype=component.dtype)
    return in_rows(flat, component, there, header.columns)


def stretches(numbers: Sequence[int] | npt.NDArray[np.integer[Any]]) -> list[tuple[int, int]]:
    """Ascending numbers as runs of consecutive ones: the first and the last of each."""
    values = np.asarray(numbers, dtype=np.int64)
    if len(values) == 0:
        return []
    ends = np.flatnonzero(np.diff(values) != 1)
    first = values[np.concatenate([[0], ends + 1])]
    last = values[np.concatenate([ends, [len(values) - 1]])]
    return list(zip(first.tolist(), last.tolist(), strict=True))
