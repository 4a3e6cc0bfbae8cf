"""From damaged rows to passages and documents: which of a segment can be kept.

A document is kept where every passage of it is intact, and that there are no more of them is sure:
where document numbers are lost, the documents before and after may have had some among them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gingham.document import Int64
from gingham.index.layout import Component
from gingham.upkeep.files import Files
from gingham.upkeep.salvaging import stretches

Mask = npt.NDArray[np.bool_]

_NOTHING = np.empty(0, dtype=np.int64)
_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Damaged:
    """Documents that damage of one file costs.

    Attributes:
        numbers: of those whose passages it touches.
        between: first and last number of documents some of which had passages there.
    """

    numbers: Int64 = field(default_factory=lambda: _NOTHING)
    between: tuple[tuple[int, int], ...] = ()

    def among(self, numbers: Int64) -> Int64:
        """Those of ascending document numbers that are meant."""
        found = [np.intersect1d(numbers, self.numbers)]
        for first, last in self.between:
            low, high = np.searchsorted(numbers, first), np.searchsorted(numbers, last, "right")
            found.append(numbers[low:high])
        return np.unique(np.concatenate(found))


@dataclass(frozen=True, slots=True)
class Intact:
    """What of a segment can be kept.

    Attributes:
        passages: (n_passages) which of them.
        documents: ascending numbers of the documents that these are of.
        damaged: the others, by the file that costs them.
    """

    passages: Mask
    documents: Int64
    damaged: dict[str, Damaged]


def intact_passages(files: Files, tokens: dict[str, Int64], n_tokens: int) -> Intact | None:
    """Find the passages of which every byte is intact.

    Args:
        files: of the segment; of each of its files something is left.
        tokens: ascending numbers of damaged tokens, by the file that they are damaged in.
        n_tokens: that the segment has.

    Returns:
        None where the files are not of the same passages.
    """
    offsets, offsets_bad = files.left(Component.OFFSETS), files.bad(Component.OFFSETS)
    owners = Component.PASSAGES
    if files.left(owners) is None:
        owners = Component.NUMBERS
    rows, unknown = files.left(owners), files.bad(owners)
    n = len(offsets_bad) - 1
    if offsets is None or rows is None or n < 0 or len(unknown) != n:
        return None
    numbers: Int64 = np.ascontiguousarray(rows[:, 0] if rows.ndim > 1 else rows)
    lost: dict[str, Mask] = {}
    starts, stops = offsets[:-1], offsets[1:]
    lost[Component.OFFSETS.filename] = offsets_bad[:-1] | offsets_bad[1:]
    nowhere = (starts < 0) | (stops <= starts) | (stops > n_tokens)
    gone = lost[Component.OFFSETS.filename] | nowhere
    for name, bad in tokens.items():
        touched = np.searchsorted(bad, stops) > np.searchsorted(bad, starts)
        lost[name] = lost.get(name, np.zeros(n, dtype=np.bool_)) | (touched & ~gone)
    if owners is Component.PASSAGES:
        spans = rows[:, 1:]
    else:
        spans_left, spans_bad = files.left(Component.SPANS), files.bad(Component.SPANS)
        if spans_left is None or len(spans_bad) != n:
            return None
        spans = spans_left
        lost[Component.SPANS.filename] = spans_bad
    gone = gone | unknown | (spans[:, 1] < spans[:, 0]) | (numbers < 0)
    for mask in lost.values():
        gone = gone | mask
    between, neighbours = _between(numbers, unknown)
    incomplete = np.union1d(numbers[gone & ~unknown], neighbours)
    gone = gone | np.isin(numbers, incomplete)
    damaged = {
        name: Damaged(np.unique(numbers[mask & ~unknown]))
        for name, mask in lost.items()
        if mask.any()
    }
    if between:
        damaged[owners.filename] = Damaged(neighbours, between)
    return Intact(~gone, np.unique(numbers[~gone]), damaged)


def _between(numbers: Int64, unknown: Mask) -> tuple[tuple[tuple[int, int], ...], Int64]:
    """For each stretch of unknown numbers the known ones beside it; and all of these."""
    found, beside = [], []
    for first, last in stretches(np.flatnonzero(unknown)):
        before = numbers[first - 1] if first > 0 else -1
        after = numbers[last + 1] if last + 1 < len(numbers) else _LAST
        found.append((int(before), int(after)))
        beside += [value for value in (before, after) if 0 <= value < _LAST]
    return tuple(found), np.unique(np.array(beside, dtype=np.int64))
