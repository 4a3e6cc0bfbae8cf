"""FORMAT.md as code: the names, headers and checksums of the files of a collection.

A segment is a folder of arrays; each array is one file with a header of 64 bytes. Nothing here
knows what the arrays mean or when they are written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.errors import CollectionError, CorruptionError, GinghamError, VersionError
from gingham.index.blocks import HEADER_BYTES as HEADER_BYTES
from gingham.index.blocks import BlockSums
from gingham.index.mapping import map_file

FORMAT_VERSION = 2
APPLICATION_ID = 0x47494E47  # "GING" in the header of catalog.sqlite

CATALOG = "catalog.sqlite"
LOCK = "write.lock"
SEGMENTS = "segments"
CODEBOOKS = "codebooks"
TEMPORARY = ".writing-"
DAMAGED = "damaged"  # what a repair set aside

MAGIC = b"GINGHAM\n"
# magic, version, component, rows, columns, payload checksum, zeros, checksum of what precedes
_HEADER = struct.Struct("<8sIIQQI24xI")
assert _HEADER.size == HEADER_BYTES
# Without following a link, without waiting for whoever writes to a pipe; binary on Windows.
_AS_IT_IS = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _AS_IT_IS |= getattr(os, _flag, 0)
_NO_FILE = (
    "no regular file but a link, a folder, a pipe or a device, which gingham never makes: "
    "replace it by the file"
)
_MOST_ROWS = 1 << 48  # rows without columns take no bytes: their number must be one all the same


class Component(Enum):
    """The files of segments and codebooks: name, number in the header, element type."""

    #: One row a token: its codes.
    VECTORS_INT8 = ("vectors.i8", 1, np.dtype("<i1"))
    #: One row a token: its vector in half precision.
    VECTORS_FP16 = ("vectors.f16", 2, np.dtype("<f2"))
    #: One number a token: what its int8 codes are multiplied with.
    SCALES = ("scales.f32", 3, np.dtype("<f4"))
    #: Passage i owns the token rows offsets[i] to offsets[i + 1].
    OFFSETS = ("offsets.i64", 4, np.dtype("<i8"))
    #: One row a passage: document number, first character, character after the last.
    PASSAGES = ("passages.i64", 5, np.dtype("<i8"))

    # Clustered segments; OFFSETS too.
    #: One row a token: centroid and level.
    CODES = ("codes.u8", 6, np.dtype("u1"))
    #: One row a token: its residual, packed.
    RESIDUALS = ("residuals.u8", 7, np.dtype("u1"))
    #: The postings of centroid c are lists[c] to lists[c + 1].
    LISTS = ("lists.i64", 8, np.dtype("<i8"))
    #: Runs of passages, see `gingham.codec.postings`.
    POSTINGS = ("postings.u16", 9, np.dtype("<u2"))
    #: One document number a passage.
    NUMBERS = ("numbers.i64", 10, np.dtype("<i8"))
    #: One row a passage: first character, character after the last.
    SPANS = ("spans.u32", 11, np.dtype("<u4"))

    # Codebooks.
    #: One row a super-centroid.
    SUPERS = ("supers.i8", 12, np.dtype("<i1"))
    #: Super-centroid s owns the centroids children[s] to children[s + 1].
    CHILDREN = ("children.i64", 13, np.dtype("<i8"))
    #: One row a centroid.
    CENTROIDS = ("centroids.i8", 14, np.dtype("<i1"))
    #: One row a level: what each nibble adds.
    POINTS = ("points.i8", 15, np.dtype("<i1"))
    #: Squared residual lengths that part the levels.
    LEVELS = ("levels.i64", 16, np.dtype("<i8"))

    # Of every folder, and read by none but checks and repairs.
    #: The headers of the other files and the checksums of their blocks, see `checksums`.
    CHECKSUMS = ("checksums.u32", 17, np.dtype("<u4"))

    def __init__(self, filename: str, number: int, dtype: np.dtype[Any]) -> None:
        """Unpack the tuple."""
        self.filename = filename
        self.number = number
        self.dtype = dtype


_TABLES = frozenset(
    {
        Component.VECTORS_INT8,
        Component.VECTORS_FP16,
        Component.PASSAGES,
        Component.CODES,
        Component.RESIDUALS,
        Component.SPANS,
        Component.SUPERS,
        Component.CENTROIDS,
        Component.POINTS,
    }
)


def segment_folder(collection: Path, segment: int) -> Path:
    """Where segment number `segment` of a collection lives."""
    return collection / SEGMENTS / f"{segment:08d}"


def codebook_folder(collection: Path, codebook: int) -> Path:
    """Where codebook number `codebook` of a collection lives."""
    return collection / CODEBOOKS / f"{codebook:08d}"


class ArrayWriter:
    """Writes one array file row block by row block; the header comes last, when all is known."""

    def __init__(self, folder: Path, component: Component, columns: int) -> None:
        """Open the file and leave room for the header."""
        self.component = component
        self.header = b""  # when it is finished
        self._columns = columns
        self._rows = 0
        self._sums = BlockSums()
        self._file = open(folder / component.filename, "xb")  # noqa: SIM115 (closed by finish)
        self._file.write(bytes(HEADER_BYTES))

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows: (n, columns), or (n) where there is one column."""
        block = np.ascontiguousarray(rows, dtype=self.component.dtype)
        self._rows += len(block)
        if block.size == 0:
            return
        payload = block.data.cast("B")
        self._sums.update(payload)
        self._file.write(payload)

    def finish(self) -> int:
        """Write the header, make the file durable, close it; returns its size in bytes."""
        body = _HEADER.pack(
            MAGIC,
            FORMAT_VERSION,
            self.component.number,
            self._rows,
            self._columns,
            self._sums.whole,
            0,
        )[:-4]
        self.header = body + struct.pack("<I", zlib.crc32(body))
        self._file.seek(0)
        self._file.write(self.header)
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.seek(0, os.SEEK_END)
        self._file.close()
        return size

    @property
    def blocks(self) -> npt.NDArray[np.uint32]:
        """Checksums of the blocks of what was appended."""
        return self._sums.blocks

    def abandon(self) -> None:
        """Close without finishing; the folder is thrown away by the caller."""
        with contextlib.suppress(OSError):  # closing writes what is buffered: the disk may be full
            self._file.close()


