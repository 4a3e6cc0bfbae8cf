"""The unchanging view of a collection that searches see: its segments and its documents.

A snapshot is a read transaction of the catalog and the segments that it lists, all mapped. A writer
may add, delete and merge meanwhile: nothing of it shows until a new snapshot is taken.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gingham.document import Document, Int64
from gingham.errors import CorruptionError
from gingham.forking import renew_after_fork
from gingham.index.catalog import Catalog, Scalar
from gingham.index.clustered_segment import ClusteredSegment
from gingham.index.commit import bytes_on_disk
from gingham.index.layout import FORMAT_VERSION
from gingham.index.segment_writer import DEFAULT_BITS, SegmentRecord
from gingham.index.segments import Segment, open_all
from gingham.report import CollectionInfo

_ATTEMPTS = 4  # to find a file that is missing, while there is no commit


class Snapshot:
    """Segments and documents as of one moment. Safe to share between threads."""

    def __init__(self, collection: Path, previous: Snapshot | None = None) -> None:
        """Take a snapshot of the latest commit.

        Args:
            collection: the folder.
            previous: an older snapshot, whose segments are taken over where they still exist.

        Raises:
            CollectionNotFoundError: there is no collection.
            CorruptionError: a file is damaged.
            VersionError: written by a newer gingham.
        """
        self.collection = collection
        self._lock = threading.Lock()
        self._alive: dict[int, Int64 | None] = {}
        mapped: dict[SegmentRecord, Segment] = {}
        if previous is not None:
            mapped = {segment.record: segment for segment in previous.segments}
        same, seen = 0, None
        while True:
            catalog = Catalog(collection, writable=False)
            try:
                catalog.database.hold_snapshot()
                self.settings: dict[str, Any] = catalog.settings()
                segments = open_all(collection, catalog.segments(), catalog.codebooks(), mapped)
                self.tombstones: Int64 = catalog.tombstones()
                self.n_documents: int = catalog.count()
                break
            except (FileNotFoundError, PermissionError) as error:
                # A merge took the folder away after its catalog was read: look again, each time
                # with what could be opened. Only where there was no commit in between, a file that
                # is missing is damage. (Windows calls a folder that is being deleted a matter of
                # permission, for as long as somebody has it open.)
                catalog.database.close()
                generation = self.settings.get("generation")
                same, seen = (same + 1 if generation == seen else 0), generation
                if same == _ATTEMPTS:
                    raise CorruptionError(
                        f"{error.filename}: missing, though the catalog lists it; "
                        "restore the collection from a backup or index it again"
                    ) from error
                time.sleep(0.01 * same)
            except BaseException:
                catalog.database.close()
                raise
        self._catalog = catalog
        self.segments: tuple[Segment, ...] = segments
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock."""
        self._lock = threading.Lock()

    def alive(self, segment: Segment) -> Int64 | None:
        """Rows of the segment's passages that are not deleted, None for all."""
        number = segment.record.segment
        if number not in self._alive:
            self._alive[number] = _alive(segment.numbers, self.tombstones)
        return self._alive[number]

    def numbers_where(self, key: str, operator: str, operand: Scalar) -> Int64:
        """See `Catalog.numbers_where`."""
        with self._lock:
            return self._catalog.numbers_where(key, operator, operand)

    def number(self, id: str) -> int | None:
        """The number of a document, None where there is none of this id."""
        with self._lock:
            return self._catalog.number(id)

    def document(self, id: str) -> Document | None:
        """A document by its id."""
        with self._lock:
            return self._catalog.document(id)

    def documents(self, numbers: Iterable[int]) -> dict[int, Document]:
        """Documents by their numbers."""
        with self._lock:
            return self._catalog.documents(numbers)

    def ids(self, numbers: Iterable[int]) -> dict[int, str]:
        """Ids of documents by their numbers."""
        with self._lock:
            return self._catalog.ids(numbers)

    def passages_of(self, number: int) -> tuple[Segment, slice] | None:
        """Where a document's passages are."""
        for segment in self.segments:
            run = segment.passages_of(number)
            if run.stop > run.start:
                return segment, run
        return None

    def info(self) -> CollectionInfo:
        """Sizes and settings."""
        tokens = sum(segment.record.tokens for segment in self.segments)
        size = bytes_on_disk(self.collection)
        model = self.settings.get("model") or {}
        return CollectionInfo(
            path=str(self.collection),
            documents=self.n_documents,
            passages=sum(segment.record.passages for segment in self.segments),
            tokens=tokens,
            dim=self.settings.get("dim"),
            codec=self.settings.get("codec"),
            bits=self.settings.get("bits", DEFAULT_BITS),
            passage_length=self.settings.get("passage_length"),
            titles=self.settings.get("titles", False),
            clustered=sum(s.record.tokens for s in self.segments if s.record.codebook is not None),
            centroids=sum(
                book.centroids
                for book in {
                    s.codebook.record for s in self.segments if isinstance(s, ClusteredSegment)
                }
            ),
            parameters=self.settings.get("parameters"),
            segments=len(self.segments),
            bytes=size,
            bytes_per_token=size / tokens if tokens else 0.0,
            model=model.get("name"),
            fingerprint=model.get("fingerprint"),
            generation=self.settings.get("generation", 0),
            format_version=FORMAT_VERSION,
        )

    def __del__(self) -> None:
        """Let go of the read transaction when the last search that uses it is done.

        Not a `close` method: another thread may still be searching when its owner moves on. The
        mappings of the segments go with the last view of them.
        """
        if hasattr(self, "_catalog"):
            self._catalog.database.close()


def _alive(numbers: Int64, tombstones: Int64) -> Int64 | None:
    if len(tombstones) == 0 or len(numbers) == 0:
        return None
    low = np.searchsorted(tombstones, numbers[0], side="left")
    high = np.searchsorted(tombstones, numbers[-1], side="right")
    if low == high:
        return None
    dead = np.isin(numbers, tombstones[low:high])
    return np.flatnonzero(~dead) if dead.any() else None
