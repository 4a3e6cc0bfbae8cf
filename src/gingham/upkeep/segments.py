"""One segment or codebook, looked at whole: what is wrong with it, and what can be kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np

from gingham.codec.postings import centroids_of, postings
from gingham.codec.scalar import SCALAR_CODECS
from gingham.document import Int64
from gingham.errors import CorruptionError
from gingham.index.codebook_files import CodebookRecord, open_codebook
from gingham.index.layout import Component, check_headers, codebook_folder, segment_folder
from gingham.index.segment_writer import VECTORS, SegmentRecord
from gingham.kernels.clustered import Coder
from gingham.kernels.codebook import (
    BITS,
    CODE_BYTES,
    LEVELS,
    POINTS,
    Bits,
    Codebook,
    parts_of,
    row_of,
)
from gingham.upkeep.files import Files, Tell, columns_of, read_folder

# keep: as it is. list: as it is, with another record. lists: with posting lists made anew. flat:
# its vectors can be read, but no more be searched in stages. lost: they cannot be read.
Fate = Literal["keep", "list", "lists", "flat", "lost"]

_LISTS = (Component.LISTS, Component.POSTINGS)
_NEEDED = (  # of a clustered segment, to read its vectors
    Component.CODES,
    Component.RESIDUALS,
    Component.OFFSETS,
    Component.NUMBERS,
    Component.SPANS,
)


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
        they cannot be decoded.
        """
        centroids = self.files.rows.get(Component.CENTROIDS)
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


@dataclass(slots=True)
class SegmentState:
    """A segment as it was found.

    Attributes:
        record: what the catalog says of it, put right from its files where `fate` is "list".
        listed: whether the catalog lists it.
        fate: what can be kept.
        problems: file name or "" → what is wrong.
        files: those that are intact.
        numbers: of the documents of its passages; None where that cannot be read.
        without: numbers of documents that are to be left out, since another segment has them.
    """

    record: SegmentRecord
    listed: bool
    fate: Fate = "keep"
    problems: dict[str, str] = field(default_factory=dict)
    files: Files = field(default_factory=lambda: Files(Path()))
    numbers: Int64 | None = None
    without: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def spans(self) -> Int64 | None:
        """(n_passages, 2) characters; None where that cannot be read."""
        if Component.PASSAGES in self.files.rows:
            return cast(Int64, self.files.rows[Component.PASSAGES][:, 1:])
        spans = self.files.rows.get(Component.SPANS)
        return None if spans is None else spans.astype(np.int64)


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
    collection: Path, number: int, record: CodebookRecord | None, dim: int, bits: Bits, tell: Tell
) -> CodebookState:
    """Read a codebook whole.

    Args:
        collection: the folder.
        number: of the codebook.
        record: what the catalog says of it, if it does.
        dim: of its vectors.
        bits: of its residuals.
        tell: called with every number of bytes that was read.
    """
    folder = codebook_folder(collection, number)
    if folder.is_symlink() or not folder.is_dir():
        return CodebookState(
            record, number, dim, bits, {"": "missing, or no folder"}, Files(folder)
        )
    files = read_folder(folder, codebook_columns(dim, bits), tell)
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
            open_codebook(collection, record)
        except CorruptionError as error:
            state.problems[""] = " ".join(str(error).removeprefix(f"{folder}: ").split())
        if files.bytes != record.bytes:
            state.misstated = f"has {files.bytes} bytes, the catalog says {record.bytes}"
            state.record = replace(record, bytes=files.bytes)
    return state


def segment_columns(
    folder: Path, record: SegmentRecord, book: CodebookRecord | None
) -> dict[Component, int]:
    """The files of a segment, of either kind."""
    if record.codebook is None:
        columns = {VECTORS[record.codec]: record.dim, Component.OFFSETS: 1, Component.PASSAGES: 3}
        return columns | ({Component.SCALES: 1} if record.codec == "int8" else {})
    if book is not None:
        width = row_of(book.dim, book.bits) * book.bits // 8
    else:
        width = columns_of(folder, Component.RESIDUALS) or 0
    return {
        Component.CODES: CODE_BYTES,
        Component.RESIDUALS: width,
        Component.OFFSETS: 1,
        Component.LISTS: 1,
        Component.POSTINGS: 1,
        Component.NUMBERS: 1,
        Component.SPANS: 2,
    }


def examine_segment(
    collection: Path,
    record: SegmentRecord,
    book: CodebookState | None,
    tell: Tell,
    *,
    listed: bool = True,
) -> SegmentState:
    """Read a segment whole: checksums, lengths, order, and posting lists against codes.

    Args:
        collection: the folder.
        record: what the catalog says of it, or what its files say.
        book: its codebook, if it is clustered and has one.
        tell: called with every number of bytes that was read.
        listed: whether the catalog lists it.

    Raises:
        VersionError: a file is of a newer gingham.
    """
    folder = segment_folder(collection, record.segment)
    state = SegmentState(record, listed)
    if folder.is_symlink() or not folder.is_dir():
        state.problems[""] = "missing, or no folder"
        state.fate = "lost"
        return state
    known = None if book is None else book.record
    columns = segment_columns(folder, record, known)
    state.files = read_folder(folder, columns, tell)
    state.problems = {part.filename: text for part, text in state.files.problems.items()}
    owners = state.files.rows.get(
        Component.PASSAGES if record.codebook is None else Component.NUMBERS
    )
    if owners is not None:
        state.numbers = np.ascontiguousarray(owners[:, 0] if owners.ndim > 1 else owners)
    if record.codebook is None:
        _judge_flat(state, set(columns))
    else:
        _judge_clustered(state, book)
    return state


