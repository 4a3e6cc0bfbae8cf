"""A collection: the only object that holds both an encoder and an index.

`open` gives one. The way of a document: `add` → `intake` checks it → `Encoder.split` and
`Encoder.iter_documents` → `IndexWriter.add`. The way of a query: `search` →
`Encoder.encode_queries` → `searcher.search` on the current snapshot → texts from the catalog.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from gingham import adding, explaining, hits, intake, splitting
from gingham.audit import auditing
from gingham.audit.values import Audit
from gingham.codec.scalar import SCALAR_CODECS, ScalarCodec
from gingham.document import Document, TokenVectors
from gingham.encoder import Encoder
from gingham.errors import DocumentNotFoundError, InputError, shown
from gingham.index.commit import LOCK_TIMEOUT, create_collection
from gingham.index.handle import IndexHandle, check_timeout
from gingham.index.segment_writer import DEFAULT_BITS
from gingham.index.snapshot import Snapshot
from gingham.kernels.codebook import bits_of
from gingham.ranking import Explanation, Hit
from gingham.recorded_model import Query, RecordedModel
from gingham.report import AuditProgress, CollectionInfo, OptimizeProgress, Progress
from gingham.search.parameters import SearchParameters
from gingham.upkeep import backing_up, checking
from gingham.upkeep.values import Backup, Check, UpkeepProgress


def open(
    path: str | os.PathLike[str],
    encoder: Encoder | str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
    read_only: bool = False,
    codec: ScalarCodec = "int8",
    bits: int | None = DEFAULT_BITS,
    passage_length: int | None = splitting.PASSAGE_LENGTH,
    titles: bool = True,
    timeout: float | None = LOCK_TIMEOUT,
) -> Collection:
    """Open a collection; create it on first use.

    Args:
        path: its directory.
        encoder: an `Encoder`, or the path or hub name of a model; if None the collection's own, the
            bundled one for a new one. Nothing is loaded before text is seen.
        threads: for encoding and scoring; `GINGHAM_THREADS`, else all cores, if None.
        read_only: never create or change anything but SQLite's own -wal and -shm files.
        codec: how a new collection keeps token vectors, "int8" or "fp16".
        bits: of a residual, a dimension, when it has grown large and is compressed: 1, 2, 4 or 8;
            None to score every passage however many there are.
        passage_length: most tokens of a passage that long texts are split into, in a new
            collection, 32 or more; where None, or where it takes less, what the model takes.
        titles: in a new collection, encode the title of a long text in front of each of its
            passages; see `Encoder.passage_texts`.
        timeout: seconds that a write waits for another writer to finish; None for as long as it
            takes.

    Raises:
        CollectionNotFoundError: `read_only`, and there is none.
        CollectionError: the path is not a collection, or damaged, or of a newer version.
        InputError: an unknown codec, other bits, lengths or timeouts.
    """
    if codec not in SCALAR_CODECS:
        raise InputError(f"codec {codec!r} is unknown: use one of {', '.join(SCALAR_CODECS)}")
    if "\0" in os.fspath(path):
        raise InputError(f"a path cannot hold a NUL character: {os.fspath(path)!r}")
    folder = Path(path).expanduser()
    patience = check_timeout(timeout)
    keeping: dict[str, Any] = {"stays_flat": True} if bits is None else {"bits": bits_of(bits)}
    keeping |= {"codec": codec, **splitting.to_record(passage_length, titles)}
    if not read_only:
        create_collection(folder, patience)
    return Collection(folder, encoder, threads, read_only, keeping, patience)


class Collection:
    """Documents with their token vectors, in a directory. Made by `gingham.open`.

    What it sees is fixed when it is opened, at each of its own commits and at `refresh`: other
    writers never change the answers in between. May be shared between threads: searches run side
    by side, writes one after the other. Works in forked children; pickled it is its path.
    """

    def __init__(
        self,
        path: Path,
        encoder: Encoder | str | os.PathLike[str] | None,
        threads: int | None,
        read_only: bool,
        keeping: Mapping[str, Any],
        timeout: float | None,
    ) -> None:
        """Take a snapshot; see `gingham.open`."""
        self.path = path
        self.read_only = read_only
        self._threads = threads
        self._model = RecordedModel(path, encoder, threads)
        self._keeping = keeping  # settings of a collection that has none yet
        self._index = IndexHandle(path, read_only=read_only, timeout=timeout)

    def __getstate__(self) -> dict[str, Any]:
        """Its path and how it was opened, no data: where it is loaded, it is opened again."""
        return {**self.__dict__, "path": self.path.absolute()}

    # Writing ------------------------------------------------------------------------------------

    def add(
        self,
        documents: str | Document | Iterable[str | Document] | TokenVectors,
        *,
        ids: Iterable[str] | None = None,
        metadata: Iterable[Mapping[str, Any]] | None = None,
        progress: Callable[[Progress], None] | None = None,
        coding: Callable[[OptimizeProgress], None] | None = None,
    ) -> int:
        """Add documents; one whose id exists is replaced, an unchanged one is left as it is.

        Works in bounded memory and commits every few seconds: killed, the same call continues where
        it was. An error in a document leaves the commits before it.

        Args:
            documents: texts, `Document`s, or `TokenVectors` with one text a document.
            ids: one a text; a digest of the text where None. Required for vectors.
            metadata: one JSON object a text; what `where` filters look at.
            progress: called after each commit; what it is told is durable.
            coding: told, once all is stored, how far the compression of a large collection is.

        Returns:
            How many documents were taken in, unchanged ones included.

        Raises:
            InputError: an id, text, vector or metadata cannot be stored.
            DimensionError: vectors of another dimension than the collection's.
            ModelMismatchError: the collection was built with another model.
            LockedError: another writer is at work.
            ReadOnlyError: opened with `read_only`.
        """
        return adding.add(
            self._index,
            self._model,
            self._keeping,
            documents,
            ids,
            metadata,
            self._threads,
            progress,
            coding,
        )

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
        wanted = list(dict.fromkeys([ids] if isinstance(ids, str) else ids))
        for id in wanted:
            intake.check_id(id)
        with self._index.writer() as writer:
            there = writer.digests(wanted).keys()
            missing = sorted(set(wanted) - there)
            if missing and not missing_ok:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise DocumentNotFoundError(
                    f"no document {shown(missing[0])}{more} in {self.path}: nothing was deleted"
                )
            if there:
                writer.delete(there)
                self._index.follow(writer)
        return len(there)

    def optimize(
        self,
        *,
        bits: int | None = None,
        progress: Callable[[OptimizeProgress], None] | None = None,
    ) -> None:
        """Join segments, compress what is large, give back the space of deleted documents.

        Vectors of a collection of some 10,000 passages or more are compressed to a centroid and a
        residual, which `add` does by itself at its end. Killed, it leaves what was there.

        Args:
            bits: of a residual, a dimension: 1, 2, 4 or 8; the collection's own where None. Given,
                it compresses a small collection too. What is compressed already stays as it is.
            progress: told how far it has come.

        Raises:
            InputError: other bits, or vectors that are not of unit length, which cannot be
                compressed.
            CollectionError: the disk has no room for what this writes beside what is there.
            LockedError: another writer is at work.
            ReadOnlyError: opened with `read_only`.
        """
        wanted = None if bits is None else bits_of(bits)
        with self._index.writer() as writer:
            writer.optimize(wanted, self._threads, progress)
            self._index.follow(writer)

    # Reading ------------------------------------------------------------------------------------

    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        ids: Iterable[str] | None = None,
        exact: bool = False,
        parameters: SearchParameters | None = None,
        group: bool = True,
        texts: bool = True,
    ) -> list[Hit]:
        """The k best passages for a query, best first; k hits where k documents are eligible.

        Args:
            query: a text, or its (n_query, dim) vectors.
            k: how many hits.
            where: a condition on metadata, see `gingham.search.filters`.
            ids: rank these documents only: the candidates of another search engine, say.
            exact: score every passage, as stored. Collections that are not compressed always do.
            parameters: how thoroughly compressed passages are searched; where None the collection's
                own (see `audit`), else the defaults for k and its size.
            group: each document once, with its best passage; else every passage on its own.
            texts: fill in texts and metadata; without, deep rankings take a fraction of the time.

        Raises:
            EmptyInputError: a blank query.
            FilterError: `where` cannot be understood.
            DocumentNotFoundError: one of `ids` does not exist.
            DimensionError: the query's vectors have another dimension than the collection's.
            ModelMismatchError: the collection was built with another model.
        """
        snapshot = self._snapshot
        vectors = self._model.one_query(snapshot.settings, query)
        return hits.search(
            snapshot, vectors, k, where, ids, exact, parameters, group, texts, self._threads
        )[0]

    def search_many(
        self,
        queries: Sequence[str] | TokenVectors,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        ids: Iterable[str] | None = None,
        exact: bool = False,
        parameters: SearchParameters | None = None,
        group: bool = True,
        texts: bool = True,
    ) -> list[list[Hit]]:
        """`search` for several queries, encoded together; the hits of each, in order."""
        if isinstance(queries, str):
            raise InputError("search_many takes a list of queries: use search for one")
        snapshot = self._snapshot
        vectors = self._model.query_vectors(snapshot.settings, queries)
        return hits.search(
            snapshot, vectors, k, where, ids, exact, parameters, group, texts, self._threads
        )

    def explain(self, query: Query, id: str) -> Explanation:
        """Which token of a document's best passage answers each token of the query.

        Raises:
            DocumentNotFoundError: no document has this id.
        """
        return explaining.explain(self._snapshot, self._model, query, intake.check_id(id))

    def explain_hit(self, query: Query, hit: Hit) -> Explanation:
        """`explain` for the passage of a hit: the one with its id and span, as it is now.

        Raises:
            DocumentNotFoundError: the document has changed since and has no such passage.
        """
        return explaining.explain(
            self._snapshot, self._model, query, intake.check_id(hit.id), hit.span
        )

    def get(self, id: str) -> Document:
        """A document by its id.

        Raises:
            DocumentNotFoundError: no document has this id.
        """
        document = self._snapshot.document(intake.check_id(id))
        if document is None:
            raise DocumentNotFoundError(f"no document {shown(id)} in {self.path}")
        return document

    @property
    def encoder(self) -> Encoder:
        """The model that queries and documents are encoded with; loaded when first asked for.

        Raises:
            ModelError: it cannot be loaded.
            ModelMismatchError: the collection was built with another.
            InputError: the collection's vectors were made elsewhere, nobody says by which model.
        """
        return self._model.encoder(self._snapshot.settings)

    def audit(
        self,
        queries: Sequence[str] | TokenVectors | None = None,
        k: int = 10,
        target: float | None = None,
        *,
        sample: int = 200,
        seed: int = 0,
        save: bool = False,
        progress: Callable[[AuditProgress], None] | None = None,
    ) -> Audit:
        """Measure what the search of compressed passages misses, and what missing less would cost.

        Recall is against scoring every passage as stored, over queries, with 95 % intervals; times
        are those of one thread. Other settings are tried too: the curve of recall against time.

        Args:
            queries: texts or vectors, best of real users: recall depends on them. None to make some
                from stored passages.
            k: hits a query that recall is of.
            target: the recall to find the fastest parameters for.
            sample: at most so many queries, drawn from those that are given.
            seed: of all that is drawn; times alone differ from run to run.
            save: keep parameters that reach the target as the collection's own: `search` uses them
                then, whatever k, unless it is given others.
            progress: told how far it has come.

        Raises:
            InputError: an argument is out of range, or there is nothing to measure.
            ModelError: the model that the queries need cannot be loaded.
            LockedError: `save`, and another writer is at work.
            ReadOnlyError: `save`, and opened with `read_only`.
        """
        if save:
            with self._index.writer():
                pass  # who cannot write should hear of it before the work
        keep = self._save_parameters if save else None
        snapshot, threads = self._snapshot, self._threads
        return auditing.audit(
            snapshot, self._model, queries, k, target, sample, seed, keep, threads, progress
        )

    def info(self) -> CollectionInfo:
        """Sizes and settings, of the snapshot that this collection sees."""
        return self._snapshot.info()

    def check(self, *, progress: Callable[[UpkeepProgress], None] | None = None) -> Check:
        """Read all of the latest commit, compare it with checksums and each part with the others.

        `gingham.check` does the same for what cannot be opened, `gingham.repair` mends it.
        """
        return checking.check(self.path, progress=progress)

    def verify(self) -> None:
        """`check`, as an error where something is damaged.

        Raises:
            CorruptionError: the message names the first thing that was found.
        """
        checking.verify(self.path)

    def backup(
        self,
        target: str | os.PathLike[str],
        *,
        link: bool = True,
        progress: Callable[[UpkeepProgress], None] | None = None,
    ) -> Backup:
        """Copy the latest commit to where nothing is yet, while writers may be at work.

        The copy is a collection like any other. It is read whole and compared with its checksums
        before it appears; killed, it leaves a folder `.NAME.partial` that the next one removes.

        Args:
            target: where the backup will be; its parent folder must exist.
            link: share the files of segments, which never change, where the file system can: that
                takes no time and no space, but a defect of the disk is then one of the backup too.
            progress: told how far it has come.

        Raises:
            CollectionError: there is something at the target, or no room.
            CorruptionError: the collection is damaged: see `check`.
        """
        return backing_up.backup(self.path, target, link=link, progress=progress)

    def refresh(self) -> None:
        """See what other writers have committed since."""
        self._index.refresh()

    def close(self) -> None:
        """Let go of the snapshot; every write was durable when it returned."""
        self._index.close()

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
        size = f"{len(self)} documents" if self._index.is_open else "closed"
        return f"Collection({str(self.path)!r}, {size})"

    @property
    def _snapshot(self) -> Snapshot:
        return self._index.snapshot

    def _save_parameters(self, parameters: SearchParameters) -> None:
        with self._index.writer() as writer:
            writer.save_settings({"parameters": asdict(parameters)})
            self._index.follow(writer)
