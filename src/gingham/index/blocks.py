"""CRC-32 of every block of a file, and of all its blocks together, in one pass over its bytes.

A file is cut into blocks at multiples of `BLOCK` bytes, as disks and file systems do, so that what
they lose of it is whole blocks. The header is no part of the first: it has a checksum of its own.
"""

from __future__ import annotations

import zlib
from array import array
from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInt32 = npt.NDArray[np.uint32]

BLOCK = 4096  # bytes; 4 bytes of checksum each: 0.1 %
HEADER_BYTES = 64


def n_blocks(size: int) -> int:
    """Blocks of a file whose array has so many bytes."""
    return -(-(HEADER_BYTES + size) // BLOCK) if size > 0 else 0


def block_range(block: int, size: int) -> tuple[int, int]:
    """The bytes of an array of `size` bytes that lie in a block: first, one past the last."""
    return max(block * BLOCK - HEADER_BYTES, 0), min((block + 1) * BLOCK - HEADER_BYTES, size)


class BlockSums:
    """Checksums of bytes that come in pieces, which end anywhere."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._closed = array("I")
        self._open = 0  # checksum of the block that is not full yet
        self._length = 0  # of it
        self._room = BLOCK - HEADER_BYTES

    def update(self, piece: memoryview | bytes) -> None:
        """Take in the next bytes."""
        view = memoryview(piece)
        crc32, start = zlib.crc32, 0
        while start < len(view):
            if self._length == 0 and self._room == BLOCK:  # whole blocks, quickly
                stop = start + (len(view) - start) // BLOCK * BLOCK
                self._closed.extend(
                    [crc32(view[at : at + BLOCK]) for at in range(start, stop, BLOCK)]
                )
                start = stop
            part = view[start : start + self._room]
            self._open = crc32(part, self._open)
            self._length += len(part)
            self._room -= len(part)
            start += len(part)
            if self._room == 0:
                self._closed.append(self._open)
                self._open, self._length, self._room = 0, 0, BLOCK

    @property
    def blocks(self) -> UInt32:
        """(n_blocks) of what has come, the last maybe not full."""
        last = [self._open] if self._length else []
        return np.array([*self._closed, *last], dtype=np.uint32)

    @property
    def whole(self) -> int:
        """Of all that has come: the same as `zlib.crc32` of it."""
        joined = _joined(np.array(self._closed, dtype=np.uint32))
        return _shifted(joined, self._length) ^ self._open


def _shifted(checksum: int, length: int) -> int:
    """What a checksum contributes to that of its bytes followed by `length` others.

    That is linear in the bits of a checksum, which is a remainder of polynomials over GF(2).
    """
    zeros = bytes(length)
    return zlib.crc32(zeros, checksum) ^ zlib.crc32(zeros)


def _joined(checksums: UInt32) -> int:
    """The checksum of full blocks one after the other; the first may be of any length."""
    doubled = 0
    while len(checksums) > 1:
        if len(checksums) % 2:  # the checksum of nothing is 0, and stays so
            checksums = np.concatenate([np.zeros(1, dtype=np.uint32), checksums])
        checksums = _by_blocks(checksums[0::2], _tables(doubled)) ^ checksums[1::2]
        doubled += 1
    return int(checksums[0]) if len(checksums) else 0


def _by_blocks(checksums: UInt32, tables: UInt32) -> UInt32:
    """`_shifted` by what the tables are made for."""
    moved: UInt32 = tables[0][checksums & 255]
    for byte in (1, 2, 3):
        moved = moved ^ tables[byte][checksums >> np.uint32(8 * byte) & 255]
    return moved


@lru_cache(maxsize=64)
def _tables(doubled: int) -> UInt32:
    """(4, 256): `_shifted` by 2^doubled blocks, of each value of each byte of a checksum."""
    if doubled:
        half = _tables(doubled - 1)
        return _by_blocks(half, half)
    tables = np.zeros((4, 256), dtype=np.uint32)
    for bit in range(32):
        byte, place = divmod(bit, 8)
        tables[byte, 1 << place : 2 << place] = tables[byte, : 1 << place] ^ np.uint32(
            _shifted(1 << bit, BLOCK)
        )
    return tables
