"""Codes in, one immutable flat segment folder out.

A segment is written under a temporary name, made durable, then renamed: a folder with a segment's
name is always whole. Publishing it in the catalog is not this module's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gingham.codec.scalar import ScalarCodec
from gingham.document import Float32, Int64
from gingham.index.checksums import write_checksums
from gingham.index.layout import (
    SEGMENTS,
    TEMPORARY,
    ArrayWriter,
    Component,
    remove_folders,
    segment_folder,
    sync_folder,
)
from gingham.kernels.codebook import Bits

SegmentCodec = ScalarCodec | Literal["residual"]

DEFAULT_BITS: Bits = 4

VECTORS: dict[str, Component] = {
    "int8": Component.VECTORS_INT8,
    "fp16": Component.VECTORS_FP16,
}


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """What the catalog keeps about a segment.

    Attributes:
        segment: its number.
        codec: "int8" or "fp16" for a flat segment, "residual" for a clustered one.
        dim: dimensions of the vectors.
        passages: stored passages.
        tokens: stored token vectors.
        bytes: of all its files but the checksums of their blocks.
        codebook: number of the codebook of a clustered segment, None for a flat one.
        digest: of the headers of its files; None where the catalog has none.
    """

    segment: int
    codec: SegmentCodec
    dim: int
    passages: int
    tokens: int
    bytes: int
    codebook: int | None = None
    digest: str | None = None


class SegmentWriter:
    """Appends passages to a new segment; `finish` renames it into place.

    As a context manager it throws the folder away when `finish` was not reached.
    """

    def __init__(self, collection: Path, segment: int, codec: ScalarCodec, dim: int) -> None:
        """Create the temporary folder and its files."""
        self._final = segment_folder(collection, segment)
        self._folder = collection / SEGMENTS / f"{TEMPORARY}{segment:08d}"
        remove_folders([self._folder])  # what a killed writer left under the same number
        self._folder.mkdir(parents=True)
        self._segment, self._codec, self._dim = segment, codec, dim
        self._vectors = ArrayWriter(self._folder, VECTORS[codec], dim)
        self._scales = ArrayWriter(self._folder, Component.SCALES, 1) if codec == "int8" else None
        self._offsets = ArrayWriter(self._folder, Component.OFFSETS, 1)
        self._passages = ArrayWriter(self._folder, Component.PASSAGES, 3)
        self._offsets.append(np.zeros(1, dtype=np.int64))
        self._n_tokens = 0
        self._n_passages = 0
        self._finished = False

    def append(
        self,
        codes: npt.NDArray[Any],
        scales: Float32 | None,
        lengths: Int64,
        passages: Int64,
    ) -> None:
        """Add passages; document numbers must ascend over the whole segment.

        Args:
            codes: (n_tokens, dim) in the segment's codec.
            scales: (n_tokens) float32 for int8, None for fp16.
            lengths: (n_passages) tokens of each passage, summing to n_tokens.
            passages: (n_passages, 3) document number, first and one-past-last character.
        """
        self._vectors.append(codes)
        if self._scales is not None and scales is not None:
            self._scales.append(scales)
        self._offsets.append(self._n_tokens + np.cumsum(lengths, dtype=np.int64))
        self._passages.append(passages)
        self._n_tokens += len(codes)
        self._n_passages += len(passages)

    def finish(self) -> SegmentRecord:
        """Make the segment durable under its own name."""
        files = [self._vectors, self._offsets, self._passages]
        if self._scales is not None:
            files.append(self._scales)
        size = sum(file.finish() for file in files)
        write_checksums(self._folder, files)
        sync_folder(self._folder)
        # Refuses to replace: what a killed writer left under this number is gone by now.
        self._folder.rename(self._final)
        sync_folder(self._final.parent)
        self._finished = True
        return SegmentRecord(
            self._segment, self._codec, self._dim, self._n_passages, self._n_tokens, size
        )

    def __enter__(self) -> SegmentWriter:
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
            for file in (self._vectors, self._scales, self._offsets, self._passages):
                if file is not None:
                    file.abandon()
            remove_folders([self._folder])
