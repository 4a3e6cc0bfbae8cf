"""gingham as a system: a collection of the dataset's documents, cached, built once, resumed.

`LateInteraction` searches as a user would. With `exact` it is the yardstick: every passage scored
over vectors kept as fp16, so that neither codec nor candidate generation can lose anything.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gingham import collection as collections
from gingham.codec.scalar import ScalarCodec
from gingham.collection import Collection
from gingham.document import Float32
from gingham.encoder import Encoder
from gingham.errors import (
    CollectionError,
    CollectionNotFoundError,
    CorruptionError,
    InputError,
    VersionError,
)
from gingham.evaluation.build_lock import build_lock
from gingham.evaluation.build_record import BuildRecord
from gingham.evaluation.costs import IndexCost, PeakMemory
from gingham.evaluation.run import Ranking
from gingham.evaluation.systems import Explained, Job, Opening
from gingham.ranking import Hit
from gingham.report import Progress
from gingham.splitting import PASSAGE_LENGTH

# Queries that are encoded and answered together where nothing is timed.
_BATCH = 64
# The least similarity of a word that is highlighted.
_MATCH = 0.6


@dataclass(frozen=True, slots=True)
class LateInteraction:
    """gingham, with an index of its own or on a collection that is there.

    Attributes:
        model: a folder or hub name; None is the bundled model, or the collection's own.
        collection: search this collection, whose ids are the dataset's, instead of a cached one.
        exact: exhaustive MaxSim over fp16 vectors, with a cached index of its own.
        label: what tables call it, so that several can be compared; None says what it is.
        precision: of the model; see `Encoder`.
    """

    model: str | os.PathLike[str] | None = None
    collection: str | os.PathLike[str] | None = None
    exact: bool = False
    label: str | None = None
    precision: Literal["auto", "fp32", "int8"] = "auto"

    @property
    def name(self) -> str:
        """The label, else which of the two it is."""
        return self.label or ("exact MaxSim" if self.exact else "gingham")

    def check(self, job: Job) -> None:
        """There must be documents, or a collection that has them, and a model.

        Raises:
            InputError: the collection lacks documents of the dataset; or there are none.
            ModelError: the model cannot be loaded.
            CollectionError: the collection cannot be used.
        """
        if self.collection is not None and not self.exact:
            with collections.open(self.collection, self.model, read_only=True) as opened:
                _check_holds(opened, job)
                _ = opened.encoder
        else:
            _ = job.corpus
            self._encoder(job)

    def prepare(self, job: Job) -> PreparedCollection:
        """Open the collection, building it where it is not complete.

        Raises:
            CollectionError: the collection cannot be used.
        """
        if self.collection is not None and not self.exact:
            return self._as_it_is(job, Path(self.collection))
        with PeakMemory() as memory:
            encoder = self._encoder(job)
            codec: ScalarCodec = "fp16" if self.exact else "int8"
            path = job.folder(encoder.fingerprint[:16], f"{codec}-{PASSAGE_LENGTH}-titled.gingham")
            with _made_again(path):
                cost = _build(job, path, encoder, codec, self.name, memory)
        what = "exhaustive MaxSim over fp16 vectors" if self.exact else f"{codec} vectors"
        description = f"{_called(encoder)}, {what}"
        return PreparedCollection(path, encoder, self.exact, description, cost, cached=True)

    def _as_it_is(self, job: Job, path: Path) -> PreparedCollection:
        encoder = self._encoder(job)
        with collections.open(path, read_only=True) as opened:
            info, others = opened.info(), _others(opened, job)
        cost = IndexCost(None, None, info.documents, info.tokens, info.bytes, None)
        more = f"; holds {others:,} other document{'s' * (others > 1)} too" if others else ""
        description = f"{_called(encoder)}, {info.codec} vectors{more}"
        return PreparedCollection(path, encoder, self.exact, description, cost, cached=False)

    def _encoder(self, job: Job) -> Encoder:
        if self.model is None and self.collection is not None:
            with collections.open(self.collection, threads=job.threads, read_only=True) as opened:
                return opened.encoder
        return Encoder(self.model, threads=job.threads, precision=self.precision)


@dataclass(frozen=True, slots=True)
class PreparedCollection:
    """A collection that holds the dataset.

    Attributes:
        path: of the collection.
        encoder: of its documents.
        exact: see `LateInteraction`.
        description: what exactly it is.
        cost: of the index.
        cached: it is ours, and can be made again.
    """

    path: Path
    encoder: Encoder
    exact: bool
    description: str
    cost: IndexCost
    cached: bool
    depth: int | None = None

    @property
    def opening(self) -> Opening:
        """The same collection, with the same model."""
        arguments = {
            "path": os.fspath(self.path),
            "model": self.encoder.name,
            "precision": self.encoder.precision,
            "exact": self.exact,
        }
        return Opening("gingham.evaluation.late_interaction:open_collection", arguments)

    @contextlib.contextmanager
    def searcher(self, threads: int) -> Iterator[CollectionSearcher]:
        """Open the collection, and the model, for so many threads."""
        encoder = self.encoder
        if encoder.threads != threads:
            encoder = Encoder(encoder.name, threads=threads, precision=encoder.precision)
        made_again = self.path if self.cached else None
        with _made_again(made_again):
            opened = collections.open(self.path, encoder, threads=threads, read_only=True)
        with opened:
            yield CollectionSearcher(opened, encoder, self.exact, made_again)


@contextlib.contextmanager
def open_collection(
    path: str, model: str, precision: Literal["fp32", "int8"], exact: bool, threads: int
) -> Iterator[CollectionSearcher]:
    """Search a collection, and do nothing else; see `PreparedCollection.opening`."""
    encoder = Encoder(model, threads=threads, precision=precision)
    with collections.open(path, encoder, threads=threads, read_only=True) as opened:
        yield CollectionSearcher(opened, encoder, exact)


@dataclass(frozen=True, slots=True)
class CollectionSearcher:
    """Answers from a collection.

    Attributes:
        collection: that is searched.
        encoder: of the queries.
        exact: see `LateInteraction`.
        made_again: the folder to delete where it is damaged; None where the collection is not ours.
    """

    collection: Collection
    encoder: Encoder
    exact: bool = False
    made_again: Path | None = None

    def encode(self, query: str) -> Float32:
        """(n_query, dim) float32."""
        return self.encoder.encode_queries([query])[0]

    def search(self, encoded: Float32, k: int, ids: Sequence[str] | None = None) -> Ranking:
        """The k best documents, each by its best passage."""
        with _made_again(self.made_again):
            return _ranking(self.collection.search(encoded, k, ids=ids, exact=self.exact))

    def answer(self, queries: Sequence[str], k: int) -> Iterator[Ranking]:
        """Encoded in batches."""
        for start in range(0, len(queries), _BATCH):
            batch = queries[start : start + _BATCH]
            with _made_again(self.made_again):
                found = self.collection.search_many(batch, k, exact=self.exact, texts=False)
            yield from map(_ranking, found)

    def explain(self, query: str, id: str) -> Explained:
        """The tokens that match; repeated ones that stand for no text, as [MASK], are one."""
        with _made_again(self.made_again):
            explanation = self.collection.explain(query, id)
        shares: dict[tuple[str, str], float] = {}
        for match in explanation.matches:
            repeats = match.query_span == (0, 0)
            key = (match.query_token, "" if repeats else match.document_token)
            shares[key] = shares.get(key, 0.0) + match.score
        parts = sorted(((*key, share) for key, share in shares.items()), key=lambda part: -part[2])
        return Explained(explanation.text, tuple(parts), tuple(explanation.highlights(_MATCH)))


def _ranking(hits: Sequence[Hit]) -> Ranking:
    scores = np.array([hit.score for hit in hits], dtype=np.float32)
    return Ranking(tuple(hit.id for hit in hits), scores)


def _called(encoder: Encoder) -> str:
    return f"{Path(encoder.name).name} ({encoder.precision})"


def _check_holds(opened: Collection, job: Job) -> None:
    """See whether a collection has the documents of the dataset.

    Nobody could put in those without text, or judged ones that are not in the corpus either.

    Raises:
        InputError: it lacks one.
    """
    if job.dataset.corpus is None:
        what = "judged documents"
        wanted = (id for grades in job.dataset.qrels.values() for id in grades)
    else:
        what = "documents"
        wanted = (document.id for document in job.documents())
    missing = {id for id in wanted if id not in opened}
    if missing:
        raise InputError(
            f"{opened.path} lacks {len(missing):,} of the {what} of "
            f"{job.dataset.title}, such as {min(missing)!r}: index the dataset's documents with "
            "their own ids, or leave out --collection"
        )


def _others(opened: Collection, job: Job) -> int:
    """How many documents of a collection are none of the dataset's; 0 where nobody knows those."""
    if job.dataset.corpus is None:
        return 0
    return len(opened) - sum(document.id in opened for document in job.corpus.documents())


