"""What an audit says, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gingham.search.parameters import SearchParameters

Interval = tuple[float, float]
Source = Literal["stored texts", "stored vectors"]


@dataclass(frozen=True, slots=True)
class AuditPoint:
    """One setting of the search: what it finds and how long it takes.

    Attributes:
        label: "current", how it differs from the defaults, such as "margin × 1.1", or "between"
            for what was tried on the way to a target.
        parameters: the setting.
        recall: the share that it finds of the k best of exhaustive scoring, mean over queries.
            What scores the same as the k-th counts as found.
        interval: of it, a 95 % percentile bootstrap over queries; None for a single query.
        p50: milliseconds that half of the queries stay below, on one thread, from vectors to hits.
        p95: likewise 95 %.
        on_front: nothing that was measured finds as much in less time.
    """

    label: str
    parameters: SearchParameters
    recall: float
    interval: Interval | None
    p50: float
    p95: float
    on_front: bool


@dataclass(frozen=True, slots=True)
class ScoreError:
    """How far the scores of hits are from MaxSim with vectors that were never compressed.

    Attributes:
        queries: that were looked at.
        hits: of them, at most ten a query; their passages were encoded again.
        score: their mean MaxSim with uncompressed vectors.
        mean: of score less that; below 0 where compression lowers scores.
        interval: of it, 95 % over queries; None for a single query.
        absolute: the mean of what the difference is without its sign.
        absolute_interval: of that.
    """

    queries: int
    hits: int
    score: float
    mean: float
    interval: Interval | None
    absolute: float
    absolute_interval: Interval | None


@dataclass(frozen=True, slots=True)
class AuditTarget:
    """The cheapest parameters for a recall: chosen on half of the queries, judged on the others.

    Attributes:
        recall: that is asked for.
        reached: whether the held-out recall is that at least. A held-out `interval` that begins
            below says that more queries could still decide otherwise.
        parameters: the cheapest that reach it on both halves; the best there are if not reached,
            None where every search scores every passage.
        p50: their median time in milliseconds.
        chosen_on: their recall on the half of the queries that they were chosen on.
        held_out: their recall on the other half.
        interval: of `held_out`, 95 %; None for a single query.
        passed_over: cheaper ones that reached the target on the first half and not on the other.
        saved: whether they are the collection's own now.
    """

    recall: float
    reached: bool
    parameters: SearchParameters | None
    p50: float
    chosen_on: float
    held_out: float
    interval: Interval | None
    passed_over: int
    saved: bool = False


@dataclass(frozen=True, slots=True)
class Audit:
    """What `Collection.audit` measured.

    Attributes:
        k: hits a query.
        queries: how many were asked.
        made_from: "stored texts" or "stored vectors" where the queries were made from stored
            passages: recall depends on the queries, and these are no real ones. None where they
            were given.
        seed: of all that was drawn.
        clustered: share of the stored token vectors that are compressed.
        parameters: that searches use now; None where every search scores every passage, since none
            are compressed or there are few: recall is 1 by construction and there is no curve.
        are_own: whether these are the collection's own; else the defaults for k and its size.
        recall: with them; this and the next three as in `AuditPoint`.
        interval: of the recall.
        p50: median milliseconds.
        p95: milliseconds of all but the slowest 5 %.
        score_error: None where texts or their model are not known.
        points: the curve, the fastest first.
        target: None where no recall was asked for.
    """

    k: int
    queries: int
    made_from: Source | None
    seed: int
    clustered: float
    parameters: SearchParameters | None
    are_own: bool
    recall: float
    interval: Interval | None
    p50: float
    p95: float
    score_error: ScoreError | None
    points: tuple[AuditPoint, ...]
    target: AuditTarget | None
