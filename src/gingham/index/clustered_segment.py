"""Clustered segments: written by `ClusteredWriter`, opened by `open_clustered`.

Opening reads the headers only: every offset, list and code is checked where a search uses it, so a
collection of a million passages is open at once and only what queries touch comes into memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.codec.postings import postings
from gingham.document import Float32, Int64
from gingham.errors import CorruptionError, InputError
from gingham.index.checksums import write_checksums
from gingham.index.codebook_files import OpenCodebook
from gingham.index.layout import (
    SEGMENTS,
    TEMPORARY,
    ArrayWriter,
    Component,
    MappedArray,
    check_folders,
    check_headers,
    map_array,
    remove_folders,
    segment_folder,
    sync_folder,
)
from gingham.index.segment_writer import SegmentRecord
from gingham.kernels import clustered
from gingham.kernels.codebook import CODE_BYTES

UInt8 = npt.NDArray[np.uint8]

LONGEST_QUERY = 1 << 15  # vectors that the kernels take at once


@dataclass(frozen=True, slots=True, eq=False)
class ClusteredSegment:
    """A clustered segment, mapped from disk. All arrays are read-only views.

    Attributes:
        record: what the catalog says of it.
        codebook: shared with other segments.
        passages: the arrays that the kernels search.
        offsets: (n_passages + 1) int64: passage i owns the tokens offsets[i]:offsets[i + 1].
        numbers: (n_passages) int64 ascending document numbers.
        spans: (n_passages, 2) uint32 characters of the document's text.
    """

    record: SegmentRecord
    codebook: OpenCodebook
    passages: clustered.CodedPassages
    offsets: Int64
    numbers: Int64
    spans: npt.NDArray[np.uint32]
    files: tuple[MappedArray, ...]

    def score(
        self, query: Float32, selection: Int64 | None = None, threads: int | None = None
    ) -> Float32:
        """MaxSim of the selected passages, of all where None: (n) float32."""
        n = len(self.numbers) if selection is None else len(selection)
        scores = np.zeros(n, dtype=np.float32)
        for first in range(0, len(query), LONGEST_QUERY):
            part = query[first : first + LONGEST_QUERY]
            try:
                scores += clustered.score(self.passages, part, selection, threads=threads)
            except CorruptionError as error:
                raise CorruptionError(f"{self.files[0].path.parent}: {error}") from error
        return scores

    def vectors(self, row: int) -> tuple[npt.NDArray[Any], Float32 | None]:
        """A passage's (n_tokens, dim) int8 values and what each row is multiplied by."""
        start, stop = int(self.offsets[row]), int(self.offsets[row + 1])
        if not 0 <= start < stop <= self.record.tokens:
            raise CorruptionError(
                f"{self.files[2].path}: passage {row} has the vectors {start}:{stop} of "
                f"{self.record.tokens}"
            )
        rows, scales = self.codebook.coder.decode(
            self.passages.codes[start:stop], self.passages.residuals[start:stop], 1
        )
        return np.ascontiguousarray(rows[:, : self.record.dim]), scales

    def passages_of(self, number: int) -> slice:
        """The run of passages of a document; empty where the segment has none of it."""
        first = int(np.searchsorted(self.numbers, number, side="left"))
        last = int(np.searchsorted(self.numbers, number, side="right"))
        return slice(first, last)

    def span(self, row: int) -> tuple[int, int]:
        """Half-open character positions of a passage in its document."""
        start, end = self.spans[row].tolist()
        return start, end

    def verify_structure(self) -> None:
        """Compare the files that a merge relies on with their checksums: all but the residuals,
        which are copied as they are, and the posting lists, which are made anew.

        Raises:
            CorruptionError: a file is damaged.
        """
        made_anew = (Component.RESIDUALS, Component.LISTS, Component.POSTINGS)
        passed_over = {part.filename for part in made_anew}
        for file in self.files:
            if file.path.name not in passed_over:
                file.verify()


def open_clustered(
    collection: Path, record: SegmentRecord, codebook: OpenCodebook
) -> ClusteredSegment:
    """Map a clustered segment and check the headers and lengths of its files.

    Raises:
        FileNotFoundError: the folder is gone (merged away since the catalog was read?).
        CorruptionError: a file is truncated, not ours or contradicts the catalog.
        VersionError: written by a newer gingham.
    """
    folder = segment_folder(collection, record.segment)
    check_folders(folder.parent, folder)
    book = codebook.coder.codebook
    if record.dim != book.dim:
        raise CorruptionError(
            f"{folder}: the catalog promises {record.dim} dimensions, its codebook has {book.dim}"
        )
    columns = {
        Component.CODES: CODE_BYTES,
        Component.RESIDUALS: book.residual_bytes,
        Component.OFFSETS: 1,
        Component.LISTS: 1,
        Component.POSTINGS: 1,
        Component.NUMBERS: 1,
        Component.SPANS: 2,
    }
    files = {part: map_array(folder, part, width) for part, width in columns.items()}
    rows = {part: file.rows for part, file in files.items()}
    expected = {
        Component.CODES: record.tokens,
        Component.RESIDUALS: record.tokens,
        Component.OFFSETS: record.passages + 1,
        Component.LISTS: len(book.centroids) + 1,
        Component.NUMBERS: record.passages,
        Component.SPANS: record.passages,
    }
    for part, length in expected.items():
        if len(rows[part]) != length:
            raise CorruptionError(
                f"{files[part].path}: {len(rows[part])} rows, the catalog promises {length}"
            )
    check_headers(folder, files.values(), record.digest)
    offsets = rows[Component.OFFSETS]
    passages = clustered.CodedPassages(
        codebook.coder,
        rows[Component.CODES],
        rows[Component.RESIDUALS],
        offsets,
        rows[Component.LISTS],
        rows[Component.POSTINGS],
    )
    return ClusteredSegment(
        record,
        codebook,
        passages,
        offsets,
        rows[Component.NUMBERS],
        rows[Component.SPANS],
        tuple(files.values()),
    )