@contextlib.contextmanager
def _made_again(path: Path | None) -> Iterator[None]:
    """Say of a cached index that cannot be used how to make it again; None is no cached one."""
    try:
        yield
    except (CollectionNotFoundError, CorruptionError) as error:
        if path is None:
            raise
        cause = str(error).partition("; ")[0]  # what follows is the remedy for a collection
        raise type(error)(
            f"the cached index cannot be used ({cause}): delete {path} and run again"
        ) from error


def _upgraded(path: Path, encoder: Encoder) -> Collection:
    """Open a cached index, which an older gingham may have left."""
    try:
        return collections.open(path, encoder, read_only=True)
    except (CollectionNotFoundError, CorruptionError, VersionError):
        raise
    except CollectionError:
        return collections.open(path, encoder)


def _build(
    job: Job, path: Path, encoder: Encoder, codec: ScalarCodec, name: str, memory: PeakMemory
) -> IndexCost:
    """Make or finish the collection."""
    record = _record(path)
    if record is None or not record.complete:
        with build_lock(path.with_suffix(".lock"), lambda: _waiting(job, name)):
            record = _record(path)  # another process may have built it meanwhile
            if record is None or not record.complete:
                record = _index(job, path, record, encoder, codec, name, memory)
    with _upgraded(path, encoder) as opened:
        info = opened.info()
    return IndexCost(
        seconds=record.seconds,
        threads=record.threads,
        documents=info.documents,
        tokens=info.tokens,
        bytes=info.bytes,
        peak_bytes=record.peak_bytes,
    )


