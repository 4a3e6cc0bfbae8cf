"""Exact MaxSim over every eligible passage: small collections, selective filters, recall oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gingham.document import Float32, Int64
from gingham.index.snapshot import Snapshot
from gingham.search.filters import Selected


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPassages:
    """Parallel arrays, one row an eligible passage: where it is and what it scores.

    Attributes:
        scores: (n) float32 MaxSim.
        numbers: (n) int64 document numbers.
        segments: (n) int64 positions in `snapshot.segments`.
        rows: (n) int64 passages of that segment.
    """

    scores: Float32
    numbers: Int64
    segments: Int64
    rows: Int64

    @classmethod
    def concatenate(cls, parts: Sequence[ScoredPassages]) -> ScoredPassages:
        """Several one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.segments for part in parts]),
            np.concatenate([part.rows for part in parts]),
        )


def eligible_rows(snapshot: Snapshot, selected: Selected | None) -> list[Int64 | None]:
    """For each segment the passages that are alive and selected, None for all of them."""
    rows: list[Int64 | None] = []
    for segment in snapshot.segments:
        alive = snapshot.alive(segment)
        if selected is not None and not selected.complement:
            # A few documents of many: looked up, not compared with every passage.
            found = _rows_of(segment.numbers, selected.numbers)
            alive = found if alive is None else found[_are_among(found, alive)]
        elif selected is not None:
            candidates = np.arange(len(segment.numbers)) if alive is None else alive
            alive = candidates[selected.contains(segment.numbers[candidates])]
        rows.append(alive)
    return rows


def _rows_of(numbers: Int64, wanted: Int64) -> Int64:
    """Ascending positions in `numbers` (ascending, with repeats) of the wanted (ascending)."""
    first = np.searchsorted(numbers, wanted, "left")
    counts = np.searchsorted(numbers, wanted, "right") - first
    starts = np.repeat(first - np.cumsum(counts) + counts, counts)
    return starts + np.arange(len(starts))


def _are_among(values: Int64, ascending: Int64) -> npt.NDArray[np.bool_]:
    at = np.searchsorted(ascending, values)
    return ascending[np.minimum(at, len(ascending) - 1)] == values if len(ascending) else at < 0


def score_segments(
    snapshot: Snapshot,
    positions: Sequence[int],
    query: Float32,
    eligible: Sequence[Int64 | None],
    threads: int | None,
) -> ScoredPassages:
    """Score every eligible passage of some segments.

    Args:
        snapshot: what to search.
        positions: which of its segments.
        query: (n_query, dim) float32.
        eligible: of all segments, see `eligible_rows`.
        threads: for the kernels.
    """
    scores: list[Float32] = [np.empty(0, dtype=np.float32)]
    numbers: list[Int64] = [np.empty(0, dtype=np.int64)]
    origins: list[Int64] = [np.empty(0, dtype=np.int64)]
    rows: list[Int64] = [np.empty(0, dtype=np.int64)]
    for position in positions:
        segment, chosen = snapshot.segments[position], eligible[position]
        if chosen is not None and len(chosen) == 0:
            continue
        scores.append(segment.score(query, chosen, threads))
        if chosen is None:
            chosen = np.arange(len(segment.numbers))
        numbers.append(segment.numbers[chosen])
        origins.append(np.full(len(chosen), position, dtype=np.int64))
        rows.append(chosen)
    return ScoredPassages(
        np.concatenate(scores),
        np.concatenate(numbers),
        np.concatenate(origins),
        np.concatenate(rows),
    )
