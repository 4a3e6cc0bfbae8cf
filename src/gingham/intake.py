"""What callers pass → checked documents, batch by batch, and checked queries.

Everything that could be wrong with a text, an id or metadata is said here, with the position and
the remedy, before anything is encoded or written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.document import Document, TokenVectors
from gingham.errors import DimensionError, EmptyInputError, InputError, shown
from gingham.index.catalog import content_digest
from gingham.index.writer import LARGEST, NewDocument

# A commit's worth of text: about 60 000 tokens, a few seconds of encoding on two cores.
_BATCH_CHARACTERS = 250_000
_BATCH_DOCUMENTS = 4096

_MISSING = object()
_DEEPEST = 64  # levels of metadata: the JSON parser's recursion is bounded

Encode = Callable[[list[NewDocument]], tuple[list[NewDocument], Iterable[TokenVectors]]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents of one commit, not yet encoded: most of a resumed `add` never needs to be.

    Attributes:
        documents: with distinct ids.
        taken: how many were read from the input, repeated ids included.
        encode: given the documents that are new or changed, those with the spans of their
            passages, and the vectors of all passages in order.
    """

    documents: list[NewDocument]
    taken: int
    encode: Encode


def documents(
    texts: str | Document | Iterable[str | Document],
    ids: Iterable[str] | None,
    metadata: Iterable[Mapping[str, Any]] | None,
) -> Iterator[Document]:
    """Pair texts with their ids and metadata, lazily.

    A text without an id is named by a digest of its content, so that adding it again changes
    nothing.

    Raises:
        InputError: ids or metadata are more or fewer than the texts, or given beside documents.
    """
    items = [texts] if isinstance(texts, (str, Document)) else texts
    if isinstance(ids, str):
        ids = [ids]
    if isinstance(metadata, Mapping):
        metadata = [metadata]
    columns = [items, *(column for column in (ids, metadata) if column is not None)]
    for position, row in enumerate(zip_longest(*columns, fillvalue=_MISSING)):
        if any(value is _MISSING for value in row):
            raise InputError(
                f"texts, ids and metadata must be equally many: one of them ends after {position}"
            )
        item = row[0]
        if isinstance(item, Document):
            if len(columns) > 1:
                raise InputError("documents bring their own ids and metadata: do not pass them too")
            yield check(item)
            continue
        if not isinstance(item, str):
            raise InputError(
                f"text {position} is a {type(item).__name__}: pass strings, Documents or "
                "TokenVectors"
            )
        id = row[1] if ids is not None else content_id(item)
        yield check(Document(id, item, row[-1] if metadata is not None else {}))


def content_id(text: str) -> str:
    """The id of a text that was given none: 16 hexadecimal digits of its BLAKE2b digest."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def check(document: Document) -> Document:
    """Refuse what could not be stored or found again.

    Raises:
        EmptyInputError: a blank text.
        InputError: an id that is no string or empty, or characters that are not Unicode.
    """
    check_id(document.id)
    if not isinstance(document.text, str):
        raise InputError(
            f"document {shown(document.id)}: text is a {type(document.text).__name__}, not a string"
        )
    if not document.text.strip():
        raise EmptyInputError(f"document {shown(document.id)} has no text: leave it out")
    _check_unicode(document.text, f"the text of document {shown(document.id)}")
    return document


def check_id(id: object) -> str:
    """An id that can be kept: a non-empty string of valid Unicode."""
    if not isinstance(id, str):
        raise InputError(f"ids are strings, got {shown(id)} ({type(id).__name__}): use str(id)")
    if not id:
        raise InputError("ids are non-empty strings, got ''")
    _check_unicode(id, "an id")
    return id


def _check_unicode(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} has a lone surrogate at character {error.start}: not valid Unicode; "
            "decode the source with errors='replace'"
        ) from None


def metadata_json(id: str, metadata: Mapping[str, Any]) -> str:
    """Metadata as the JSON text that is stored.

    Raises:
        InputError: not a JSON object, or an integer beyond 64 bits where filters would look.
    """
    if not isinstance(metadata, Mapping):
        raise InputError(f"document {shown(id)}: metadata must be a mapping, got {shown(metadata)}")
    if not all(isinstance(key, str) for key in metadata):
        raise InputError(f"document {shown(id)}: metadata keys must be strings")
    if _depth(metadata) > _DEEPEST:
        raise InputError(f"document {shown(id)}: metadata is nested deeper than {_DEEPEST} levels")
    for key, value in metadata.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                raise InputError(
                    f"document {shown(id)}: metadata {shown(key)} is {shown(item)}: beyond 64 bits"
                )
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"document {shown(id)}: metadata is not JSON: {error}") from None
    return text


def _depth(value: object) -> int:
    """Levels of nesting, without recursion; counts no further than it must."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        inner: list[object] = []
        for item in level:
            if isinstance(item, Mapping):
                inner.extend(item.values())
            elif isinstance(item, (list, tuple)):
                inner.extend(item)
        level, depth = inner, depth + 1
    return depth