def _record(path: Path) -> BuildRecord | None:
    return BuildRecord.read(path.with_suffix(".json")) if path.exists() else None


def _waiting(job: Job, name: str) -> None:
    remark = "waiting for another process that builds this index"
    job.report(f"{name}, indexing", 0, None, remark)


def _index(
    job: Job,
    path: Path,
    record: BuildRecord | None,
    encoder: Encoder,
    codec: ScalarCodec,
    name: str,
    memory: PeakMemory,
) -> BuildRecord:
    start, total = time.perf_counter(), job.corpus.n_documents
    record_path = path.with_suffix(".json")

    def progress(now: Progress) -> None:
        seconds = time.perf_counter() - start
        BuildRecord.after(before, seconds, job.threads).write(record_path)
        rate = now.tokens / seconds
        remark = f"{now.documents:,} of {total:,} documents, {rate:,.0f} tokens/s"
        job.report(f"{name}, indexing", now.documents, total, remark)

    job.report(f"{name}, indexing", 0, total, f"{total:,} documents")
    # The yardstick is never compressed, however large it grows.
    bits = None if codec == "fp16" else 4
    with collections.open(path, encoder, threads=job.threads, codec=codec, bits=bits) as opened:
        # What is there without a record has cost nobody knows what.
        before = (record or BuildRecord.lost(job.threads)) if len(opened) else None
        BuildRecord.after(before, 0.0, job.threads).write(record_path)
        opened.add(job.documents(), progress=progress)
    seconds, added = time.perf_counter() - start, memory.read()
    done = BuildRecord.after(before, seconds, job.threads, added, complete=True)
    done.write(record_path)
    return done
