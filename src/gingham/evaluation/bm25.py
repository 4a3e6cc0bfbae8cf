"""BM25, the baseline that every retrieval result needs beside it; and BM25 re-ranked by MaxSim.

bm25s does the work (Lù 2024, arXiv:2407.03618): Lucene's variant, k1 = 1.5, b = 0.75, English stop
words, the English Snowball stemmer. Its index is built anew each time: that takes seconds.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gingham import collection as collections
from gingham.errors import InputError, MissingDependencyError
from gingham.evaluation.costs import IndexCost, PeakMemory
from gingham.evaluation.late_interaction import (
    CollectionSearcher,
    LateInteraction,
    PreparedCollection,
    check_holds,
)
from gingham.evaluation.run import Ranking
from gingham.evaluation.systems import Explained, Job

_DESCRIPTION = "bm25s, Lucene's variant, k1 1.5, b 0.75, English stop words and stemmer"


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
            InputError: no document has a word.
        """
        job.report("BM25, indexing", 0, None, f"{job.corpus.n_documents:,} documents")
        start = time.perf_counter()
        with PeakMemory() as memory:
            index, ids, tokens = _index(job)
        seconds = time.perf_counter() - start
        cost = IndexCost(seconds, 1, len(ids), tokens, _bytes_on_disk(index), memory.bytes)
        return PreparedBM25(index, ids, cost)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedBM25:
    """The index in memory."""

    index: Any
    ids: Sequence[str]
    cost: IndexCost
    description: str = _DESCRIPTION

    @contextlib.contextmanager
    def searcher(self, threads: int) -> Iterator[BM25Searcher]:
        """One query is answered on one thread, however many there are."""
        yield BM25Searcher(self.index, self.ids)


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
    """

    candidates: int = 100
    late_interaction: LateInteraction = field(default_factory=LateInteraction)

    @property
    def name(self) -> str:
        """Such as "BM25 100 + MaxSim"."""
        return f"BM25 {self.candidates} + MaxSim"

    def check(self, job: Job) -> None:
        """Both must be possible.

        Raises:
            InputError: no candidates, the dataset has no documents, or the collection lacks one.
            MissingDependencyError: bm25s or PyStemmer is not installed.
        """
        if self.candidates < 1:
            raise InputError(f"at least one candidate is re-ranked, got {self.candidates}")
        BM25().check(job)
        self.late_interaction.check(job)
        path = self.late_interaction.collection
        if path is not None and not self.late_interaction.exact:
            # Any of them may be a candidate.
            with collections.open(path, read_only=True) as opened:
                check_holds(opened, (d.id for d in job.documents()), "documents", job)

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
    def description(self) -> str:
        """What both are."""
        return f"BM25's best {self.candidates}, re-ranked by {self.second.description}"

    @property
    def cost(self) -> IndexCost:
        """Of both; tokens are the token vectors."""
        return self.second.cost.with_first_stage(self.first.cost)

    @contextlib.contextmanager
    def searcher(self, threads: int) -> Iterator[RerankedSearcher]:
        """Open both."""
        with self.first.searcher(threads) as first, self.second.searcher(threads) as second:
            yield RerankedSearcher(first, second, self.candidates)


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


def _bytes_on_disk(index: Any) -> int:
    """What bm25s writes when it saves the index."""
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder, show_progress=False)
        return sum(file.stat().st_size for file in Path(folder).iterdir())