def prepare(document: Document, vectors: bytes | None = None) -> NewDocument:
    """A checked document as the index stores it, with a digest but not yet with passages."""
    id = check_id(document.id)
    metadata = metadata_json(id, document.metadata)
    digest = content_digest(document.text, metadata, vectors)
    return NewDocument(id, document.text, metadata, digest, ((0, 0),))


def text_batches(
    texts: str | Document | Iterable[str | Document],
    ids: Iterable[str] | None,
    metadata: Iterable[Mapping[str, Any]] | None,
    encode: Encode,
) -> Iterator[Batch]:
    """Texts in commits' worth. Within one batch the last document of an id wins.

    Raises:
        InputError: a text, id or metadata cannot be stored.
    """
    chunk: dict[str, NewDocument] = {}
    size = taken = 0
    for document in documents(texts, ids, metadata):
        # Popped first, so that the document is placed where its last version stood.
        chunk.pop(document.id, None)
        chunk[document.id] = prepared = prepare(document)
        size += len(document.text or "") + len(prepared.metadata)
        taken += 1
        if size >= _BATCH_CHARACTERS or taken >= _BATCH_DOCUMENTS:
            yield Batch(list(chunk.values()), taken, encode)
            chunk, size, taken = {}, 0, 0
    if chunk:
        yield Batch(list(chunk.values()), taken, encode)


def vector_batches(
    vectors: TokenVectors,
    ids: Iterable[str] | None,
    metadata: Iterable[Mapping[str, Any]] | None,
) -> Iterator[Batch]:
    """Ready vectors in commits' worth, one text a document.

    Raises:
        InputError: ids are missing or repeated, or ids, metadata and texts are not equally many.
    """
    if ids is None:
        raise InputError("token vectors need ids: pass ids=[…], one a text")
    names = [ids] if isinstance(ids, str) else list(ids)
    if isinstance(metadata, Mapping):
        metadata = [metadata]
    records = [{}] * len(names) if metadata is None else list(metadata)
    if not len(names) == len(vectors) == len(records):
        raise InputError(
            f"{len(vectors)} texts, {len(names)} ids and {len(records)} metadata: "
            "they must be equally many"
        )
    if len(set(names)) < len(names):
        raise InputError("ids of token vectors must be distinct")
    position = {name: i for i, name in enumerate(names)}

    def encode(fresh: list[NewDocument]) -> tuple[list[NewDocument], Iterable[TokenVectors]]:
        return fresh, (vectors[position[d.id] : position[d.id] + 1] for d in fresh)

    for start in range(0, len(names), _BATCH_DOCUMENTS):
        run = range(start, min(start + _BATCH_DOCUMENTS, len(names)))
        new = [
            prepare(
                Document(names[i], None, records[i]), np.ascontiguousarray(vectors[i]).tobytes()
            )
            for i in run
        ]
        yield Batch(new, len(new), encode)


def check_k(k: object) -> int:
    """How many hits: a whole number of at least 1.

    Raises:
        InputError: it is not.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise InputError(f"k is how many hits, a whole number of at least 1; got {shown(k)}")
    return int(k)


def query_vectors(
    queries: str | Sequence[str] | TokenVectors | npt.NDArray[np.floating[Any]],
    dim: int | None,
    encode: Callable[[Sequence[str]], TokenVectors],
) -> TokenVectors:
    """What a caller passes to `search` or `search_many` → vectors that fit the collection.

    Args:
        queries: texts, vectors of several queries, or the (n_query, dim) vectors of one.
        dim: the collection's dimension; None where it is empty, and any query has no answer.
        encode: makes vectors of texts; not called for an empty collection.

    Raises:
        EmptyInputError: a blank text.
        InputError: neither texts nor vectors.
        DimensionError: vectors of another dimension.
    """
    if isinstance(queries, np.ndarray):
        queries = TokenVectors.from_arrays([queries])
    elif not isinstance(queries, TokenVectors):
        texts = [queries] if isinstance(queries, str) else list(queries)
        for text in texts:
            if not isinstance(text, str):
                raise InputError(f"a query is a {type(text).__name__}: pass text or vectors")
            if not text.strip():
                raise EmptyInputError("the query is empty: ask something")
        if dim is None or not texts:
            nothing = np.empty((0, dim or 1), dtype=np.float32)
            return TokenVectors(nothing, np.zeros(len(texts) + 1, dtype=np.int64))
        queries = encode(texts)
    if not (np.abs(queries.values) <= LARGEST).all():
        raise InputError(
            f"the query has components that are NaN, infinite or beyond {LARGEST:g}: token "
            "vectors are of about unit length"
        )
    if dim is not None and queries.dim != dim:
        raise DimensionError(
            f"the query has vectors of {queries.dim} dimensions, the collection {dim}: "
            "use the model that the collection was built with"
        )
    return queries
