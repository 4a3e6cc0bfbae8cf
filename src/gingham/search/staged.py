"""The staged search of a snapshot's clustered segments: pool, probe, gather, sift, refine.

The stages are compiled (`gingham.kernels.clustered`); here segments are grouped by the codebook
that they share, filters become bitmaps, and it is decided when scoring everything is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gingham.document import Float32, Int64
from gingham.errors import CorruptionError
from gingham.index.clustered_segment import LONGEST_QUERY, ClusteredSegment
from gingham.index.snapshot import Snapshot
from gingham.kernels import clustered
from gingham.search.exhaustive import ScoredPassages, score_segments
from gingham.search.parameters import FEWEST, SearchParameters

_FEW_ARE_SCORED_WHOLE = True  # tests say no, and the stages have to find everything


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Clustered segments of one codebook.

    Attributes:
        positions: in `snapshot.segments`.
        segments: the same, opened.
        bitmaps: of their eligible passages, None for all.
        eligible: how many passages may be found.
        parameters: how to search them.
    """

    positions: list[int]
    segments: list[ClusteredSegment]
    bitmaps: list[npt.NDArray[np.uint64] | None]
    eligible: int
    parameters: SearchParameters


class Plan:
    """How to search one snapshot under one filter; made once for all queries that are asked."""

    def __init__(
        self, snapshot: Snapshot, eligible: list[Int64 | None], parameters: SearchParameters | None
    ) -> None:
        """Decide which segments are scored whole.

        Args:
            snapshot: what to search.
            eligible: see `eligible_rows`.
            parameters: None to score everything.
        """
        self._snapshot = snapshot
        self._eligible = eligible
        self._parameters = parameters
        self._whole: list[int] = []
        self._groups: list[_Group] = []
        by_codebook: dict[int, list[int]] = {}
        for position, segment in enumerate(snapshot.segments):
            if parameters is None or not isinstance(segment, ClusteredSegment):
                self._whole.append(position)
            else:
                by_codebook.setdefault(segment.codebook.record.codebook, []).append(position)
        for positions in by_codebook.values():
            assert parameters is not None
            passages = sum(len(snapshot.segments[position].numbers) for position in positions)
            sizes = {position: self._count(position) for position in positions}
            n = sum(sizes.values())
            chosen = parameters.among(n / passages) if 0 < n < passages else parameters
            if n == 0 or (_FEW_ARE_SCORED_WHOLE and n <= chosen.candidates):
                self._whole.extend(positions)
            else:
                self._groups.append(self._group([p for p in positions if sizes[p]], n, chosen))
        self._whole.sort()

    def _count(self, position: int) -> int:
        chosen = self._eligible[position]
        return len(self._snapshot.segments[position].numbers) if chosen is None else len(chosen)

    def _group(self, positions: list[int], n: int, parameters: SearchParameters) -> _Group:
        segments, bitmaps = [], []
        for position in positions:
            segment = self._snapshot.segments[position]
            assert isinstance(segment, ClusteredSegment)
            segments.append(segment)
            bitmaps.append(_bitmap(self._eligible[position], len(segment.numbers)))
        return _Group(positions, segments, bitmaps, n, parameters)

    @property
    def is_complete(self) -> bool:
        """Whether every eligible passage is scored."""
        return not self._groups

    def complete(self) -> Plan:
        """The same with everything scored."""
        return Plan(self._snapshot, self._eligible, None)

    def wider(self, factor: float) -> Plan:
        """The same with all stages larger."""
        assert self._parameters is not None
        return Plan(self._snapshot, self._eligible, self._parameters.wider(factor))

    def score(self, query: Float32, k: int, threads: int | None) -> ScoredPassages:
        """Score what may be among the k best.

        Args:
            query: (n_query, dim) float32.
            k: that are wanted.
            threads: for the kernels.
        """
        if not 0 < len(query) <= LONGEST_QUERY:  # which the stages do not take
            return score_segments(
                self._snapshot, range(len(self._eligible)), query, self._eligible, threads
            )
        parts = [self._staged(group, query, k, threads) for group in self._groups]
        if self._whole or not parts:
            parts.append(
                score_segments(self._snapshot, self._whole, query, self._eligible, threads)
            )
        return ScoredPassages.concatenate(parts)

    def _staged(self, group: _Group, query: Float32, k: int, threads: int | None) -> ScoredPassages:
        chosen = group.parameters
        wanted = min(k, group.eligible)
        try:
            found = clustered.search(
                group.segments[0].codebook.coder,
                [segment.passages for segment in group.segments],
                group.bitmaps,
                query,
                supers=chosen.supers,
                probes=chosen.probes,
                candidates=max(chosen.candidates, wanted),
                refined=max(chosen.refined, wanted),
                k=max(wanted, FEWEST),
                margin=chosen.margin,
                threads=threads,
            )
        except CorruptionError as error:
            raise CorruptionError(f"{self._snapshot.collection}: {error}") from error
        positions = np.array(group.positions, dtype=np.int64)[found.segments]
        numbers = np.empty(len(found.scores), dtype=np.int64)
        for at, segment in enumerate(group.segments):
            own = found.segments == at
            numbers[own] = segment.numbers[found.passages[own]]
        return ScoredPassages(found.scores, numbers, positions, found.passages)


def _bitmap(rows: Int64 | None, n_passages: int) -> npt.NDArray[np.uint64] | None:
    if rows is None:
        return None
    bits = np.zeros((n_passages + 63) // 64 * 64, dtype=np.bool_)
    bits[rows] = True
    return np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)
