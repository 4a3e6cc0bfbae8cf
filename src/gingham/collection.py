"""A collection: the only object that holds both an encoder and an index.

`open` gives one. The way of a document: `add` → `intake` checks it → `Encoder.split` and
`Encoder.iter_documents` → `IndexWriter.add`. The way of a query: `search` →
`Encoder.encode_queries` → `searcher.search` on the current snapshot → texts from the catalog.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham import intake, wording
from gingham.codec.scalar import SCALAR_CODECS, ScalarCodec
from gingham.document import Document, Float32, TokenVectors
from gingham.encoder import Encoder
from gingham.errors import (
    CollectionError,
    CorruptionError,
    DocumentNotFoundError,
    InputError,
    ReadOnlyError,
)
from gingham.index.commit import create_collection
from gingham.index.segment_reader import Segment
from gingham.index.snapshot import Snapshot
from gingham.index.writer import IndexWriter, NewDocument
from gingham.ranking import Explanation, Hit
from gingham.recorded_model import RecordedModel
from gingham.report import CollectionInfo, Progress
from gingham.search import explanation, filters, searcher

Query = str | TokenVectors | npt.NDArray[np.floating[Any]]


def open(
    path: str | os.PathLike[str],
    encoder: Encoder | str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
    read_only: bool = False,
    codec: ScalarCodec = "int8",
) -> Collection:
    """Open a collection; create it on first use.

    Args:
        path: its directory.
        encoder: an `Encoder`, or the path or hub name of a model; the collection's own model if
            None, the bundled one for a new collection. Nothing is loaded before text is seen.
        threads: for encoding and scoring; `GINGHAM_THREADS`, else all cores, if None.
        read_only: never create or write anything.
        codec: how a new collection keeps token vectors, "int8" or "fp16".

    Raises:
        CollectionNotFoundError: `read_only`, and there is none.
        CollectionError: the path is not a collection, or damaged, or of a newer version.
        InputError: an unknown codec.
    """
    if codec not in SCALAR_CODECS:
        raise InputError(f"codec {codec!r} is unknown: use one of {', '.join(SCALAR_CODECS)}")
    folder = Path(path).expanduser()
    if not read_only:
        create_collection(folder)
    return Collection(folder, encoder, threads, read_only, codec)


class Collection:
    """Documents with their token vectors, in a directory. Made by `gingham.open`.

    What it sees is fixed when it is opened, at each of its own writes and at `refresh`: other
    writers never change the answers in between. May be shared between threads.
    """

    def __init__(
        self,
        path: Path,
        encoder: Encoder | str | os.PathLike[str] | None,
        threads: int | None,
        read_only: bool,
        codec: ScalarCodec,
    ) -> None:
        """Take a snapshot; see `gingham.open`."""
        self.path = path
        self.read_only = read_only
        self._threads = threads
        self._model = RecordedModel(path, encoder, threads)
        self._new_codec: ScalarCodec = codec
        self._held: Snapshot | None = Snapshot(path)

    # Writing ------------------------------------------------------------------------------------

    def add(
        self,
        documents: str | Document | Iterable[str | Document] | TokenVectors,
        *,
        ids: Iterable[str] | None = None,
        metadata: Iterable[Mapping[str, Any]] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> int:
        """Add documents; one whose id exists is replaced, an unchanged one is left as it is.

        Works in bounded memory over any iterator and commits every few seconds: after a kill, the
        same call continues where it was. An error in a document leaves the commits before it.

        Args:
            documents: texts, `Document`s, or `TokenVectors` with one text a document.
            ids: one a text; a digest of the text where None. Required for vectors.
            metadata: one JSON object a text; what `where` filters look at.
            progress: called after each commit; what it is told is durable.

        Returns:
            How many documents were taken in, unchanged ones included.

        Raises:
            InputError: an id, text, vector or metadata cannot be stored.
            DimensionError: vectors of another dimension than the collection's.
            ModelMismatchError: the collection was built with another model.
            LockedError: another writer is at work.
            ReadOnlyError: opened with `read_only`.
        """
        self._require_writable()
        vectors = isinstance(documents, TokenVectors)
        taken = skipped = passages = tokens = 0
        try:
            with IndexWriter(self.path) as writer:
                for batch in (
                    intake.vector_batches(documents, ids, metadata)
                    if isinstance(documents, TokenVectors)
                    else intake.text_batches(documents, ids, metadata, self._encode)
                ):
                    stored = writer.digests([document.id for document in batch.documents])
                    fresh = [d for d in batch.documents if stored.get(d.id) != d.digest]
                    if fresh:
                        settings = writer.settings
                        model = {} if vectors else self._model.record(settings)
                        fresh, batches = batch.encode(fresh)
                        codec = settings.get("codec", self._new_codec)
                        record = writer.add(fresh, batches, codec, model)
                        self._follow(writer)
                        passages += record.passages
                        tokens += record.tokens
                    taken += batch.taken
                    skipped += len(batch.documents) - len(fresh)
                    if progress is not None:
                        progress(Progress(taken, skipped, passages, tokens))
        finally:
            self.refresh()
        return taken

    def _follow(self, writer: IndexWriter) -> None:
        """See the commit just made.

        A snapshot that is held keeps the catalog's log from being emptied; in a long `add` that
        would be our own. Taken once more after the log was copied, it needs the log no longer.
        """
        self.refresh()
        if writer.log_is_long():
            writer.checkpoint()
            self.refresh()

    def delete(self, ids: str | Iterable[str], *, missing_ok: bool = False) -> int:
        """Delete documents by id, all or, where one is missing, none.

        Args:
            ids: one id or several.
            missing_ok: pass over ids that do not exist.

        Returns:
            How many documents were deleted.

        Raises:
            DocumentNotFoundError: an id does not exist.
            LockedError: another writer is at work.
            ReadOnlyError: opened with `read_only`.
        """
        self._require_writable()
        wanted = list(dict.fromkeys([ids] if isinstance(ids, str) else ids))
        for id in wanted:
            intake.check_id(id)
        with IndexWriter(self.path) as writer:
            missing = sorted(set(wanted) - writer.digests(wanted).keys())
            if missing and not missing_ok:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise DocumentNotFoundError(
                    f"no document {missing[0]!r}{more} in {self.path}: nothing was deleted"
                )
            deleted = writer.delete(wanted)
        self.refresh()
        return deleted

    def optimize(self) -> None:
        """Join all segments into one and give back the space of deleted documents.

        Raises:
            LockedError: another writer is at work.
            ReadOnlyError: opened with `read_only`.
        """
        self._require_writable()
        with IndexWriter(self.path) as writer:
            writer.optimize()
        self.refresh()

    # Reading ------------------------------------------------------------------------------------

    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        group: bool = True,
    ) -> list[Hit]:
        """The k best passages for a query, best first.

        Always k hits where k documents are eligible.

        Args:
            query: a text, or its (n_query, dim) vectors.
            k: how many hits.
            where: a condition on metadata, see `gingham.search.filters`.
            exact: score every passage. Flat segments, the only kind so far, always are.
            group: each document once, with its best passage; else every passage on its own.

        Raises:
            EmptyInputError: a blank query.
            FilterError: `where` cannot be understood.
            DimensionError: the query's vectors have another dimension than the collection's.
            ModelMismatchError: the collection was built with another model.
        """
        return self._search(self._one_query(query), k, where, group)[0]

    def search_many(
        self,
        queries: Sequence[str] | TokenVectors,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        group: bool = True,
    ) -> list[list[Hit]]:
        """`search` for several queries, encoded together; the hits of each, in order."""
        if isinstance(queries, str):
            raise InputError("search_many takes a list of queries: use search for one")
        return self._search(self._query_vectors(queries), k, where, group)

    def explain(self, query: Query, id: str) -> Explanation:
        """Which token of a document's best passage answers each token of the query.

        Raises:
            DocumentNotFoundError: no document has this id.
        """
        snapshot, segment, run = self._passages(id)
        vectors = self._one_query(query)[0]
        row = explanation.best_passage(vectors, segment, run)
        return self._explain(snapshot, query, vectors, id, segment, row)

    def explain_hit(self, query: Query, hit: Hit) -> Explanation:
        """`explain` for the very passage of a hit.

        Raises:
            DocumentNotFoundError: the document has changed since and has no such passage.
        """
        snapshot, segment, run = self._passages(hit.id)
        for row in range(run.start, run.stop):
            if segment.span(row) == hit.span:
                vectors = self._one_query(query)[0]
                return self._explain(snapshot, query, vectors, hit.id, segment, row)
        raise DocumentNotFoundError(f"document {hit.id!r} has no passage {hit.span} any more")

    def get(self, id: str) -> Document:
        """A document by its id.

        Raises:
            DocumentNotFoundError: no document has this id.
        """
        document = self._snapshot.document(intake.check_id(id))
        if document is None:
            raise DocumentNotFoundError(f"no document {id!r} in {self.path}")
        return document

    def info(self) -> CollectionInfo:
        """Sizes and settings, of the snapshot that this collection sees."""
        return self._snapshot.info()

    def verify(self) -> None:
        """Read every byte of every segment and compare with its checksum.

        Raises:
            CorruptionError: a file is damaged.
        """
        for segment in self._snapshot.segments:
            segment.verify()

    def refresh(self) -> None:
        """See what other writers have committed since."""
        if self._held is not None:
            self._held = Snapshot(self.path)

    def close(self) -> None:
        """Let go of the snapshot; every write was durable when it returned."""
        self._held = None

    def __len__(self) -> int:
        """Documents."""
        return self._snapshot.n_documents

    def __contains__(self, id: object) -> bool:
        """Whether a document has this id."""
        return isinstance(id, str) and self._snapshot.number(id) is not None

    def __enter__(self) -> Collection:
        """A collection is open from the start."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Path and size."""
        size = f"{len(self)} documents" if self._held is not None else "closed"
        return f"Collection({str(self.path)!r}, {size})"

    # --------------------------------------------------------------------------------------------

    @property
    def _snapshot(self) -> Snapshot:
        if self._held is None:
            raise CollectionError(f"{self.path}: this collection was closed; open it again")
        return self._held

    def _require_writable(self) -> None:
        _ = self._snapshot
        if self.read_only:
            raise ReadOnlyError(f"{self.path} was opened with read_only=True: open it without")

    def _encode(self, fresh: list[NewDocument]) -> tuple[list[NewDocument], Iterable[TokenVectors]]:
        encoder = self._model.encoder(self._snapshot.settings)
        split = [replace(d, spans=encoder.split(d.text or "")) for d in fresh]
        passages = ((d.text or "")[start:end] for d in split for start, end in d.spans)
        return split, encoder.iter_documents(passages)

    def _query_vectors(self, queries: Query | Sequence[str]) -> TokenVectors:
        settings = self._snapshot.settings
        return intake.query_vectors(
            queries,
            settings.get("dim"),
            lambda texts: self._model.encode_queries(settings, texts),
        )

    def _one_query(self, query: Query) -> TokenVectors:
        vectors = self._query_vectors(query)
        if len(vectors) != 1:
            raise InputError(f"one query is asked at a time, got {len(vectors)}: use search_many")
        return vectors

    def _search(
        self, queries: TokenVectors, k: int, where: Mapping[str, Any] | None, group: bool
    ) -> list[list[Hit]]:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise InputError(f"k is how many hits, a whole number of at least 1; got {k!r}")
        condition = None if where is None else filters.parse(where)
        snapshot = self._snapshot
        return [
            _hits(
                snapshot,
                searcher.search(
                    snapshot,
                    query,
                    int(k),
                    condition=condition,
                    group=group,
                    threads=self._threads,
                ),
            )
            for query in queries
        ]

    def _passages(self, id: str) -> tuple[Snapshot, Segment, slice]:
        snapshot = self._snapshot
        number = snapshot.number(intake.check_id(id))
        place = None if number is None else snapshot.passages_of(number)
        if place is None:
            raise DocumentNotFoundError(f"no document {id!r} in {self.path}")
        return snapshot, *place

    def _explain(
        self,
        snapshot: Snapshot,
        query: Query,
        vectors: Float32,
        id: str,
        segment: Segment,
        row: int,
    ) -> Explanation:
        document = snapshot.document(id)
        text = None if document is None else document.text
        asked = query if isinstance(query, str) else None
        known = asked is not None or text is not None
        return wording.explain(
            self._model.encoder_if_known(snapshot.settings) if known else None,
            id,
            asked,
            text,
            segment.span(row),
            explanation.align(vectors, segment, row),
        )


def _hits(snapshot: Snapshot, found: Sequence[searcher.Found]) -> list[Hit]:
    documents = snapshot.documents({item.number for item in found})
    hits = []
    for item in found:
        document = documents.get(item.number)
        if document is None:
            raise CorruptionError(
                f"{snapshot.collection}: document {item.number} has passages but no entry in the "
                "catalog; restore the collection from a backup or index it again"
            )
        text = None if document.text is None else document.text[slice(*item.span)]
        hits.append(Hit(document.id, item.score, text, item.span, document.metadata))
    return hits
