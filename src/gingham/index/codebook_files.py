"""Codebooks in files: a folder of arrays, immutable, shared by the segments coded with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy.typing as npt

from gingham.errors import CorruptionError, InputError
from gingham.index.checksums import write_checksums
from gingham.index.layout import (
    CODEBOOKS,
    TEMPORARY,
    ArrayWriter,
    Component,
    MappedArray,
    check_folders,
    check_headers,
    codebook_folder,
    map_array,
    remove_folders,
    sync_folder,
)
from gingham.kernels.clustered import Coder
from gingham.kernels.codebook import LEVELS, POINTS, Bits, Codebook, parts_of, row_of

_LARGEST_SCALE = float(1 << 30)  # 127 over the largest component of unit vectors is far below


@dataclass(frozen=True, slots=True)
class CodebookRecord:
    """What the catalog keeps about a codebook.

    Attributes:
        codebook: its number.
        bits: of the residual, a dimension.
        dim: dimensions of the vectors.
        scale: of the int8 grid.
        supers: super-centroids.
        centroids: centroids.
        tokens: that the collection had when it was trained.
        bytes: of all its files but the checksums of their blocks.
        digest: of the headers of its files; None where the catalog has none.
    """

    codebook: int
    bits: Bits
    dim: int
    scale: float
    supers: int
    centroids: int
    tokens: int
    bytes: int
    digest: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class OpenCodebook:
    """A codebook mapped from disk, ready for the kernels."""

    record: CodebookRecord
    coder: Coder
    files: tuple[MappedArray, ...]


def write_codebook(
    collection: Path, number: int, codebook: Codebook, tokens: int
) -> CodebookRecord:
    """Make a codebook durable; publishing it in the catalog is somebody else's business."""
    final = codebook_folder(collection, number)
    folder = collection / CODEBOOKS / f"{TEMPORARY}{number:08d}"
    remove_folders([folder])
    folder.mkdir(parents=True)
    arrays: dict[Component, npt.NDArray[Any]] = {
        Component.SUPERS: codebook.supers,
        Component.CHILDREN: codebook.children,
        Component.CENTROIDS: codebook.centroids,
        Component.POINTS: codebook.points.reshape(LEVELS, -1),
        Component.LEVELS: codebook.levels,
    }
    size = 0
    finished: list[ArrayWriter] = []
    try:
        for component, array in arrays.items():
            writer = ArrayWriter(folder, component, array.shape[1] if array.ndim > 1 else 1)
            finished.append(writer)
            writer.append(array)
            size += writer.finish()
        write_checksums(folder, finished)
    except BaseException:
        for writer in finished:
            writer.abandon()
        remove_folders([folder])
        raise
    sync_folder(folder)
    folder.rename(final)
    sync_folder(final.parent)
    return CodebookRecord(
        number,
        codebook.bits,
        codebook.dim,
        codebook.scale,
        len(codebook.supers),
        len(codebook.centroids),
        tokens,
        size,
    )


def open_codebook(collection: Path, record: CodebookRecord) -> OpenCodebook:
    """Map a codebook and check what the kernels rely on.

    Raises:
        FileNotFoundError: the folder is gone.
        CorruptionError: a file is truncated, damaged or contradicts the catalog.
        VersionError: written by a newer gingham.
    """
    folder = codebook_folder(collection, record.codebook)
    check_folders(folder.parent, folder)
    row, parts = row_of(record.dim, record.bits), parts_of(record.bits)
    columns = {
        Component.SUPERS: row,
        Component.CHILDREN: 1,
        Component.CENTROIDS: row,
        Component.POINTS: parts * POINTS,
        Component.LEVELS: 1,
    }
    files = {part: map_array(folder, part, width) for part, width in columns.items()}
    for part in (Component.CHILDREN, Component.POINTS, Component.LEVELS):
        files[part].verify()
    rows = {part: file.rows for part, file in files.items()}
    lengths = (len(rows[Component.SUPERS]), len(rows[Component.CENTROIDS]))
    if lengths != (record.supers, record.centroids) or len(rows[Component.POINTS]) != LEVELS:
        raise CorruptionError(
            f"{folder}: the catalog promises {record.supers} and {record.centroids} centroids, "
            f"the files hold {lengths[0]} and {lengths[1]}"
        )
    check_headers(folder, files.values(), record.digest)
    try:
        codebook = Codebook(
            record.bits,
            record.dim,
            record.scale,
            rows[Component.SUPERS],
            rows[Component.CHILDREN],
            rows[Component.CENTROIDS],
            rows[Component.POINTS].reshape(LEVELS, parts, POINTS),
            rows[Component.LEVELS],
        )
    except InputError as error:
        raise CorruptionError(f"{folder}: {error}") from error
    return OpenCodebook(record, Coder(codebook), tuple(files.values()))


def record_of(row: tuple[object, ...], where: Path, digest: str | None = None) -> CodebookRecord:
    """A row of the catalog, checked.

    Raises:
        CorruptionError: a value is impossible.
    """
    codebook, bits, dim, scale, supers, centroids, tokens, size = row
    counts = (codebook, dim, supers, centroids, tokens, size)
    whole = all(isinstance(count, int) and count >= 0 for count in counts)
    if not whole or bits not in (1, 2, 4, 8) or not isinstance(scale, float):
        raise CorruptionError(f"{where}: codebook {codebook!r} has impossible sizes")
    if not 0 < scale <= _LARGEST_SCALE:
        raise CorruptionError(f"{where}: codebook {codebook!r} has the scale {scale}")
    numbers = cast("tuple[int, int, int, int, int, int]", counts)
    return CodebookRecord(
        numbers[0],
        bits,
        numbers[1],
        scale,
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
        digest,
    )
