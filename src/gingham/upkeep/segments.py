"""One segment or codebook, looked at whole: what is wrong with it, and what can be kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import numpy as np

from gingham.codec.postings import centroids_of, postings
from gingham.codec.scalar import SCALAR_CODECS
from gingham.document import Int64
from gingham.errors import CorruptionError
from gingham.index.codebook_files import CodebookRecord
from gingham.index.layout import Component, check_headers, segment_folder
from gingham.index.segment_writer import VECTORS, SegmentRecord
from gingham.kernels.codebook import CODE_BYTES, row_of
from gingham.upkeep.codebooks import CodebookState, codebook_columns
from gingham.upkeep.files import Digests, Files, Tell, columns_of, read_folder
from gingham.upkeep.passages import Intact, intact_passages

# keep: as it is. list: as it is, with another record. lists: written anew, posting lists made of
# its codes. flat: its vectors can be read, but no more be searched in stages. lost: they cannot.
Fate = Literal["keep", "list", "lists", "flat", "lost"]

CODEBOOK = "codebook"  # in place of a file's name, what is wrong with it
_LISTS = (Component.LISTS, Component.POSTINGS)
_NEEDED = (  # of a clustered segment, to read its vectors
    Component.CODES,
    Component.RESIDUALS,
    Component.OFFSETS,
    Component.NUMBERS,
    Component.SPANS,
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
        intact: what can be kept, where only parts of files are damaged.
    """

    record: SegmentRecord
    listed: bool
    fate: Fate = "keep"
    problems: dict[str, str] = field(default_factory=dict)
    files: Files = field(default_factory=lambda: Files(Path()))
    numbers: Int64 | None = None
    without: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    intact: Intact | None = None

    @property
    def held(self) -> Int64 | None:
        """Ascending numbers of the documents that can be kept; None where that is unknown."""
        if self.intact is not None:
            return self.intact.documents
        return None if self.numbers is None else np.unique(self.numbers)

    @property
    def spans(self) -> Int64 | None:
        """(n_passages, 2) characters; None where that cannot be read."""
        passages = self.files.left(Component.PASSAGES)
        if passages is not None:
            return cast(Int64, passages[:, 1:])
        spans = self.files.left(Component.SPANS)
        return None if spans is None else spans.astype(np.int64)


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


CODEBOOK_NAMES = frozenset(component.filename for component in codebook_columns(1, 1))


def names_of_segment(record: SegmentRecord) -> frozenset[str]:
    """Names of the files of a segment, but for the checksums of blocks."""
    columns = segment_columns(Path(), record, None)
    return frozenset(component.filename for component in columns)


