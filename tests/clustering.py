"""What the tests of clustered collections share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import gingham
from gingham import Collection, TokenVectors
from gingham.index.clustered_segment import ClusteredSegment
from gingham.index.writer import IndexWriter, NewDocument

Float32 = npt.NDArray[np.float32]


def topic_vectors(
    lengths: Sequence[int], dim: int = 32, seed: int = 0, spread: float = 0.6, topics: int = 24
) -> TokenVectors:
    """Unit vectors around a few directions, `lengths[i]` of them for text i."""
    middles = np.random.default_rng(dim).standard_normal((topics, dim))
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    random = np.random.default_rng(seed)
    values = middles[random.integers(topics, size=sum(lengths))]
    values += random.standard_normal(values.shape) * (spread / np.sqrt(dim))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenVectors(values.astype(np.float32), offsets)


def made(
    path: Path, n: int, bits: int | None = 4, dim: int = 32, threads: int | None = None
) -> Collection:
    """Documents d0, d1, … of 1 to 9 tokens, compressed unless `bits` is None."""
    collection = gingham.open(path, threads=threads)
    add(collection, range(n), dim=dim)
    if bits is not None:
        collection.optimize(bits=bits)
    return collection


def add(
    collection: Collection, numbers: Sequence[int], *, dim: int = 32, seed: int = 0, tokens: int = 0
) -> TokenVectors:
    """Add documents by number, with n, parity and hundred as metadata; returns their vectors."""
    lengths = [tokens or 1 + i % 9 for i in numbers]
    vectors = topic_vectors(lengths, dim, seed + 1000 * (numbers[0] if numbers else 0))
    records = [{"n": i, "parity": "odd" if i % 2 else "even", "tenth": i % 10} for i in numbers]
    collection.add(vectors, ids=[f"d{i}" for i in numbers], metadata=records)
    return vectors


def add_passages(collection: Collection, vectors: TokenVectors, counts: Sequence[int]) -> None:
    """Add documents p0, p1, … of several passages, the texts of `vectors` in order."""
    documents = [
        NewDocument(f"p{i}", None, "{}", bytes(16), [(10 * j, 10 * j + 9) for j in range(count)])
        for i, count in enumerate(counts)
    ]
    with IndexWriter(collection.path) as writer:
        writer.add(documents, [vectors], "int8")
    collection.refresh()


def queries(n: int, dim: int = 32, length: int = 6, seed: int = 77) -> list[Float32]:
    """Query vectors of the same kind."""
    return list(topic_vectors([length] * n, dim, seed))


def ids_of(hits: Sequence[gingham.Hit]) -> list[str]:
    return [hit.id for hit in hits]


def array_files(collection: Path) -> dict[str, bytes]:
    """Every file of segments and codebooks, by its path in the collection."""
    files = [*collection.glob("segments/*/*"), *collection.glob("codebooks/*/*")]
    return {file.relative_to(collection).as_posix(): file.read_bytes() for file in files}


def folders(collection: Path) -> set[str]:
    """Names of all folders of segments and codebooks."""
    found = [*collection.glob("segments/*"), *collection.glob("codebooks/*")]
    return {folder.relative_to(collection).as_posix() for folder in found}


def listed(collection: Collection) -> set[str]:
    """Names of the folders that the collection, as it is seen now, needs."""
    needed = set()
    for segment in collection._snapshot.segments:
        needed.add(f"segments/{segment.record.segment:08d}")
        if isinstance(segment, ClusteredSegment):
            needed.add(f"codebooks/{segment.record.codebook:08d}")
    return needed


def codebooks(collection: Collection) -> list[int]:
    """Numbers of the codebooks in use, ascending."""
    used = {segment.record.codebook for segment in collection._snapshot.segments}
    return sorted(number for number in used if number is not None)
