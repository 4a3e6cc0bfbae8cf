"""Which document vector answers which query vector: MaxSim taken apart.

Knows rows, not words: the collection, which has the tokenizer, turns rows into tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gingham.document import Float32, Int64
from gingham.index.segments import Segment
from gingham.kernels import reference


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The best row for each query vector.

    Attributes:
        rows: (n_query) int64 rows of the passage.
        scores: (n_query) float32 similarities, whose sum is the passage's score.
        n_tokens: vectors of the passage.
    """

    rows: Int64
    scores: Float32
    n_tokens: int


def best_passage(query: Float32, segment: Segment, run: slice) -> int:
    """The row of the best of a document's passages, the first of equals."""
    rows = np.arange(run.start, run.stop, dtype=np.int64)
    scores = segment.score(query, rows)
    return int(rows[scores.argmax()])


def align(query: Float32, segment: Segment, row: int) -> Alignment:
    """Align a query with one passage, by the same arithmetic as its score."""
    values, scales = segment.vectors(row)
    similarities = reference.similarities(query, values, scales)
    return Alignment(similarities.argmax(axis=1), similarities.max(axis=1), len(values))
