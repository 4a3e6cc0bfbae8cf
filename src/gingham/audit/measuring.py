"""The measuring of settings: recall against exhaustive scoring, time on one thread, score error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gingham import hits
from gingham.audit.values import Interval, ScoreError
from gingham.document import TokenVectors
from gingham.encoder import Encoder
from gingham.index.snapshot import Snapshot
from gingham.kernels import maxsim
from gingham.report import AuditProgress
from gingham.search import searcher
from gingham.search.parameters import SearchParameters
from gingham.search.searcher import Found
from gingham.splitting import splitting

Float64 = npt.NDArray[np.float64]
Report = Callable[[AuditProgress], None]

_RESAMPLES = 2000
_LEVEL = 0.95
_WARM_UP = 8  # queries that are asked before any is timed
_AT_ONCE = 8  # queries between two reports of the oracle
_BLOCK = 32  # queries that are timed before the next setting has its turn
_RESCORED_QUERIES, _RESCORED_HITS = 20, 10


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A setting with the recall of each query and the seconds that each took: (n_queries)."""

    label: str
    parameters: SearchParameters
    recalls: Float64
    seconds: Float64

    @property
    def p50(self) -> float:
        """Median milliseconds."""
        return float(np.median(self.seconds)) * 1000

    @property
    def p95(self) -> float:
        """Milliseconds that 95 % of the queries stay below."""
        return float(np.percentile(self.seconds, 95)) * 1000


class Bench:
    """The queries, what exhaustive scoring finds for them, and the clock."""

    def __init__(
        self,
        snapshot: Snapshot,
        queries: TokenVectors,
        k: int,
        threads: int | None,
        report: Report,
    ) -> None:
        self._snapshot, self._queries, self._k = snapshot, queries, k
        self._threads, self._report = threads, report
        self._truth: list[list[Found]] | None = None
        self._is_warm = False

    def score_everything(self) -> None:
        """Ask the oracle; without it every search is taken to be exhaustive."""
        truth: list[list[Found]] = []
        for start in range(0, len(self._queries), _AT_ONCE):
            self._report(AuditProgress("scoring everything", start, len(self._queries)))
            some = self._queries[start : start + _AT_ONCE]
            truth += searcher.search(
                self._snapshot, some, self._k, exact=True, threads=self._threads
            )
        self._truth = truth

    def measure(self, settings: Mapping[str, SearchParameters]) -> list[Measured]:
        """Ask all queries with each of some settings by label, one at a time on one thread.

        Block by block of queries, the settings in turn: what else the machine is doing meanwhile
        slows all of them alike.
        """
        labels, n = list(settings), len(self._queries)
        starts = range(0, n, _BLOCK)
        for i in range(0 if self._is_warm else min(n, _WARM_UP)):
            self._search(i, settings[labels[0]])
        self._is_warm = True
        recalls, seconds = np.ones((len(labels), n)), np.empty((len(labels), n))
        for turn, start in enumerate(starts):
            for step in range(len(labels)):
                done = turn * len(labels) + step
                self._report(AuditProgress("measuring", done, len(starts) * len(labels)))
                at = (turn + step) % len(labels)
                for i in range(start, min(n, start + _BLOCK)):
                    began = time.perf_counter()
                    found = self._search(i, settings[labels[at]])
                    hits.with_texts(self._snapshot, found)
                    seconds[at, i] = time.perf_counter() - began
                    if self._truth is not None:
                        recalls[at, i] = recall(found, self._truth[i])
        return [
            Measured(label, settings[label], recalls[at], seconds[at])
            for at, label in enumerate(labels)
        ]

    def score_error(
        self, encoder: Encoder, parameters: SearchParameters, seed: int
    ) -> ScoreError | None:
        """Encode the passages of some hits again and compare; None where none has a text."""
        count = min(_RESCORED_QUERIES, len(self._queries))
        drawn = np.random.default_rng(seed).choice(len(self._queries), count, replace=False)
        differences, scores = [], []
        for done, i in enumerate(np.sort(drawn).tolist()):
            self._report(AuditProgress("encoding hits again", done, count))
            found = self._search(i, parameters)[:_RESCORED_HITS]
            known = list(self._encoded(encoder, found))
            if known:
                vectors = encoder.encode_documents([text for text, _ in known])
                scores.append(maxsim(self._queries[i], vectors, threads=self._threads))
                differences.append(np.array([score for _, score in known]) - scores[-1])
        if not differences:
            return None
        means = np.array([each.mean() for each in differences])
        absolutes = np.array([np.abs(each).mean() for each in differences])
        return ScoreError(
            queries=len(differences),
            hits=sum(map(len, differences)),
            score=float(np.mean([each.mean() for each in scores])),
            mean=float(means.mean()),
            interval=interval(means, seed),
            absolute=float(absolutes.mean()),
            absolute_interval=interval(absolutes, seed),
        )

    def _encoded(self, encoder: Encoder, found: Sequence[Found]) -> Iterator[tuple[str, float]]:
        """What was encoded for each passage that has a text, and its score."""
        how = splitting(self._snapshot.settings)
        for item, document in zip(found, hits.documents_of(self._snapshot, found), strict=True):
            if document.text is not None:
                [encoded] = encoder.passage_texts(document.text, [item.span], **how)
                yield encoded, item.score

    def _search(self, i: int, parameters: SearchParameters) -> list[Found]:
        query = self._queries[i : i + 1]
        return searcher.search(self._snapshot, query, self._k, parameters=parameters, threads=1)[0]


def recall(found: Sequence[Found], best: Sequence[Found]) -> float:
    """The share of the best that were found; one that scores the same as the last of them counts.

    Args:
        found: of the search.
        best: of exhaustive scoring, as many.
    """
    wanted = {item.number for item in best}
    least = best[-1].score
    return sum(item.number in wanted or item.score >= least for item in found) / len(best)


def interval(values: Float64, seed: int) -> Interval | None:
    """95 % percentile bootstrap of the mean over queries; None for fewer than two.

    Where all values are the same so are both ends, which says only that the sample held no other.
    """
    n = len(values)
    if n < 2:
        return None
    random = np.random.default_rng(seed)
    means = [values[random.integers(0, n, n)].mean() for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]).tolist()
    mean = float(values.mean())  # of equal values, it may be off in the last bit
    return min(low, mean), max(high, mean)
