"""The one search path: filter → score, in stages → rank. Conducts the modules above it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from gingham.document import Float32, Int64, TokenVectors
from gingham.errors import CorruptionError, InputError
from gingham.index.snapshot import Snapshot
from gingham.search.exhaustive import ScoredPassages, eligible_rows
from gingham.search.filters import Condition
from gingham.search.parameters import SearchParameters
from gingham.search.staged import Plan
from gingham.threads import resolve_threads

_WIDER = 4  # how much, where a search found too few documents
_DEEPEST = 1 << 16  # hits that parameters are made for; for more, there are more candidates anyway


class Found(NamedTuple):
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
    parameters: SearchParameters | None = None,
    exact: bool = False,
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
        parameters: for clustered segments; the collection's own, else the defaults, where None.
        exact: score every passage.
        threads: several queries are spread over them; one alone has all in the kernels.
    """
    # 1. filter, once for all queries
    selected = None if condition is None else condition.select(snapshot)
    try:
        eligible = eligible_rows(snapshot, selected)
    except ValueError as error:  # a run of passages ends before it begins
        raise CorruptionError(
            f"{snapshot.collection}: document numbers of a segment do not ascend; run verify"
        ) from error
    plan = Plan(snapshot, eligible, None if exact else parameters or stored(snapshot, k))
    n_eligible = sum(
        len(segment.numbers) if rows is None else len(rows)
        for segment, rows in zip(snapshot.segments, eligible, strict=True)
    )

    def answer(query: Float32, threads: int) -> list[Found]:
        # 2. score, in stages where passages are compressed
        own = plan
        while True:
            scored = own.score(query, k, threads)
            # 3. rank
            rows = rank(scored, k, group=group)
            if len(rows) >= k or own.is_complete or len(scored.scores) == n_eligible:
                return _found(snapshot, scored, rows)
            # Too few documents among the candidates: there may be more. First wider, then all.
            own = own.wider(_WIDER) if own is plan else own.complete()

    workers = min(resolve_threads(threads), len(queries))
    if workers < 2:
        return [answer(query, resolve_threads(threads)) for query in queries]
    # A query a thread: none waits for another, and Python's part of one runs beside the kernels of
    # the next. A query that is asked alone has all threads.
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(answer, queries, [1] * len(queries)))


def stored(snapshot: Snapshot, k: int) -> SearchParameters:
    """The parameters that a collection was given as its own, else the defaults for its size.

    Raises:
        CorruptionError: what the catalog holds are no parameters.
    """
    own = snapshot.settings.get("parameters")
    if own is None:
        passages = sum(segment.record.passages for segment in snapshot.segments)
        return SearchParameters.default(min(k, _DEEPEST), passages)
    try:
        return SearchParameters.from_json(own)
    except InputError as error:
        raise CorruptionError(f"{snapshot.collection}: stored {error}") from error


def _found(snapshot: Snapshot, scored: ScoredPassages, rows: Int64) -> list[Found]:
    """The ranked rows as values; arrays to the end, since a deep ranking has a thousand."""
    origins, places = scored.segments[rows], scored.rows[rows]
    spans = np.empty((len(rows), 2), dtype=np.int64)
    for position in set(origins.tolist()):
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
            numbers = scored.numbers[rows].tolist()
            first = {number: i for i, number in reversed([*enumerate(numbers)])}
            if len(first) < len(numbers):
                rows = rows[np.sort(np.array([*first.values()]))]
        if len(rows) >= k or depth >= n:
            return rows[:k]
        depth = min(n, depth * 4)
