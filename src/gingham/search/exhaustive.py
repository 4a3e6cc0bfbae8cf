"""Exact MaxSim over every eligible passage: small collections, selective filters, recall oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gingham import kernels
from gingham.document import Float32, Int64
from gingham.index.segment_reader import Segment
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


def score_all(
    snapshot: Snapshot, query: Float32, selected: Selected | None, threads: int | None
) -> ScoredPassages:
    """Score every passage that is alive and selected.

    Args:
        snapshot: what to search.
        query: (n_query, dim) float32.
        selected: documents to consider, None for all.
        threads: for the kernels.
    """
    scores: list[Float32] = [np.empty(0, dtype=np.float32)]
    numbers: list[Int64] = [np.empty(0, dtype=np.int64)]
    origins: list[Int64] = [np.empty(0, dtype=np.int64)]
    rows: list[Int64] = [np.empty(0, dtype=np.int64)]
    for position, segment in enumerate(snapshot.segments):
        eligible = _eligible(snapshot, segment, selected)
        if eligible is not None and len(eligible) == 0:
            continue
        scores.append(
            kernels.score(
                query,
                segment.codes,
                segment.offsets,
                scales=segment.scales,
                selection=eligible,
                threads=threads,
            )
        )
        chosen = np.arange(len(segment.numbers)) if eligible is None else eligible
        numbers.append(segment.numbers[chosen])
        origins.append(np.full(len(chosen), position, dtype=np.int64))
        rows.append(chosen)
    return ScoredPassages(
        np.concatenate(scores),
        np.concatenate(numbers),
        np.concatenate(origins),
        np.concatenate(rows),
    )


def _eligible(snapshot: Snapshot, segment: Segment, selected: Selected | None) -> Int64 | None:
    """Rows to score, None for all of them."""
    alive = snapshot.alive(segment)
    if selected is None:
        return alive
    candidates = np.arange(len(segment.numbers)) if alive is None else alive
    return candidates[selected.contains(segment.numbers[candidates])]
