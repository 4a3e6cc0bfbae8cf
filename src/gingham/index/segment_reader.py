"""Opens a segment: maps its files, checks them, lends views. Never writes, never scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham import kernels
from gingham.document import Float32, Int64
from gingham.errors import CorruptionError
from gingham.index.layout import (
    Component,
    MappedArray,
    check_folders,
    check_headers,
    map_array,
    segment_folder,
)
from gingham.index.segment_writer import VECTORS, SegmentRecord


@dataclass(frozen=True, slots=True, eq=False)
class FlatSegment:
    """A flat segment, mapped from disk. All arrays are read-only views.

    Attributes:
        record: what the catalog says of it.
        codes: (n_tokens, dim) int8 or float16.
        scales: (n_tokens) float32 for int8, None for fp16.
        offsets: (n_passages + 1) int64: passage i owns rows offsets[i]:offsets[i + 1].
        numbers: (n_passages) int64 ascending document numbers.
        spans: (n_passages, 2) int64 characters of the document's text.
    """

    record: SegmentRecord
    codes: npt.NDArray[Any]
    scales: Float32 | None
    offsets: Int64
    numbers: Int64
    spans: Int64
    files: tuple[MappedArray, ...]

    def score(
        self, query: Float32, selection: Int64 | None = None, threads: int | None = None
    ) -> Float32:
        """MaxSim of the selected passages, of all where None: (n) float32."""
        return kernels.score(
            query,
            self.codes,
            self.offsets,
            scales=self.scales,
            selection=selection,
            threads=threads,
        )

    def vectors(self, row: int) -> tuple[npt.NDArray[Any], Float32 | None]:
        """A passage's (n_tokens, dim) values and, for int8, what each row is multiplied by."""
        tokens = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        if tokens.start == tokens.stop:
            raise CorruptionError(f"{self.files[0].path.parent}: passage {row} has no vectors")
        return self.codes[tokens], None if self.scales is None else self.scales[tokens]

    def passages_of(self, number: int) -> slice:
        """The run of passages of a document; empty where the segment has none of it."""
        first = int(np.searchsorted(self.numbers, number, side="left"))
        last = int(np.searchsorted(self.numbers, number, side="right"))
        return slice(first, last)

    def span(self, row: int) -> tuple[int, int]:
        """Half-open character positions of a passage in its document."""
        start, end = self.spans[row].tolist()
        return start, end


def open_flat(collection: Path, record: SegmentRecord) -> FlatSegment:
    """Map a segment and check all that the kernels rely on.

    The offsets and passages are read and verified whole, since a wrong offset would be a read
    outside the file; the vectors, which may be gigabytes, are only checked for their length
    (a check reads them).

    Raises:
        FileNotFoundError: the folder is gone (merged away since the catalog was read?).
        CorruptionError: a file is truncated, damaged or contradicts the catalog.
        VersionError: written by a newer gingham.
    """
    folder = segment_folder(collection, record.segment)
    check_folders(folder.parent, folder)
    vectors = map_array(folder, VECTORS[record.codec], record.dim)
    scales = map_array(folder, Component.SCALES, 1) if record.codec == "int8" else None
    offsets = map_array(folder, Component.OFFSETS, 1)
    passages = map_array(folder, Component.PASSAGES, 3)
    offsets.verify()
    passages.verify()

    lengths_agree = (
        len(vectors.rows) == record.tokens
        and (scales is None or len(scales.rows) == record.tokens)
        and len(offsets.rows) == record.passages + 1
        and len(passages.rows) == record.passages
    )
    if not lengths_agree:
        raise CorruptionError(
            f"{folder}: the catalog promises {record.passages} passages and {record.tokens} "
            f"tokens, the files hold {len(passages.rows)} and {len(vectors.rows)}"
        )
    descends = (offsets.rows[1:] < offsets.rows[:-1]).any()  # a difference could overflow
    if offsets.rows[0] != 0 or offsets.rows[-1] != record.tokens or descends:
        raise CorruptionError(f"{offsets.path}: offsets do not ascend from 0 to {record.tokens}")
    numbers = np.ascontiguousarray(passages.rows[:, 0])
    if (numbers[1:] < numbers[:-1]).any():
        raise CorruptionError(f"{passages.path}: document numbers do not ascend")
    files = tuple(file for file in (vectors, scales, offsets, passages) if file is not None)
    check_headers(folder, files, record.digest)
    return FlatSegment(
        record,
        vectors.rows,
        None if scales is None else scales.rows,
        offsets.rows,
        numbers,
        passages.rows[:, 1:],
        files,
    )
