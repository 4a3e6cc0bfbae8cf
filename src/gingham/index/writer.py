"""The one way in: add, delete, merge, each a commit. Conducts the modules above it.

An `IndexWriter` holds the collection's lock from `__enter__` to `__exit__`. It takes vectors and
rows that are ready to store; texts are somebody else's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from gingham.codec import scalar
from gingham.codec.scalar import ScalarCodec
from gingham.document import Int64, TokenVectors
from gingham.errors import DimensionError, InputError
from gingham.index import merge as merging
from gingham.index import promotion
from gingham.index.catalog import Catalog, DocumentRow
from gingham.index.checksums import protect
from gingham.index.clustered_segment import ClusteredSegment
from gingham.index.codebook_files import CodebookRecord, open_codebook, write_codebook
from gingham.index.commit import LOCK_TIMEOUT, collect_garbage, publish, writer_lock
from gingham.index.database import Database
from gingham.index.layout import MappedArray, codebook_folder, reporting_disk, segment_folder
from gingham.index.segment_reader import FlatSegment
from gingham.index.segment_writer import DEFAULT_BITS, SegmentRecord, SegmentWriter
from gingham.index.segments import open_all
from gingham.index.space import check_space, optimize_bytes
from gingham.kernels.codebook import Bits, bits_of
from gingham.report import OptimizeProgress

_LONG_LOG = 8 << 20  # bytes
LARGEST = 65504.0  # magnitude of a component, that of half precision; token vectors are far below


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to be stored.

    Attributes:
        id: its name.
        text: the whole text, None where only vectors are known.
        metadata: a JSON object as text.
        digest: tells a changed document from an unchanged one.
        spans: character positions of each of its passages, in the order of their vectors.
    """

    id: str
    text: str | None
    metadata: str
    digest: bytes
    spans: Sequence[tuple[int, int]]


