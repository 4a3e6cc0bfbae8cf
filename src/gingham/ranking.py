"""The values that come out: hits and explanations of scores. They know no model and no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage found for a query.

    Attributes:
        id: the id of the document.
        score: MaxSim of the query and the passage; higher is better. For unit vectors at most the
            number of query vectors.
        text: the text of the passage; None where only vectors were added.
        span: half-open character positions of the passage in the document's text.
        metadata: the document's metadata.
    """

    id: str
    score: float
    text: str | None
    span: tuple[int, int]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """The document token that answers one query vector best: one summand of MaxSim.

    Attributes:
        query_token: the query token as the tokenizer writes it.
        query_span: its half-open character positions in the query; (0, 0) for markers and [MASK].
        document_token: the best matching document token.
        document_span: its half-open character positions in the *passage*; (0, 0) for markers.
        score: their similarity, the summand.
        document_index: its row among the passage's vectors.
    """

    query_token: str
    query_span: tuple[int, int]
    document_token: str
    document_span: tuple[int, int]
    score: float
    document_index: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a passage has its score: one match a query vector, in query order.

    `score` is the sum of the scores of `matches` (ColBERT, eq. 3: https://arxiv.org/abs/2004.12832).

    Attributes:
        id: the id of the document.
        query: the query.
        text: the text of the document's best passage; None where only vectors were added.
        span: the passage's half-open character positions in the document's text.
        score: MaxSim of query and passage.
        matches: one a query vector.
    """

    id: str
    query: str | None
    text: str | None
    span: tuple[int, int]
    score: float
    matches: tuple[TokenMatch, ...]

    def highlights(self, minimum: float = 0.5) -> list[tuple[int, int, float]]:
        """Merged character spans of the passage that answer the words of the query.

        Only matches of real query characters count: [MASK] and markers match almost anything.

        Args:
            minimum: the least similarity that counts as an answer.

        Returns:
            Half-open, sorted, disjoint `(start, end, best similarity)` in the passage's text.
        """
        spans = sorted(
            (*match.document_span, match.score)
            for match in self.matches
            if match.score >= minimum
            and match.document_span[1] > match.document_span[0]
            and match.query_span[1] > match.query_span[0]
        )
        merged: list[tuple[int, int, float]] = []
        for start, end, score in spans:
            if merged and start <= merged[-1][1]:
                last = merged.pop()
                merged.append((last[0], max(last[1], end), max(last[2], score)))
            else:
                merged.append((start, end, score))
        return merged