def examine_segment(
    collection: Path,
    record: SegmentRecord,
    book: CodebookState | None,
    tell: Tell,
    digests: Digests,
    *,
    listed: bool = True,
) -> SegmentState:
    """Read a segment whole: checksums, lengths, order, and posting lists against codes.

    Args:
        collection: the folder.
        record: what the catalog says of it, or what its files say.
        book: its codebook, if it is clustered and has one.
        tell: called with every number of bytes that was read.
        digests: of the folder.
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
    state.files = read_folder(folder, columns, tell, digests)
    state.problems = {part.filename: text for part, text in state.files.problems.items()}
    owners = state.files.left(Component.PASSAGES if record.codebook is None else Component.NUMBERS)
    if owners is not None:
        state.numbers = np.ascontiguousarray(owners[:, 0] if owners.ndim > 1 else owners)
    if record.codebook is None:
        _judge_flat(state, set(columns))
    else:
        _judge_clustered(state, book)
    return state


def _judge_flat(state: SegmentState, wanted: set[Component]) -> None:
    files = state.files
    vectors = files.left(VECTORS[state.record.codec])
    scales = files.left(Component.SCALES)
    if vectors is None or any(files.left(component) is None for component in wanted):
        state.fate = "lost"
        return
    if files.parts:
        _keep_intact(state, (VECTORS[state.record.codec], Component.SCALES), {})
        return
    _check_passages(state, len(vectors))
    if scales is not None and len(scales) != len(vectors):
        state.problems[Component.SCALES.filename] = f"{len(scales)} scales of {len(vectors)} tokens"
    elif not np.isfinite(scales if scales is not None else vectors).all():
        state.problems[""] = "holds vectors that are no numbers"
    _settle(state, len(vectors))


def _judge_clustered(state: SegmentState, book: CodebookState | None) -> None:
    files = state.files
    residuals, codes = files.left(Component.RESIDUALS), files.left(Component.CODES)
    if residuals is None or codes is None or any(files.left(part) is None for part in _NEEDED):
        state.fate = "lost"
        return
    damaged = not set(_NEEDED).isdisjoint(files.parts)
    if not damaged:
        if len(residuals) != len(codes):
            state.problems[Component.RESIDUALS.filename] = "has not one residual a code"
            state.fate = "lost"
            return
        _check_passages(state, len(residuals))
        if state.problems and not set(state.problems) <= {part.filename for part in _LISTS}:
            state.fate = "lost"
            return
    coder = None if book is None else book.coder(state.record.dim, residuals.shape[1])
    if book is None or coder is None:
        state.problems[CODEBOOK] = f"codebook {state.record.codebook} is lost or does not fit"
        state.fate = "lost"
        return
    n_centroids = len(coder.codebook.centroids)
    centroids = centroids_of(np.asarray(codes))
    beyond = np.flatnonzero(centroids >= n_centroids)
    if book.files.left(Component.CENTROIDS) is None:  # 8 bits: nothing was lost with them
        beyond = beyond[:0]
    if len(beyond) and not damaged:
        state.problems[Component.CODES.filename] = f"names centroids beyond the last, {n_centroids}"
        state.fate = "lost"
        return
    if damaged or len(book.bad_centroids):
        undecoded = np.flatnonzero(np.isin(centroids, book.bad_centroids))
        more = {Component.CODES.filename: beyond, CODEBOOK: undecoded}
        _keep_intact(state, (Component.CODES, Component.RESIDUALS), more)
    if book.problems and state.fate != "lost":
        state.problems[CODEBOOK] = f"codebook {book.number} is damaged"
        state.fate = "flat"
    if state.intact is not None or state.fate == "flat":
        return
    if not state.problems:
        lists, words = postings(codes, files.rows[Component.OFFSETS], n_centroids)
        for part, made in ((Component.LISTS, lists), (Component.POSTINGS, words)):
            if not np.array_equal(files.rows[part], made):
                state.problems[part.filename] = "posting lists do not name what the codes do"
    if state.problems:
        state.fate = "lists"
        return
    _settle(state, len(codes))


def _keep_intact(
    state: SegmentState, of_tokens: tuple[Component, ...], damaged: dict[str, Int64]
) -> None:
    """Where files are damaged in part: the passages that are not.

    Args:
        state: the segment.
        of_tokens: its files that have a row a token.
        damaged: numbers of tokens that are damaged in other ways, by file.
    """
    files, state.fate = state.files, "lost"
    present = [part for part in of_tokens if files.left(part) is not None]
    masks = {part: files.bad(part) for part in present}
    n_tokens = len(masks[present[0]])
    if any(len(mask) != n_tokens for mask in masks.values()):
        return
    tokens = {part.filename: np.flatnonzero(mask) for part, mask in masks.items()}
    for part in present:  # numbers that scores could not be made of
        rows = files.left(part)
        if rows is not None and rows.dtype.kind == "f":
            good = np.flatnonzero(~masks[part])
            finite = np.isfinite(rows[good])
            strange = good[~(finite if finite.ndim == 1 else finite.all(axis=1))]
            damaged = {**damaged, part.filename: strange}
    for name, numbers in damaged.items():
        tokens[name] = np.union1d(tokens.get(name, numbers[:0]), numbers)
    state.intact = intact_passages(files, tokens, n_tokens)
    if state.intact is not None and state.intact.passages.any():
        state.fate = "lists"


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
