"""The one search path: filter → score → rank. Conducts the modules above it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gingham.document import Float32, Int64, TokenVectors
from gingham.index.snapshot import Snapshot
from gingham.search.exhaustive import ScoredPassages, eligible_rows, score_all
from gingham.search.filters import Condition
from gingham.threads import resolve_threads


@dataclass(frozen=True, slots=True)
class Found:
    """A passage in the ranking, not yet with its text.

    Attributes:
        number: the document's number.
        score: MaxSim.
        span: the passage's half-open character positions in the document.
    """

    number: int
    score: float
    span: tuple[int, int]


def search(
    snapshot: Snapshot,
    queries: TokenVectors,
    k: int,
    *,
    condition: Condition | None = None,
    group: bool = True,
    threads: int | None = None,
) -> list[list[Found]]:
    """For each query the k best passages, best first; all that are eligible where there are fewer.

    Equal scores are ordered by document number, so by age, then by position in the document.

    Args:
        snapshot: what to search.
        queries: one text a query.
        k: how many.
        condition: which documents may be found; None for all.
        group: at most one passage a document, its best.
        threads: several queries are spread over them; one alone has all in the kernels.
    """
    # 1. filter, once for all queries
    eligible = eligible_rows(snapshot, None if condition is None else condition.select(snapshot))

    def answer(query: Float32, threads: int) -> list[Found]:
        # 2. score
        scored = score_all(snapshot, query, eligible, threads)
        # 3. rank
        return _found(snapshot, scored, rank(scored, k, group=group))

    workers = min(resolve_threads(threads), len(queries))
    if workers < 2:
        return [answer(query, resolve_threads(threads)) for query in queries]
    # A query a thread: none waits for another, and Python's part of one runs beside the kernels of
    # the next. A query that is asked alone has all threads.
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(answer, queries, [1] * len(queries)))


def _found(snapshot: Snapshot, scored: ScoredPassages, rows: Int64) -> list[Found]:
    """The ranked rows as values; arrays to the end, since a deep ranking has a thousand."""
    origins, places = scored.segments[rows], scored.rows[rows]
    spans = np.empty((len(rows), 2), dtype=np.int64)
    for position in np.unique(origins).tolist():
        chosen = origins == position
        spans[chosen] = snapshot.segments[position].spans[places[chosen]]
    numbers, scores = scored.numbers[rows].tolist(), scored.scores[rows].tolist()
    return [
        Found(number, score, (start, end))
        for number, score, (start, end) in zip(numbers, scores, spans.tolist(), strict=True)
    ]


def rank(scored: ScoredPassages, k: int, *, group: bool) -> Int64:
    """Positions of the k best rows in order, without sorting all of them.

    With `group` the number of rows to look at is not known beforehand (one document may fill the
    top), so the cut is lowered until k documents are above it or nothing is left.
    """
    n = len(scored.scores)
    depth = min(n, k if not group else 2 * k + 16)
    while True:
        if depth < n:
            threshold = np.partition(scored.scores, n - depth)[n - depth]
            rows = np.flatnonzero(scored.scores >= threshold)  # all ties, so that order is defined
        else:
            rows = np.arange(n)
        order = np.lexsort((scored.rows[rows], scored.numbers[rows], -scored.scores[rows]))
        rows = rows[order]
        if group:
            _, first = np.unique(scored.numbers[rows], return_index=True)
            rows = rows[np.sort(first)]
        if len(rows) >= k or depth >= n:
            return rows[:k]
        depth = min(n, depth * 4)