class ClusteredWriter:
    """Appends coded passages to a new segment; `finish` makes the posting lists and renames it.

    As a context manager it throws the folder away when `finish` was not reached. Besides the codes,
    which wait in memory for the posting lists (3 bytes a token), nothing is kept.
    """

    def __init__(self, collection: Path, segment: int, codebook: OpenCodebook) -> None:
        """Create the temporary folder and its files."""
        self._final = segment_folder(collection, segment)
        self._folder = collection / SEGMENTS / f"{TEMPORARY}{segment:08d}"
        remove_folders([self._folder])
        self._folder.mkdir(parents=True)
        self._segment, self._codebook = segment, codebook
        book = codebook.coder.codebook
        self._codes = ArrayWriter(self._folder, Component.CODES, CODE_BYTES)
        self._residuals = ArrayWriter(self._folder, Component.RESIDUALS, book.residual_bytes)
        self._offsets = ArrayWriter(self._folder, Component.OFFSETS, 1)
        self._numbers = ArrayWriter(self._folder, Component.NUMBERS, 1)
        self._spans = ArrayWriter(self._folder, Component.SPANS, 2)
        self._lists = ArrayWriter(self._folder, Component.LISTS, 1)
        self._postings = ArrayWriter(self._folder, Component.POSTINGS, 1)
        self._offsets.append(np.zeros(1, dtype=np.int64))
        self._n_tokens = self._n_passages = 0
        self._kept_codes: list[UInt8] = []
        self._kept_lengths: list[Int64] = []
        self._finished = False

    def append(
        self, codes: UInt8, residuals: UInt8, lengths: Int64, numbers: Int64, spans: Int64
    ) -> None:
        """Add passages; document numbers must ascend over the whole segment.

        Args:
            codes: (n_tokens, 3) uint8.
            residuals: (n_tokens, residual_bytes) uint8.
            lengths: (n_passages) tokens of each passage, summing to n_tokens.
            numbers: (n_passages) document numbers.
            spans: (n_passages, 2) first and one-past-last character.

        Raises:
            CorruptionError: lengths and codes, copied from a damaged segment, do not agree.
        """
        if (lengths < 0).any() or lengths.sum() != len(codes):
            raise CorruptionError(f"{self._final.parent}: offsets of a segment are damaged")
        if spans.size and int(spans.max()) >= 1 << 32:
            raise InputError("a text of 2^32 characters or more cannot be stored")
        self._codes.append(codes)
        self._residuals.append(residuals)
        self._offsets.append(self._n_tokens + np.cumsum(lengths, dtype=np.int64))
        self._numbers.append(numbers)
        self._spans.append(spans.astype(np.uint32))
        self._kept_codes.append(np.array(codes))
        self._kept_lengths.append(np.array(lengths))
        self._n_tokens += len(codes)
        self._n_passages += len(numbers)

    def finish(self) -> SegmentRecord:
        """Write the posting lists, make the segment durable under its own name."""
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *self._kept_lengths])
        codes = np.concatenate([np.empty((0, CODE_BYTES), dtype=np.uint8), *self._kept_codes])
        self._kept_codes.clear()
        book = self._codebook.coder.codebook
        lists, words = postings(codes, np.cumsum(lengths), len(book.centroids))
        if len(lists) != len(book.centroids) + 1:
            raise CorruptionError(
                f"{self._final.parent}: codes of a segment are beyond their codebook"
            )
        self._lists.append(lists)
        self._postings.append(words)
        size = sum(file.finish() for file in self._files())
        write_checksums(self._folder, self._files())
        sync_folder(self._folder)
        self._folder.rename(self._final)
        sync_folder(self._final.parent)
        self._finished = True
        return SegmentRecord(
            self._segment,
            "residual",
            book.dim,
            self._n_passages,
            self._n_tokens,
            size,
            self._codebook.record.codebook,
        )

    def _files(self) -> tuple[ArrayWriter, ...]:
        return (
            self._codes,
            self._residuals,
            self._offsets,
            self._numbers,
            self._spans,
            self._lists,
            self._postings,
        )

    def __enter__(self) -> ClusteredWriter:
        """Nothing to do: the folder exists already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Throw away what was not finished."""
        if not self._finished:
            for file in self._files():
                file.abandon()
            remove_folders([self._folder])
