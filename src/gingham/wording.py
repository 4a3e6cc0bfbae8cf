"""Rows → words: an alignment of vectors told as tokens, for people.

Takes the tokenizer's view of two texts and the rows that were aligned; knows no index.
"""

from __future__ import annotations

import numpy as np

from gingham.encoder import Encoder
from gingham.ranking import Explanation, TokenMatch
from gingham.search.explanation import Alignment
from gingham.splitting import Splitting

Word = tuple[str, tuple[int, int]]


def explain(
    encoder: Encoder | None,
    id: str,
    query: str | None,
    document: str | None,
    span: tuple[int, int],
    alignment: Alignment,
    how: Splitting,
) -> Explanation:
    """An explanation: one match a query vector, in query order.

    Rows of a text that is not known are called by their numbers, "#0", "#1", …. A title that was
    encoded in front of the passage stands for no characters of it: its spans are (0, 0).

    Args:
        encoder: whose tokenizer to ask; may be None where no text is known.
        id: of the document.
        query: its text, None where only vectors are known.
        document: its whole text, likewise.
        span: the passage's half-open character positions in it.
        alignment: the best row of the passage for each query vector.
        how: the document was split.
    """
    passage = encoded = None if document is None else document[slice(*span)]
    if encoder is not None and document is not None:
        [encoded] = encoder.passage_texts(document, [span], **how)
    before = len(encoded or "") - len(passage or "")
    asked = _words(encoder, query, len(alignment.rows), is_query=True)
    answers = [
        (word, (max(0, start - before), max(0, end - before)))
        for word, (start, end) in _words(encoder, encoded, alignment.n_tokens, is_query=False)
    ]
    pairs = zip(asked, alignment.rows.tolist(), alignment.scores.tolist(), strict=True)
    return Explanation(
        id=id,
        query=query,
        text=passage,
        span=span,
        score=float(alignment.scores.sum(dtype=np.float32)),
        matches=tuple(
            TokenMatch(word, place, answers[row][0], answers[row][1], score, row)
            for (word, place), row, score in pairs
        ),
    )


def _words(encoder: Encoder | None, text: str | None, count: int, *, is_query: bool) -> list[Word]:
    if encoder is not None and text is not None:
        tokenize = encoder.tokenize_queries if is_query else encoder.tokenize_documents
        tokens = tokenize([text])
        if len(tokens.token_ids) == count:
            return [
                (encoder.token_text(token), (start, end))
                for token, (start, end) in zip(
                    tokens.token_ids.tolist(), tokens.spans.tolist(), strict=True
                )
            ]
    return [(f"#{i}", (0, 0)) for i in range(count)]
