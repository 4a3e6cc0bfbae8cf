"""gingham as a system: a collection of the dataset's documents, cached, built once, resumed.

`LateInteraction` searches as a user would. With `exact` it is the yardstick: every passage scored
over vectors kept as fp16, so that neither codec nor candidate generation can lose anything.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gingham import collection as collections
from gingham.codec.scalar import ScalarCodec
from gingham.collection import Collection
from gingham.document import Float32
from gingham.encoder import Encoder
from gingham.errors import InputError
from gingham.evaluation.build_record import BuildRecord
from gingham.evaluation.costs import IndexCost, PeakMemory
from gingham.evaluation.run import Ranking
from gingham.evaluation.systems import Explained, Job
from gingham.ranking import Hit
from gingham.report import Progress

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
    """

    model: str | os.PathLike[str] | None = None
    collection: str | os.PathLike[str] | None = None
    exact: bool = False

    @property
    def name(self) -> str:
        """Which of the two it is."""
        return "exact MaxSim" if self.exact else "gingham"

    def check(self, job: Job) -> None:
        """There must be documents, or a collection that has them, and a model.

        Raises:
            InputError: the collection lacks documents of the dataset; or there are none.
            ModelError: the model cannot be loaded.
            CollectionError: the collection cannot be used.
        """
        if self.collection is not None and not self.exact:
            with collections.open(self.collection, self.model, read_only=True) as opened:
                judged = {id for grades in job.dataset.qrels.values() for id in grades}
                check_holds(opened, judged, "judged documents", job)
                _ = opened.encoder
        else:
            _ = job.corpus
            self._encoder(job)

    def prepare(self, job: Job) -> PreparedCollection:
        """Open the collection, building it where it is not complete.

        Raises:
            CollectionError: the collection cannot be used.
        """
        encoder = self._encoder(job)
        codec: ScalarCodec = "fp16" if self.exact else "int8"
        what = "exhaustive MaxSim over fp16 vectors" if self.exact else f"{codec} vectors"
        if self.collection is not None and not self.exact:
            with collections.open(self.collection, read_only=True) as opened:
                info = opened.info()
            cost = IndexCost(None, None, info.documents, info.tokens, info.bytes, None)
            path = Path(self.collection)
            what = f"{info.codec} vectors"
        else:
            path = job.folder(encoder.fingerprint[:16], f"{codec}.gingham")
            cost = _build(job, path, encoder, codec, self.name)
        description = f"{Path(encoder.name).name} ({encoder.precision}), {what}"
        return PreparedCollection(path, encoder, self.exact, description, cost)

    def _encoder(self, job: Job) -> Encoder:
        if self.model is None and self.collection is not None:
            with collections.open(self.collection, threads=job.threads, read_only=True) as opened:
                return opened.encoder
        return Encoder(self.model, threads=job.threads)


@dataclass(frozen=True, slots=True)
class PreparedCollection:
    """A collection that holds the dataset."""

    path: Path
    encoder: Encoder
    exact: bool
    description: str
    cost: IndexCost

    @contextlib.contextmanager
    def searcher(self, threads: int) -> Iterator[CollectionSearcher]:
        """Open the collection, and the model, for so many threads."""
        encoder = self.encoder
        if encoder.threads != threads:
            encoder = Encoder(encoder.name, threads=threads, precision=encoder.precision)
        with collections.open(self.path, encoder, threads=threads, read_only=True) as opened:
            yield CollectionSearcher(opened, encoder, self.exact)


@dataclass(frozen=True, slots=True)
class CollectionSearcher:
    """Answers from a collection."""

    collection: Collection
    encoder: Encoder
    exact: bool = False

    def encode(self, query: str) -> Float32:
        """(n_query, dim) float32."""
        return self.encoder.encode_queries([query])[0]

    def search(self, encoded: Float32, k: int, ids: Sequence[str] | None = None) -> Ranking:
        """The k best documents, each by its best passage."""
        return _ranking(self.collection.search(encoded, k, ids=ids, exact=self.exact))

    def answer(self, queries: Sequence[str], k: int) -> Iterator[Ranking]:
        """Encoded in batches."""
        for start in range(0, len(queries), _BATCH):
            batch = queries[start : start + _BATCH]
            for hits in self.collection.search_many(batch, k, exact=self.exact, texts=False):
                yield _ranking(hits)

    def explain(self, query: str, id: str) -> Explained:
        """The tokens that match; repeated ones that stand for no text, as [MASK], are one."""
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


def check_holds(opened: Collection, ids: Iterable[str], what: str, job: Job) -> None:
    """See whether a collection has these documents of the dataset.

    Raises:
        InputError: it lacks one.
    """
    missing = {id for id in ids if id not in opened}
    if missing and job.dataset.corpus is not None:
        # Nobody could put in those without text, or those that are not in the corpus either.
        missing = {document.id for document in job.documents() if document.id in missing}
    if missing:
        raise InputError(
            f"{opened.path} lacks {len(missing):,} of the {what} of "
            f"{job.dataset.title}, such as {min(missing)!r}: index the dataset's documents with "
            "their own ids, or leave out --collection"
        )


def _build(job: Job, path: Path, encoder: Encoder, codec: ScalarCodec, name: str) -> IndexCost:
    """Make or finish the collection."""
    record_path = path.with_suffix(".json")
    record = BuildRecord.read(record_path) if path.exists() else None
    if record is None or not record.complete:
        record = _index(job, path, record, encoder, codec, name)
    with collections.open(path, encoder, read_only=True) as opened:
        info = opened.info()
    return IndexCost(
        seconds=record.seconds,
        threads=record.threads,
        documents=info.documents,
        tokens=info.tokens,
        bytes=info.bytes,
        peak_bytes=record.peak_bytes,
    )


def _index(
    job: Job,
    path: Path,
    before: BuildRecord | None,
    encoder: Encoder,
    codec: ScalarCodec,
    name: str,
) -> BuildRecord:
    path.parent.mkdir(parents=True, exist_ok=True)
    start, total = time.perf_counter(), job.corpus.n_documents

    def progress(now: Progress) -> None:
        seconds = time.perf_counter() - start
        BuildRecord.after(before, seconds, job.threads).write(path.with_suffix(".json"))
        rate = now.tokens / seconds
        remark = f"{now.documents:,} of {total:,} documents, {rate:,.0f} tokens/s"
        job.report(f"{name}, indexing", now.documents, total, remark)

    job.report(f"{name}, indexing", 0, total, f"{total:,} documents")
    opened = collections.open(path, encoder, threads=job.threads, codec=codec)
    with opened, PeakMemory() as memory:
        opened.add(job.documents(), progress=progress)
    seconds = time.perf_counter() - start
    record = BuildRecord.after(before, seconds, job.threads, memory.bytes, complete=True)
    record.write(path.with_suffix(".json"))
    return record