class IndexWriter:
    """A writing session of one collection."""

    def __init__(self, collection: Path, timeout: float | None = LOCK_TIMEOUT) -> None:
        """Only remembers the folder; the lock is taken by `with`, after `timeout` s at most."""
        self._collection = collection
        self._timeout = timeout
        self._stack = ExitStack()

    def __enter__(self) -> IndexWriter:
        """Take the lock, remove what a killed writer left.

        Raises:
            LockedError: another writer is at work.
        """
        with self._stack as stack:
            stack.enter_context(writer_lock(self._collection, self._timeout))
            # Opening read-only first refuses a newer or foreign catalog before anything is written.
            Database(self._collection, writable=False).close()
            self._catalog = Catalog(self._collection, writable=True)
            stack.callback(self._catalog.database.close)
            collect_garbage(self._collection, self._catalog)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the lock."""
        self._stack.__exit__(kind, error, trace)

    def log_is_long(self) -> bool:
        """Whether the catalog's write-ahead log has grown past what a commit should leave."""
        return self._catalog.database.log_bytes() > _LONG_LOG

    def checkpoint(self) -> None:
        """See `Database.checkpoint`."""
        self._catalog.database.checkpoint()

    @property
    def settings(self) -> dict[str, Any]:
        """The collection's settings as last committed."""
        return self._catalog.settings()

    def digests(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The digests of those of the ids that exist."""
        return self._catalog.digests(ids)

    def add(
        self,
        documents: Sequence[NewDocument],
        vectors: Iterable[TokenVectors],
        codec: ScalarCodec,
        settings: Mapping[str, Any] | None = None,
    ) -> SegmentRecord:
        """Store documents with their passages' vectors; durable and visible when this returns.

        Args:
            documents: with distinct ids; one that exists is replaced.
            vectors: batch by batch, one text a passage, in the documents' order.
            codec: how vectors are kept.
            settings: values to set in the same commit.

        Raises:
            DimensionError: the vectors' dimension is not the collection's.
            InputError: there is not one text a passage, or vectors are not finite.
        """
        number, segment = self._catalog.next_numbers()
        numbers = np.arange(number, number + len(documents), dtype=np.int64)
        spans = [span for document in documents for span in document.spans]
        passages = np.column_stack(
            [
                np.repeat(numbers, [len(document.spans) for document in documents]),
                np.array(spans, dtype=np.int64).reshape(-1, 2),
            ]
        )

        dim = self.settings.get("dim")
        done = 0
        with ExitStack() as stack:
            stack.enter_context(reporting_disk(self._collection))
            writer: SegmentWriter | None = None
            for batch in vectors:
                dim = batch.dim if dim is None else dim
                _check(batch, dim)
                if writer is None:
                    writer = stack.enter_context(
                        SegmentWriter(self._collection, segment, codec, dim)
                    )
                codes, scales = scalar.encode(batch.values, codec)
                rows = passages[done : done + len(batch)]
                writer.append(codes, scales, np.diff(batch.offsets), rows)
                done += len(batch)
            if writer is None or done != len(passages):
                raise InputError(f"{len(passages)} passages need as many texts, got {done}")
            record = writer.finish()
        publish(
            self._collection,
            self._catalog,
            segment=record,
            documents=[
                DocumentRow(int(n), d.id, d.text, d.metadata, d.digest)
                for n, d in zip(numbers, documents, strict=True)
            ],
            settings={
                **(settings or {}),
                "dim": dim,
                "codec": codec,
                "next_document": number + len(documents),
                "next_segment": segment + 1,
            },
        )
        self._merge(merging.plan(self._catalog.segments()))
        self._promote_if_due(at_end=False)
        return record

    def settle(self, threads: int | None = None, report: promotion.Report | None = None) -> None:
        """At the end of an `add`: code what has been added, where that is due."""
        self._promote_if_due(at_end=True, threads=threads, report=report)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete documents by id; ids that do not exist are passed over."""
        publish(self._collection, self._catalog, deleted=ids)

    def save_settings(self, settings: Mapping[str, Any]) -> None:
        """Set values, in one commit."""
        publish(self._collection, self._catalog, settings=settings)

    def optimize(
        self,
        bits: Bits | None = None,
        threads: int | None = None,
        report: promotion.Report | None = None,
    ) -> None:
        """Code what is flat, where `bits` is given or the collection is clustered or large; join
        segments of one kind and drop what was deleted.

        Raises:
            InputError: `bits` is given and a vector is not of unit length.
            CollectionError: the disk has less room than this may need, see `optimize_bytes`.
        """
        records = self._catalog.segments()
        flat = [record for record in records if record.codebook is None]
        clustered = len(flat) < len(records)
        large = clustered or promotion.due(records, at_end=True)
        will_code = bits is not None or (large and not self.settings.get("stays_flat"))
        own_bits = bits_of(self.settings.get("bits", DEFAULT_BITS) if bits is None else bits)
        needed = optimize_bytes(
            flat,
            [record for record in records if record.codebook is not None],
            self._catalog.codebooks(),
            own_bits if will_code else None,
            len(self._catalog.tombstones()),
        )
        check_space(self._collection, needed, "optimize")
        if flat and will_code:
            coded = self._promote(flat, bits, threads, report)
            if not coded and bits is not None:
                raise InputError(
                    f"{self._collection}: holds vectors that are not of unit length, which cannot "
                    "be compressed to residuals: it stays flat"
                )
        tombstones = self._catalog.tombstones()
        codebooks = {record.codebook for record in self._catalog.segments()}
        for codebook in sorted(codebooks, key=lambda number: -1 if number is None else number):
            alike = [r for r in self._catalog.segments() if r.codebook == codebook]
            largest = promotion.AT_ONCE if codebook is not None else None
            for group in _groups(alike, largest):
                if len(group) > 1 or self._has_any(group, tombstones):
                    self._merge(group, report)
        self._protect()

    def _protect(self) -> None:
        """Give folders that an older gingham wrote the checksums of their blocks."""
        known = self._catalog.checksums_digests().keys()
        records, books = self._catalog.segments(), self._catalog.codebooks()
        wanted = {segment_folder(self._collection, record.segment) for record in records}
        wanted |= {codebook_folder(self._collection, book.codebook) for book in books}
        wanted -= {self._collection / name for name in known}
        if not wanted:
            return
        lacking: dict[Path, tuple[MappedArray, ...]] = {}
        for segment in open_all(self._collection, records, books):
            parts = [segment.files]
            if isinstance(segment, ClusteredSegment):
                parts.append(segment.codebook.files)
            lacking |= {files[0].path.parent: files for files in parts}
        lacking = {folder: files for folder, files in lacking.items() if folder in wanted}
        with reporting_disk(self._collection):
            for folder, files in lacking.items():
                protect(folder, files)
        publish(self._collection, self._catalog, protected=list(lacking))

    def _has_any(self, records: Sequence[SegmentRecord], tombstones: Int64) -> bool:
        if len(tombstones) == 0:
            return False
        segments = open_all(self._collection, records, self._catalog.codebooks())
        return any(np.isin(segment.numbers, tombstones).any() for segment in segments)

    def _promote_if_due(
        self, *, at_end: bool, threads: int | None = None, report: promotion.Report | None = None
    ) -> None:
        records = self._catalog.segments()
        if promotion.due(records, at_end=at_end) and not self.settings.get("stays_flat"):
            flat = [record for record in records if record.codebook is None]
            self._promote(flat, None, threads, report)
            self._merge(merging.plan(self._catalog.segments()))

    def _promote(
        self,
        records: Sequence[SegmentRecord],
        bits: Bits | None,
        threads: int | None,
        report: promotion.Report | None,
    ) -> bool:
        """Code flat segments, as many at once as fit; False where a vector forbids it."""
        settings = self.settings
        wanted = bits_of(settings.get("bits", DEFAULT_BITS) if bits is None else bits)
        try:
            for group in _groups(records, promotion.AT_ONCE):
                self._promote_group(group, wanted, threads, report)
        except promotion.NotUnitLengthError:
            collect_garbage(self._collection, self._catalog)  # the codebook that was made for it
            publish(self._collection, self._catalog, settings={"stays_flat": True})
            return False
        return True

    def _promote_group(
        self,
        records: Sequence[SegmentRecord],
        bits: Bits,
        threads: int | None,
        report: promotion.Report | None,
    ) -> None:
        _, number = self._catalog.next_numbers()
        books = [book for book in self._catalog.codebooks() if book.bits == bits]
        everything = self._catalog.segments()
        tokens = sum(record.tokens for record in everything)
        with reporting_disk(self._collection):
            segments = open_all(self._collection, everything, self._catalog.codebooks())
            chosen = {record.segment for record in records}
            flat = [
                segment
                for segment in segments
                if isinstance(segment, FlatSegment) and segment.record.segment in chosen
            ]
            new: CodebookRecord | None = None
            if promotion.outgrown([book.tokens for book in books], tokens):
                # Numbers of codebooks are those of their first segments, so never given twice.
                trained = promotion.train(segments, bits, threads, report)
                new = write_codebook(self._collection, number, trained, tokens)
                books.append(new)
            codebook = open_codebook(self._collection, books[-1])
            record, buried = promotion.promote(
                self._collection,
                number,
                flat,
                self._catalog.tombstones(),
                codebook,
                threads,
                report,
            )
        publish(
            self._collection,
            self._catalog,
            segment=record,
            codebook=new if record is not None else None,
            merged=[record.segment for record in records],
            buried=buried.tolist(),
            settings={"next_segment": number + 1, "bits": bits, "stays_flat": False},
        )
        if record is None and new is not None:  # a codebook that nothing is coded with
            collect_garbage(self._collection, self._catalog)

    def _merge(
        self, records: Sequence[SegmentRecord], report: promotion.Report | None = None
    ) -> None:
        """Join segments of one kind and codebook, and publish the result."""
        if not records:
            return
        _, number = self._catalog.next_numbers()
        segments = open_all(self._collection, records, self._catalog.codebooks())
        if report is not None:
            tokens = sum(record.tokens for record in records)
            report(OptimizeProgress("merging", 0, tokens))
        with reporting_disk(self._collection):
            merged, buried = merging.merge(
                self._collection, number, segments, self._catalog.tombstones()
            )
        publish(
            self._collection,
            self._catalog,
            segment=merged,
            merged=[record.segment for record in records],
            buried=buried.tolist(),
            settings={"next_segment": number + 1},
        )


def _groups(records: Sequence[SegmentRecord], largest: int | None) -> Iterator[list[SegmentRecord]]:
    """Segments in order, joined up to a number of tokens; all of them where it is None."""
    group: list[SegmentRecord] = []
    tokens = 0
    for record in sorted(records, key=lambda record: record.segment):
        if group and largest is not None and tokens + record.tokens > largest:
            yield group
            group, tokens = [], 0
        group.append(record)
        tokens += record.tokens
    if group:
        yield group


def _check(batch: TokenVectors, dim: int) -> None:
    if batch.dim != dim:
        raise DimensionError(
            f"vectors have {batch.dim} dimensions, the collection {dim}: "
            "use the model that the collection was built with"
        )
    if not (np.abs(batch.values) <= LARGEST).all():
        raise InputError(
            f"vectors have components that are NaN, infinite or beyond {LARGEST:g}: token vectors "
            "are of about unit length"
        )
    if (np.diff(batch.offsets) == 0).any():
        raise InputError("a text has no token vector: nothing could ever match it")
