"""The values that say how things stand: how far work has come, the sizes of a collection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far `Collection.add` has come; everything counted is durable.

    Attributes:
        documents: taken from the input so far, skipped ones included.
        skipped: already in the collection, unchanged.
        passages: encoded and stored.
        tokens: token vectors stored.
    """

    documents: int
    skipped: int
    passages: int
    tokens: int


@dataclass(frozen=True, slots=True)
class OptimizeProgress:
    """How far `Collection.optimize`, or the coding at the end of an `add`, has come.

    Attributes:
        stage: "sampling", "clustering", "coding", "listing" or "merging".
        done: steps of the stage that are done.
        total: of the stage; sampled tokens, centroids or tokens.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class AuditProgress:
    """How far `Collection.audit` has come.

    Attributes:
        stage: "making queries", "encoding queries", "scoring everything", "measuring" or "encoding
            hits again".
        done: steps of the stage that are done.
        total: of the stage; queries or settings.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """Sizes and settings of a collection.

    Attributes:
        path: its directory.
        documents: documents that can be found.
        passages: stored passages, those of deleted documents included until `optimize`.
        tokens: stored token vectors, likewise.
        dim: their dimension; None in an empty collection.
        codec: how flat segments keep them, "int8" or "fp16".
        bits: of a residual, a dimension, where they are or will be clustered.
        passage_length: most tokens of a passage; None for what the model takes.
        titles: a long text's title was encoded in front of each of its passages.
        clustered: token vectors in clustered segments.
        centroids: of all codebooks.
        parameters: the collection's own `SearchParameters` by name, see `Collection.audit`; None
            where searches use the defaults.
        segments: folders that a search visits.
        bytes: all files together, as they are on disk now.
        bytes_per_token: `bytes / tokens`, text and catalog included.
        model: the name of the model; None where only vectors were added.
        fingerprint: of the model, see `Encoder.fingerprint`.
        generation: commits so far.
        format_version: that this gingham writes, see FORMAT.md.
    """

    path: str
    documents: int
    passages: int
    tokens: int
    dim: int | None
    codec: str | None
    bits: int
    passage_length: int | None
    titles: bool
    clustered: int
    centroids: int
    parameters: dict[str, int] | None
    segments: int
    bytes: int
    bytes_per_token: float
    model: str | None
    fingerprint: str | None
    generation: int
    format_version: int
