"""The one search path: filter → score → rank. Conducts the modules above it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gingham.document import Float32
from gingham.index.snapshot import Snapshot
from gingham.search.exhaustive import ScoredPassages, score_all
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
    query: Float32,
    k: int,
    *,
    condition: Condition | None = None,
    group: bool = True,
    threads: int | None = None,
) -> list[Found]:
    """The k best passages, best first; all that are eligible where there are fewer.

    Equal scores are ordered by document number, so by age, then by position in the document.

    Args:
        snapshot: what to search.
        query: (n_query, dim) float32.
        k: how many.
        condition: which documents may be found; None for all.
        group: at most one passage a document, its best.
        threads: for the kernels.
    """
    # 1. filter
    selected = None if condition is None else condition.select(snapshot)
    # 2. score
    scored = score_all(snapshot, query, selected, threads)
    # 3. rank
    best = rank(scored, k, group=group)
    found = []
    for i in best:
        segment = snapshot.segments[scored.segments[i]]
        row = int(scored.rows[i])
        number, score = int(scored.numbers[i]), float(scored.scores[i])
        found.append(Found(number, score, segment.span(row)))
    return found


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
