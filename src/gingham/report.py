"""The values that say how things stand: the progress of an `add`, the sizes of a collection."""

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
class CollectionInfo:
    """Sizes and settings of a collection.

    Attributes:
        path: its directory.
        documents: documents that can be found.
        passages: stored passages, those of deleted documents included until `optimize`.
        tokens: stored token vectors, likewise.
        dim: their dimension; None in an empty collection.
        codec: how they are kept, "int8" or "fp16".
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
    segments: int
    bytes: int
    bytes_per_token: float
    model: str | None
    fingerprint: str | None
    generation: int
    format_version: int
