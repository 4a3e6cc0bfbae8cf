"""Queries made from what a collection stores, for whoever has none of its users' at hand.

Stand-ins: a part of a passage has an answer that is as good as answers get, which no real query is
promised, and recall depends on the queries more than on anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from gingham.audit.values import Source
from gingham.document import Float32, TokenVectors
from gingham.index.segments import Segment
from gingham.index.snapshot import Snapshot
from gingham.recorded_model import RecordedModel

FEWEST_WORDS, MOST_WORDS = 8, 16
MOST_VECTORS = 32
_CHARACTERS = 60  # of a text that is not written in words


def make(
    snapshot: Snapshot, model: RecordedModel, count: int, seed: int
) -> tuple[TokenVectors, Source]:
    """Queries from different passages, all of them where there are fewer than `count`.

    Where the passages' texts and their model are known, a query is a run of 8 to 16 words, encoded
    as a query; else a run of up to 32 of the passage's own vectors.

    Raises:
        ModelError: the collection's model cannot be loaded.
        ModelMismatchError: the collection was built with another model.
    """
    random = np.random.default_rng(seed)
    places = list(_draw(snapshot, count, random))
    encoder = model.encoder_if_known(snapshot.settings)
    if encoder is not None:
        documents = snapshot.documents({int(segment.numbers[row]) for segment, row in places})
        texts = []
        for segment, row in places:
            document = documents.get(int(segment.numbers[row]))
            if document is not None and document.text is not None:  # else: only vectors are known
                texts.append(excerpt(document.text[slice(*segment.span(row))], random))
        if texts:
            return encoder.encode_queries(texts), "stored texts"
    return TokenVectors.from_arrays([_run(*place, random) for place in places]), "stored vectors"


def _draw(
    snapshot: Snapshot, count: int, random: np.random.Generator
) -> Iterator[tuple[Segment, int]]:
    """Passages that are not deleted, as segment and row, in the order in which they lie there."""
    alive = [snapshot.alive(segment) for segment in snapshot.segments]
    sizes = [
        len(segment.numbers) if rows is None else len(rows)
        for segment, rows in zip(snapshot.segments, alive, strict=True)
    ]
    total = sum(sizes)
    chosen = np.sort(random.choice(total, min(count, total), replace=False))
    first = 0
    for segment, rows, size in zip(snapshot.segments, alive, sizes, strict=True):
        own = chosen[(chosen >= first) & (chosen < first + size)] - first
        for row in own if rows is None else rows[own]:
            yield segment, int(row)
        first += size


def excerpt(text: str, random: np.random.Generator) -> str:
    """A run of words of a text; of characters where they are not parted by spaces."""
    words = list(re.finditer(r"\S+", text))
    if len(words) < FEWEST_WORDS and len(text) > 2 * _CHARACTERS:
        start = int(random.integers(len(text) - _CHARACTERS + 1))
        return text[start : start + _CHARACTERS].strip() or text
    length = min(len(words), int(random.integers(FEWEST_WORDS, MOST_WORDS + 1)))
    first = int(random.integers(len(words) - length + 1))
    return text[words[first].start() : words[first + length - 1].end()]


def _run(segment: Segment, row: int, random: np.random.Generator) -> Float32:
    values, scales = segment.vectors(row)
    start = int(random.integers(max(0, len(values) - MOST_VECTORS) + 1))
    run = slice(start, start + MOST_VECTORS)
    vectors = values[run].astype(np.float32)
    return vectors if scales is None else vectors * scales[run, None]
