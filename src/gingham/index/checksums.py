"""`checksums.u32`: what tells which blocks of a folder's files are damaged, and what is left.

It holds the headers of the other files, in the order of their components, then the checksums of the
blocks of each in the same order. Opening and searching never read it. A collection without it is
read as before, and gets it when its segments are written anew or optimized.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gingham.errors import CorruptionError
from gingham.index.blocks import HEADER_BYTES, BlockSums, n_blocks
from gingham.index.layout import (
    MAGIC,
    TEMPORARY,
    ArrayWriter,
    Component,
    MappedArray,
    headers_digest,
    map_bytes,
    remove_folders,
    sync_folder,
)

UInt32 = npt.NDArray[np.uint32]

_WORDS = HEADER_BYTES // 4  # of a header
_SIZES = struct.Struct("<8sIIQQ")  # the part of a header that says what the array is
_AT_ONCE = 8 << 20  # bytes


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """The header of an array file, as it was when the file was written."""

    content: bytes
    rows: int
    columns: int

    def bytes_of(self, component: Component) -> int:
        """Size of the array."""
        return self.rows * self.columns * component.dtype.itemsize


@dataclass(frozen=True, slots=True)
class FolderChecksums:
    """What `checksums.u32` has about the files of its folder.

    It may be damaged itself: a block is intact where its checksum is the one that is here, and two
    that are damaged do not agree.
    """

    headers: dict[Component, ArrayHeader]
    blocks: dict[Component, UInt32]


def write_checksums(folder: Path, files: Iterable[ArrayWriter]) -> None:
    """Write the checksums of files that were just finished, durably, into their folder."""
    known = [(file.component, file.header, file.blocks) for file in files]
    _write(folder, known)


def protect(folder: Path, files: Sequence[MappedArray]) -> None:
    """Give a folder whose files were written without them checksums of their blocks.

    Each file is compared with its whole checksum on the way, since block checksums of damaged
    bytes would call them intact. The same files get the same bytes as when they were written.

    Raises:
        CorruptionError: a file is damaged.
    """
    by_name = {component.filename: component for component in Component}
    known = []
    for file in files:
        sums = BlockSums()
        payload = np.ascontiguousarray(file.rows).data.cast("B") if file.rows.size else b""
        for start in range(0, len(payload), _AT_ONCE):
            sums.update(payload[start : start + _AT_ONCE])
        if sums.whole != file.checksum:
            file.verify()
        known.append((by_name[file.path.name], file.header, sums.blocks))
    work = folder.parent / f"{TEMPORARY}{folder.name}"
    remove_folders([work])
    work.mkdir()
    try:
        _write(work, known)
        name = Component.CHECKSUMS.filename
        os.replace(work / name, folder / name)
        sync_folder(folder)
    finally:
        remove_folders([work])


def _write(folder: Path, files: Iterable[tuple[Component, bytes, UInt32]]) -> None:
    known = sorted(files, key=lambda file: file[0].number)
    writer = ArrayWriter(folder, Component.CHECKSUMS, 1)
    try:
        for _, header, _ in known:
            writer.append(np.frombuffer(header, dtype="<u4"))
        for _, _, blocks in known:
            writer.append(blocks)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise


def read_checksums(
    folder: Path, components: Iterable[Component], digest: str | None
) -> FolderChecksums | None:
    """What can be read of a folder's checksums; None where they are not there or not its own.

    Args:
        folder: of a segment or codebook.
        components: that it has, without the checksums.
        digest: of their headers, as the catalog has it; None where it has none.
    """
    wanted = sorted(components, key=lambda component: component.number)
    try:
        content = map_bytes(folder / Component.CHECKSUMS.filename)[HEADER_BYTES:]
    except (OSError, CorruptionError):
        return None
    headers: dict[Component, ArrayHeader] = {}
    for position, component in enumerate(wanted):
        start = position * HEADER_BYTES
        header = _header(bytes(content[start : start + HEADER_BYTES]), component)
        present = _header(_start_of(folder / component.filename), component)
        if digest is None and header is not None and present not in (None, header):
            return None  # nobody knows which of them is right
        header = header or present
        if header is None:
            return None
        headers[component] = header
    found = {part.filename: header.content for part, header in headers.items()}
    if digest is not None and headers_digest(found) != digest:
        return None
    words = np.frombuffer(content[: len(content) // 4 * 4], dtype="<u4")
    blocks, first = {}, len(wanted) * _WORDS
    for component in wanted:
        last = first + n_blocks(headers[component].bytes_of(component))
        blocks[component] = words[first:last].astype(np.uint32)
        first = last
    return FolderChecksums(headers, blocks)


def _header(content: bytes, component: Component) -> ArrayHeader | None:
    """A header that is intact, else None."""
    if len(content) < HEADER_BYTES or zlib.crc32(content[:-4]) != int.from_bytes(
        content[-4:], "little"
    ):
        return None
    magic, _, number, rows, columns = _SIZES.unpack(content[: _SIZES.size])
    if magic != MAGIC or number != component.number:
        return None
    return ArrayHeader(content, rows, columns)


def _start_of(path: Path) -> bytes:
    try:
        return bytes(map_bytes(path)[:HEADER_BYTES])
    except (OSError, CorruptionError):
        return b""
