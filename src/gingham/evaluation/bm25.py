"""BM25, the baseline that every retrieval result needs beside it; and BM25 re-ranked by MaxSim.

bm25s does the work (Lù 2024, arXiv:2407.03618): Lucene's variant, k1 = 1.5, b = 0.75, English stop
words, the English Snowball stemmer. Its index is built anew each time: that takes seconds. It is
saved to the cache for the process that measures what searching it needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gingham.errors import InputError, MissingDependencyError
from gingham.evaluation.costs import IndexCost, PeakMemory
from gingham.evaluation.late_interaction import (
    CollectionSearcher,
    LateInteraction,
    PreparedCollection,
    open_collection,
)
from gingham.evaluation.run import Ranking
from gingham.evaluation.systems import Explained, Job, Opening

_DESCRIPTION = "bm25s, Lucene's variant, k1 1.5, b 0.75, English stop words and stemmer"
# The documents' ids, a row of the index each.
_IDS = "ids.json"


@dataclass(frozen=True, slots=True)
class BM25:
    """Exact matching of stemmed English words."""

    name: str = "BM25"

    def check(self, job: Job) -> None:
        """There must be documents, and bm25s.

        Raises:
            MissingDependencyError: bm25s or PyStemmer is not installed.
            InputError: the dataset has no documents.
        """
        _tokeniser()
        _ = job.corpus

    def prepare(self, job: Job) -> PreparedBM25:
        """Index the documents.

        Raises:
            InputError: no document has a word, or the cache cannot be written to.
        """
        job.report("BM25, indexing", 0, None, f"{job.corpus.n_documents:,} documents")
        start, folder = time.perf_counter(), job.folder("bm25")
        with PeakMemory() as memory:
            index, ids, tokens = _index(job)
            size = _save(index, ids, folder)
        seconds = time.perf_counter() - start
        cost = IndexCost(seconds, 1, len(ids), tokens, size, memory.added)
        return PreparedBM25(index, ids, cost, folder)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedBM25:
    """The index in memory, and in a folder."""

    index: Any
    ids: Sequence[str]
    cost: IndexCost
    folder: Path
    description: str = _DESCRIPTION
    depth: int | None = None

    @property
    def opening(self) -> Opening:
        """The index that was saved."""
        return Opening("gingham.evaluation.bm25:open_bm25", {"folder": os.fspath(self.folder)})

    @contextlib.contextmanager
    def searcher(self, threads: int) -> Iterator[BM25Searcher]:
        """One query is answered on one thread, however many there are."""
        yield BM25Searcher(self.index, self.ids)


@contextlib.contextmanager
def open_bm25(folder: str, threads: int) -> Iterator[BM25Searcher]:
    """Search a saved index, and do nothing else; see `PreparedBM25.opening`."""
    import bm25s

    index = bm25s.BM25.load(folder, load_corpus=False, allow_pickle=False)
    yield BM25Searcher(index, json.loads((Path(folder) / _IDS).read_text(encoding="utf-8")))


class BM25Searcher:
    """Answers from the index."""

    def __init__(self, index: Any, ids: Sequence[str]) -> None:
        """Both are those of `PreparedBM25`."""
        self._index = index
        self._ids = ids
        self._tokenise = _tokeniser()

    def encode(self, query: str) -> list[str]:
        """The query's stemmed words."""
        words: list[str] = self._tokenise([query], return_ids=False)[0]
        return words

    def search(self, encoded: list[str], k: int) -> Ranking:
        """The k best of the documents that share a word with the query; fewer where fewer do."""
        known = [word for word in encoded if word in self._index.vocab_dict]
        if not known:
            return Ranking((), np.empty(0, dtype=np.float32))
        scores = self._index.get_scores(known)
        # Ties at the cut: the earlier document, so that the answer is defined.
        found = np.flatnonzero(scores > 0)
        if len(found) > k:
            cut = np.partition(scores[found], len(found) - k)[len(found) - k]
            found = found[scores[found] >= cut]
        found = found[np.argsort(-scores[found], kind="stable")][:k]
        return Ranking(tuple(self._ids[i] for i in found.tolist()), scores[found])

    def answer(self, queries: Sequence[str], k: int) -> Iterator[Ranking]:
        """One after the other."""
        for query in queries:
            yield self.search(self.encode(query), k)

    def explain(self, query: str, id: str) -> Explained:
        """The weight of each word of the query that the document has; its text is not kept."""
        row = self._ids.index(id)
        parts = [
            (word, word, count * float(self._index.get_scores([word])[row]))
            for word, count in Counter(self.encode(query)).items()
            if word in self._index.vocab_dict
        ]
        found = sorted((part for part in parts if part[2] > 0), key=lambda part: -part[2])
        return Explained(None, tuple(found))