def _judge_flat(state: SegmentState, wanted: set[Component]) -> None:
    rows = state.files.rows
    if set(rows) != wanted:
        state.fate = "lost"
        return
    vectors = rows[VECTORS[state.record.codec]]
    scales = rows.get(Component.SCALES)
    _check_passages(state, len(vectors))
    if scales is not None and len(scales) != len(vectors):
        state.problems[Component.SCALES.filename] = f"{len(scales)} scales of {len(vectors)} tokens"
    elif not np.isfinite(scales if scales is not None else vectors).all():
        state.problems[""] = "holds vectors that are no numbers"
    _settle(state, len(vectors))


def _judge_clustered(state: SegmentState, book: CodebookState | None) -> None:
    rows = state.files.rows
    if not set(_NEEDED) <= set(rows):
        state.fate = "lost"
        return
    residuals = rows[Component.RESIDUALS]
    width = residuals.shape[1]
    coder = None if book is None else book.coder(state.record.dim, width)
    if len(residuals) != len(rows[Component.CODES]):
        state.problems[Component.RESIDUALS.filename] = "has not one residual a code"
        state.fate = "lost"
        return
    _check_passages(state, len(residuals))
    if state.problems and not set(state.problems) <= {part.filename for part in _LISTS}:
        state.fate = "lost"
        return
    if book is None or coder is None:
        state.problems["codebook"] = f"codebook {state.record.codebook} is lost or does not fit"
        state.fate = "lost"
        return
    n_centroids = len(coder.codebook.centroids)
    if book.problems:
        state.problems["codebook"] = f"codebook {book.number} is damaged"
        state.fate = "flat"
        return
    codes = rows[Component.CODES]
    if len(codes) and int(centroids_of(codes).max()) >= n_centroids:
        state.problems[Component.CODES.filename] = f"names centroids beyond the last, {n_centroids}"
        state.fate = "lost"
        return
    if not state.problems:
        lists, words = postings(codes, rows[Component.OFFSETS], n_centroids)
        for part, made in ((Component.LISTS, lists), (Component.POSTINGS, words)):
            if not np.array_equal(rows[part], made):
                state.problems[part.filename] = "posting lists do not name what the codes do"
    if state.problems:
        state.fate = "lists"
        return
    _settle(state, len(codes))


def _check_passages(state: SegmentState, tokens: int) -> None:
    """Offsets, document numbers and spans against each other."""
    offsets, numbers, spans = state.files.rows[Component.OFFSETS], state.numbers, state.spans
    assert numbers is not None
    assert spans is not None
    ascend = len(offsets) > 0 and bool((offsets[1:] > offsets[:-1]).all())
    if not ascend or offsets[0] != 0 or offsets[-1] != tokens:
        state.problems[Component.OFFSETS.filename] = f"does not ascend from 0 to {tokens}"
    elif len(numbers) != len(offsets) - 1 or len(spans) != len(numbers):
        state.problems[""] = (
            f"{len(numbers)} document numbers and {len(spans)} spans of {len(offsets) - 1} passages"
        )
    elif len(numbers) and ((numbers[1:] < numbers[:-1]).any() or numbers[0] < 0):
        state.problems[""] = "document numbers do not ascend"
    elif len(spans) and ((spans[:, 1] < spans[:, 0]) | (spans[:, 0] < 0)).any():
        state.problems[""] = "a passage ends before it starts"


def _settle(state: SegmentState, tokens: int) -> None:
    """Lost, if anything is wrong; else compared with what the catalog says."""
    if state.problems:
        state.fate = "lost"
        return
    record, numbers = state.record, state.numbers
    assert numbers is not None
    found = SegmentRecord(
        record.segment,
        record.codec,
        record.dim,
        len(numbers),
        tokens,
        state.files.bytes,
        record.codebook,
        record.digest,
    )
    try:
        check_headers(state.files.folder, state.files.mapped, record.digest)
    except CorruptionError as error:
        state.problems[""] = " ".join(str(error).removeprefix(f"{state.files.folder}: ").split())
        state.fate = "lost"
        return
    if found != record and state.listed:
        state.problems[""] = (
            f"the catalog says {record.passages} passages, {record.tokens} tokens, {record.bytes} "
            f"bytes; there are {found.passages}, {found.tokens}, {found.bytes}"
        )
    if found != record or not state.listed:
        state.record, state.fate = found, "list"


def unlisted_record(
    collection: Path, segment: int, dim: int | None, books: list[CodebookState]
) -> SegmentRecord | None:
    """A record for a folder that the catalog does not list, as far as its files say; None where
    they do not say enough.
    """
    folder = segment_folder(collection, segment)
    for codec in SCALAR_CODECS:
        width = columns_of(folder, VECTORS[codec])
        if width is not None and dim in (None, width):
            return SegmentRecord(segment, codec, width, 0, 0, 0)
    residual = columns_of(folder, Component.RESIDUALS)
    if residual is None:
        return None
    # Lists have a row a centroid and one more; which codebook has so many centroids?
    try:
        size = (folder / Component.LISTS.filename).lstat().st_size
    except OSError:
        return None
    fitting = [
        book
        for book in books
        if book.record is not None
        and dim in (None, book.record.dim)
        and row_of(book.dim, book.bits) * book.bits // 8 == residual
        and 64 + 8 * (book.record.centroids + 1) == size
        and book.number <= segment
    ]
    if len(fitting) != 1 or fitting[0].record is None:
        return None
    only = fitting[0].record
    return SegmentRecord(segment, "residual", only.dim, 0, 0, 0, only.codebook)
