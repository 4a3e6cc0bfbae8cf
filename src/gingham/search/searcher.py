"""The one search path: filter → score → rank. Conducts the modules above it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gingham.document import TokenVectors
from gingham.index.snapshot import Snapshot
from gingham.search.exhaustive import ScoredPassages, eligible_rows, score_all
from gingham.search.filters import Condition


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
        threads: for the kernels.
    """
    # 1. filter, once for all queries
    eligible = eligible_rows(snapshot, None if condition is None else condition.select(snapshot))
    found = []
    for query in queries:
        # 2. score
        scored = score_all(snapshot, query, eligible, threads)
        # 3. rank
        found.append([_found(snapshot, scored, row) for row in rank(scored, k, group=group)])
    return found


def _found(snapshot: Snapshot, scored: ScoredPassages, row: int) -> Found:
    segment = snapshot.segments[scored.segments[row]]
    span = segment.span(int(scored.rows[row]))
    return Found(int(scored.numbers[row]), float(scored.scores[row]), span)


def rank(scored: ScoredPassages, k: int, *, group: bool) -> list[int]:
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
            return [int(row) for row in rows[:k]]
        depth = min(n, depth * 4)