@dataclass(frozen=True, slots=True)
class MappedArray:
    """An array file lent from disk: `rows` is a read-only view, nothing was copied."""

    path: Path
    rows: npt.NDArray[Any]
    checksum: int
    header: bytes

    def verify(self) -> None:
        """Read every byte and compare with the checksum.

        Raises:
            CorruptionError: a byte has changed since the file was written.
        """
        payload = np.ascontiguousarray(self.rows).data.cast("B") if self.rows.size else b""
        if zlib.crc32(payload) != self.checksum:
            raise CorruptionError(
                f"{self.path}: the checksum does not match: the file is damaged; "
                "restore the collection from a backup or index it again"
            )


def map_bytes(path: Path) -> memoryview:
    """A file as it is, mapped; nothing is checked but that it is one.

    Raises:
        FileNotFoundError: it is not there.
        PermissionError: it may not be read; so Windows calls one that is being removed.
        CorruptionError: a link, a pipe or the like, or the disk cannot read it.
    """
    try:
        descriptor = os.open(path, _AS_IT_IS)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise CorruptionError(f"{path}: {_NO_FILE}")
            if status.st_size == 0:
                return memoryview(b"")
            return map_file(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, PermissionError):
        raise  # a merge may have taken it away: whoever opens a snapshot looks again
    except OSError as error:
        check_regular(path)
        raise CorruptionError(f"{path}: cannot be read: {error.strerror or error}") from error


def map_array(folder: Path, component: Component, columns: int) -> MappedArray:
    """Map one array file and check its header and length (not yet its payload).

    Raises:
        CorruptionError: missing, truncated, not ours, or not the shape that the catalog says.
        VersionError: written by a newer gingham.
    """
    path = folder / component.filename
    mapped = map_bytes(path)
    size = len(mapped)
    if size < HEADER_BYTES:
        raise CorruptionError(
            f"{path}: truncated: {size} bytes, the header alone has {HEADER_BYTES}"
        )
    header = bytes(mapped[:HEADER_BYTES])
    magic, version, number, rows, found_columns, checksum, header_checksum = _HEADER.unpack(header)
    if magic != MAGIC:
        raise CorruptionError(f"{path}: not a gingham array: it starts with {magic!r}")
    if version > FORMAT_VERSION:
        raise VersionError(
            f"{path}: format {version}, this gingham reads up to {FORMAT_VERSION}: "
            "pip install --upgrade gingham"
        )
    if header_checksum != zlib.crc32(header[:-4]):
        raise CorruptionError(f"{path}: the header is damaged (checksum does not match)")
    if number != component.number or found_columns != columns:
        raise CorruptionError(
            f"{path}: holds component {number} of {found_columns} columns, "
            f"expected {component.number} of {columns}: a file of another segment or collection?"
        )
    expected = HEADER_BYTES + rows * columns * component.dtype.itemsize
    if size != expected or rows > _MOST_ROWS:
        raise CorruptionError(f"{path}: {size} bytes, its header promises {expected}: truncated?")
    count = rows * columns
    array = (
        np.frombuffer(mapped, dtype=component.dtype, count=count, offset=HEADER_BYTES)
        if count
        else np.empty(0, dtype=component.dtype)
    )
    return MappedArray(path, in_rows(array, component, rows, columns), checksum, header)


