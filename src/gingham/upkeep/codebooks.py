"""One codebook, looked at whole: what is wrong with it, and what it still decodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gingham.document import Int64
from gingham.errors import CorruptionError
from gingham.index.codebook_files import CodebookRecord, open_codebook
from gingham.index.layout import Component, codebook_folder
from gingham.kernels.clustered import Coder
from gingham.kernels.codebook import BITS, LEVELS, POINTS, Bits, Codebook, parts_of, row_of
from gingham.upkeep.files import Digests, Files, Tell, columns_of, read_folder


@dataclass(slots=True)
class CodebookState:
    """A codebook as it was found.

    Attributes:
        record: what the catalog says of it; None where it says nothing.
        number: of it.
        dim: of its vectors.
        bits: of its residuals.
        problems: file name or "" → what is wrong.
        files: those that are intact.
        misstated: how the catalog's record differed, where it alone was wrong; `record` is right.
    """

    record: CodebookRecord | None
    number: int
    dim: int
    bits: Bits
    problems: dict[str, str]
    files: Files
    misstated: str | None = None

    def coder(self, dim: int, residual_bytes: int) -> Coder | None:
        """What decodes vectors, with stand-ins for what only coding and searching need; None where
        they cannot be decoded. Centroids that are damaged decode to anything, see `bad_centroids`.
        """
        centroids = self.files.left(Component.CENTROIDS)
        bits = self.bits
        row, parts = row_of(dim, bits), parts_of(bits)
        if (dim, residual_bytes) != (self.dim, row * bits // 8):
            return None
        points = self.files.rows.get(Component.POINTS)
        if bits == 8:  # the residual is the vector
            points = np.zeros((LEVELS, 0), dtype=np.int8)
            if centroids is None:
                centroids = np.zeros((1, row), dtype=np.int8)
        if centroids is None or points is None or len(centroids) == 0 or len(points) != LEVELS:
            return None
        return Coder(
            Codebook(
                bits,
                dim,
                1.0,
                np.zeros((1, row), dtype=np.int8),
                np.array([0, len(centroids)], dtype=np.int64),
                centroids,
                points.reshape(LEVELS, parts, POINTS),
                np.zeros(LEVELS - 1, dtype=np.int64),
            )
        )

    @property
    def bad_centroids(self) -> Int64:
        """Ascending numbers of centroids that are needed to decode, and damaged."""
        if self.bits == 8 or Component.CENTROIDS not in self.files.parts:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(self.files.bad(Component.CENTROIDS))


def bits_in_files(codebook: Path, segment: Path, dim: int) -> Bits | None:
    """The bits of a codebook that the catalog does not list, as its files and residuals have them.

    Few dimensions are padded, so that widths alone may leave a choice.
    """
    widths = {
        Component.POINTS: {bits: parts_of(bits) * POINTS for bits in BITS},
        Component.CENTROIDS: {bits: row_of(dim, bits) for bits in BITS},
    }
    found = {
        bits
        for bits in BITS
        if row_of(dim, bits) * bits // 8 == columns_of(segment, Component.RESIDUALS)
    }
    for component, expected in widths.items():
        width = columns_of(codebook, component)
        if width is not None:
            found &= {bits for bits in BITS if expected[bits] == width}
    return found.pop() if len(found) == 1 else None


def codebook_columns(dim: int, bits: Bits) -> dict[Component, int]:
    """The files of a codebook."""
    row = row_of(dim, bits)
    return {
        Component.SUPERS: row,
        Component.CHILDREN: 1,
        Component.CENTROIDS: row,
        Component.POINTS: parts_of(bits) * POINTS,
        Component.LEVELS: 1,
    }


def examine_codebook(
    collection: Path,
    number: int,
    record: CodebookRecord | None,
    dim: int,
    bits: Bits,
    tell: Tell,
    digests: Digests,
) -> CodebookState:
    """Read a codebook whole.

    Args:
        collection: the folder.
        number: of the codebook.
        record: what the catalog says of it, if it does.
        dim: of its vectors.
        bits: of its residuals.
        tell: called with every number of bytes that was read.
        digests: of the folder.
    """
    folder = codebook_folder(collection, number)
    if folder.is_symlink() or not folder.is_dir():
        return CodebookState(
            record, number, dim, bits, {"": "missing, or no folder"}, Files(folder)
        )
    files = read_folder(folder, codebook_columns(dim, bits), tell, digests)
    state = CodebookState(
        record,
        number,
        dim,
        bits,
        {part.filename: text for part, text in files.problems.items()},
        files,
    )
    if record is None:
        state.problems[""] = "the catalog does not list it"
    elif not state.problems:
        try:
            if not files.headers:  # else it can be opened when these are written anew
                open_codebook(collection, record)
        except CorruptionError as error:
            state.problems[""] = " ".join(str(error).removeprefix(f"{folder}: ").split())
        if files.bytes != record.bytes:
            state.misstated = f"has {files.bytes} bytes, the catalog says {record.bytes}"
            state.record = replace(record, bytes=files.bytes)
    return state
