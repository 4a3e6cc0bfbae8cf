"""Why a passage has its score: a document by its id, the row that answers each query vector, words.

Here search, which knows no text, meets the texts of the catalog and the tokens of the model.
"""

from __future__ import annotations

from gingham import wording
from gingham.errors import DocumentNotFoundError, shown
from gingham.index.segments import Segment
from gingham.index.snapshot import Snapshot
from gingham.ranking import Explanation
from gingham.recorded_model import Query, RecordedModel
from gingham.search import explanation
from gingham.splitting import splitting


def explain(
    snapshot: Snapshot,
    model: RecordedModel,
    query: Query,
    id: str,
    span: tuple[int, int] | None = None,
) -> Explanation:
    """Which token of a passage answers each token of the query.

    Args:
        snapshot: what is seen of the collection.
        model: that its vectors are from.
        query: a text, or its vectors.
        id: of the document.
        span: of the passage; None for the best one.

    Raises:
        DocumentNotFoundError: there is no such document or passage.
    """
    segment, run = _passages(snapshot, id)
    if span is not None:
        rows = (row for row in range(run.start, run.stop) if segment.span(row) == span)
        only = next(rows, None)
        if only is None:
            raise DocumentNotFoundError(f"document {id!r} has no passage {span} any more")
        run = slice(only, only + 1)
    vectors = model.one_query(snapshot.settings, query)[0]
    row = explanation.best_passage(vectors, segment, run)
    document = snapshot.document(id)
    text = None if document is None else document.text
    asked = query if isinstance(query, str) else None
    known = asked is not None or text is not None
    return wording.explain(
        model.encoder_if_known(snapshot.settings) if known else None,
        id,
        asked,
        text,
        segment.span(row),
        explanation.align(vectors, segment, row),
        splitting(snapshot.settings),
    )


def _passages(snapshot: Snapshot, id: str) -> tuple[Segment, slice]:
    number = snapshot.number(id)
    place = None if number is None else snapshot.passages_of(number)
    if place is None:
        raise DocumentNotFoundError(f"no document {shown(id)} in {snapshot.collection}")
    return place