def in_rows(
    array: npt.NDArray[Any], component: Component, rows: int, columns: int
) -> npt.NDArray[Any]:
    """The elements of an array file as (rows, columns), or (rows) where a row is one number."""
    return array.reshape(rows, columns) if component in _TABLES else array


def headers_digest(headers: Mapping[str, bytes]) -> str:
    """One digest for the files of a folder: of their headers, so of all that they hold.

    The catalog keeps it, since a file of another collection has a right checksum of its own. No
    CRC: over a header that ends in its own, it is the same for all.
    """
    joined = b"".join(headers[name] for name in sorted(headers))
    return hashlib.blake2b(joined, digest_size=16).hexdigest()


def folder_digest(folder: Path) -> str:
    """`headers_digest` of a folder that was just written, but for the checksums of its blocks."""
    names = {path.name for path in folder.iterdir()} - {Component.CHECKSUMS.filename}
    return headers_digest({name: _header_of(folder / name) for name in names})


def folder_digests(name: str, folder: Path) -> dict[str, str]:
    """What the catalog keeps of a folder that was just written, by names.

    The checksums of blocks have a digest of their own: readers that know none pass it over.
    """
    digests = {name: folder_digest(folder)}
    checksums = folder / Component.CHECKSUMS.filename
    if checksums.is_file():
        header = {checksums.name: _header_of(checksums)}
        digests[f"{name}/{checksums.name}"] = headers_digest(header)
    return digests


def _header_of(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEADER_BYTES)


def check_headers(folder: Path, files: Iterable[MappedArray], expected: str | None) -> None:
    """Refuse files that are whole, but not those that the catalog lists.

    Raises:
        CorruptionError: a file comes from elsewhere. Where `expected` is None nobody knows.
    """
    if expected is None:
        return
    if headers_digest({file.path.name: file.header for file in files}) != expected:
        raise CorruptionError(
            f"{folder}: not the files that the catalog lists: one of them, or the catalog, is of "
            "another collection or of an older copy; restore the collection from a backup"
        )


def check_regular(path: Path) -> None:
    """Refuse what has a file's name and is none: reading it could wait for ever or lead elsewhere.

    Raises:
        CorruptionError: a link, a pipe, a folder or a device. What is not there is let pass.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise CorruptionError(f"{path}: {_NO_FILE}")


def check_folders(*folders: Path) -> None:
    """Refuse links in place of folders: files that are not ours would be read, or removed.

    Raises:
        CorruptionError: a link or a file. What is not there is let pass.
    """
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                raise CorruptionError(
                    f"{folder}: no folder but a link or a file, which gingham never makes: "
                    "replace it by what it stands for"
                )


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, durably; or leave the one there is."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable (POSIX; Windows has no such call)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def reporting_disk(collection: Path) -> Iterator[None]:
    """Turn what the file system says of a write into our error."""
    try:
        yield
    except OSError as error:
        if isinstance(error, GinghamError):
            raise
        raise CollectionError(
            f"{collection}: cannot write: {error.strerror or error}; what was committed is safe, "
            "try again when there is room"
        ) from error


def remove_folders(folders: Iterable[Path]) -> None:
    """Delete segment folders that nothing refers to; one that is still in use stays for later.

    Windows refuses to delete mapped files; the next writer collects what is left.
    """
    for folder in folders:
        try:
            if folder.is_symlink():  # what it leads to is not ours
                folder.unlink()
                continue
            for file in list(folder.iterdir()):
                file.unlink()
            folder.rmdir()
        except OSError:
            continue
