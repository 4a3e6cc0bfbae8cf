"""Documents into an open collection, commit by commit: what was there unchanged is passed over.

Here intake, which knows no model, meets the encoder and the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from gingham import intake
from gingham.document import Document, TokenVectors
from gingham.index.handle import IndexHandle
from gingham.index.writer import NewDocument
from gingham.recorded_model import RecordedModel
from gingham.report import OptimizeProgress, Progress
from gingham.splitting import splitting


def add(
    index: IndexHandle,
    model: RecordedModel,
    keeping: Mapping[str, Any],
    documents: str | Document | Iterable[str | Document] | TokenVectors,
    ids: Iterable[str] | None,
    metadata: Iterable[Mapping[str, Any]] | None,
    threads: int | None,
    progress: Callable[[Progress], None] | None,
    coding: Callable[[OptimizeProgress], None] | None,
) -> int:
    """See `Collection.add`.

    Args:
        index: to write to.
        model: that texts are encoded with.
        keeping: settings of a collection that has none yet.
        documents: texts, documents or vectors.
        ids: one a text.
        metadata: one a text.
        threads: for coding.
        progress: called after each commit.
        coding: told how far the compression at the end is.
    """
    seen = index.snapshot.settings  # now: the collection may be closed while this goes on

    def encode(fresh: list[NewDocument]) -> tuple[list[NewDocument], Iterable[TokenVectors]]:
        encoder = model.encoder(seen)
        spans = encoder.split_many([d.text or "" for d in fresh], **how)
        split = [replace(d, spans=s) for d, s in zip(fresh, spans, strict=True)]
        return split, encoder.iter_documents(
            passage
            for d in split
            for passage in encoder.passage_texts(d.text or "", d.spans, **how)
        )

    if isinstance(documents, TokenVectors):
        batches = intake.vector_batches(documents, ids, metadata)
    else:
        batches = intake.text_batches(documents, ids, metadata, encode)
    taken = skipped = passages = tokens = 0
    how = splitting({})
    with index.writer() as writer:
        for batch in batches:
            stored = writer.digests([document.id for document in batch.documents])
            fresh = [d for d in batch.documents if stored.get(d.id) != d.digest]
            if fresh:
                settings = writer.settings
                new = {} if "codec" in settings else dict(keeping)
                codec = {**keeping, **settings}["codec"]
                how = splitting(new or settings)
                if not isinstance(documents, TokenVectors):
                    new |= model.record(settings)
                record = writer.add(*batch.encode(fresh), codec, new)
                index.follow(writer)
                passages += record.passages
                tokens += record.tokens
            taken += batch.taken
            skipped += len(batch.documents) - len(fresh)
            if progress is not None:
                progress(Progress(taken, skipped, passages, tokens))
        writer.settle(threads, coding)
        index.follow(writer)
    return taken