@dataclass(frozen=True, slots=True)
class Reranked:
    """BM25's best candidates, ordered anew by MaxSim over the vectors of a collection.

    Attributes:
        candidates: how many of BM25's best; deeper ranks stay empty.
        late_interaction: whose collection has the vectors.
        label: what tables call it, so that several can be compared; None says what it is.
    """

    candidates: int = 100
    late_interaction: LateInteraction = field(default_factory=LateInteraction)
    label: str | None = None

    @property
    def name(self) -> str:
        """The label, else such as "BM25 100 + MaxSim"."""
        return self.label or f"BM25 {self.candidates} + MaxSim"

    def check(self, job: Job) -> None:
        """Both must be possible.

        Raises:
            InputError: no candidates, the dataset has no documents, or the collection lacks one.
            MissingDependencyError: bm25s or PyStemmer is not installed.
        """
        if self.candidates < 1:
            raise InputError(f"at least one candidate is re-ranked, got {self.candidates}")
        BM25().check(job)
        # A collection must hold every document: any of them may be a candidate.
        self.late_interaction.check(job)

    def prepare(self, job: Job) -> PreparedReranked:
        """Both indexes."""
        return PreparedReranked(
            BM25().prepare(job), self.late_interaction.prepare(job), self.candidates
        )


@dataclass(frozen=True, slots=True, eq=False)
class PreparedReranked:
    """The two indexes; what they cost is added up."""

    first: PreparedBM25
    second: PreparedCollection
    candidates: int

    @property
    def depth(self) -> int:
        """The candidates."""
        return self.candidates

    @property
    def description(self) -> str:
        """What both are."""
        return f"BM25's best {self.candidates}, re-ranked by {self.second.description}"

    @property
    def cost(self) -> IndexCost:
        """Of both; tokens are the token vectors."""
        return self.second.cost.with_first_stage(self.first.cost)

    @property
    def opening(self) -> Opening:
        """Both."""
        arguments = {
            "first": dict(self.first.opening.arguments),
            "second": dict(self.second.opening.arguments),
            "candidates": self.candidates,
        }
        return Opening("gingham.evaluation.bm25:open_reranked", arguments)

    @contextlib.contextmanager
    def searcher(self, threads: int) -> Iterator[RerankedSearcher]:
        """Open both."""
        with self.first.searcher(threads) as first, self.second.searcher(threads) as second:
            yield RerankedSearcher(first, second, self.candidates)


@contextlib.contextmanager
def open_reranked(
    first: dict[str, Any], second: dict[str, Any], candidates: int, threads: int
) -> Iterator[RerankedSearcher]:
    """Search both, and do nothing else; see `PreparedReranked.opening`."""
    with (
        open_bm25(**first, threads=threads) as words,
        open_collection(**second, threads=threads) as vectors,
    ):
        yield RerankedSearcher(words, vectors, candidates)


@dataclass(frozen=True, slots=True, eq=False)
class RerankedSearcher:
    """Asks the one, then the other."""

    first: BM25Searcher
    second: CollectionSearcher
    candidates: int

    def encode(self, query: str) -> tuple[list[str], Any]:
        """Words and vectors."""
        return self.first.encode(query), self.second.encode(query)

    def search(self, encoded: tuple[list[str], Any], k: int) -> Ranking:
        """The candidates in their new order."""
        words, vectors = encoded
        candidates = self.first.search(words, self.candidates).ids
        return self.second.search(vectors, k, ids=candidates)

    def answer(self, queries: Sequence[str], k: int) -> Iterator[Ranking]:
        """One after the other."""
        for query in queries:
            yield self.search(self.encode(query), k)

    def explain(self, query: str, id: str) -> Explained:
        """Why MaxSim orders it where it is."""
        return self.second.explain(query, id)


def _tokeniser() -> Any:
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise MissingDependencyError(
            f"BM25 needs {error.name}: pip install 'gingham[eval]'"
        ) from error
    stemmer = Stemmer.Stemmer("english")

    def tokenise(texts: Sequence[str], *, return_ids: bool) -> Any:
        return bm25s.tokenize(
            list(texts),
            stopwords="en",
            stemmer=stemmer,
            return_ids=return_ids,
            show_progress=False,
        )

    return tokenise


def _index(job: Job) -> tuple[Any, list[str], int]:
    tokenise = _tokeniser()
    import bm25s

    ids: list[str] = []
    texts: list[str] = []
    for document in job.documents():
        ids.append(document.id)
        texts.append(document.text or "")
    words = tokenise(texts, return_ids=True)
    tokens = sum(map(len, words.ids))
    if not tokens:
        raise InputError(f"{job.dataset.title}: no document has a word that BM25 could index")
    index = bm25s.BM25()
    index.index(words, show_progress=False)
    return index, ids, tokens


def _save(index: Any, ids: Sequence[str], folder: Path) -> int:
    """Write the index and the documents' ids, and tell their size.

    Every file is written whole or not at all, and always the same: that of another process will do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as drafts:
            index.save(drafts, show_progress=False)
            (Path(drafts) / _IDS).write_text(json.dumps(ids), encoding="utf-8")
            size = 0
            for file in sorted(Path(drafts).iterdir()):
                size += file.stat().st_size
                os.replace(file, folder / file.name)
            return size
    except OSError as error:
        raise InputError(
            f"{folder}: the cache cannot be written to ({error.strerror or error}): choose another "
            "folder for it"
        ) from error
