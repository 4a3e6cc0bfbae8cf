"""What the crash tests do to a collection, and the model of what it must hold after each commit.

A document is an id and a version, which fix its vectors and metadata: so the documents of a
collection are a mapping from id to version, and what a search must answer follows from it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import gingham
from gingham import Collection, SearchParameters, TokenVectors
from gingham.index import merge, promotion, writer

Float32 = npt.NDArray[np.float32]
State = dict[str, int]
Ranking = list[tuple[str, float]]

DIM = 16
LONG = 100  # versions from here on have a vector that is too long to be compressed
TOLERANCE = 0.06  # of a score of four query vectors, from int8 and from 8-bit residuals
EVERYTHING = SearchParameters(supers=1 << 20, probes=1 << 20, candidates=1 << 20, refined=1 << 20)


def lower_thresholds() -> None:
    """Let a few hundred vectors be merged, compressed, and outgrow their codebook."""
    changed: list[tuple[Any, str, int]] = [
        (promotion, "FIRST", 170),
        (promotion, "NEXT", 60),
        (promotion, "_GROWTH", 2),
        (merge, "_FACTOR", 3),
        (writer, "_LONG_LOG", 100_000),
    ]
    for module, name, value in changed:
        assert hasattr(module, name), name
        setattr(module, name, value)


# Documents ----------------------------------------------------------------------------------------


@cache
def vectors_of(id: str, version: int) -> Float32:
    """The token vectors of a document."""
    generator = np.random.default_rng(zlib.crc32(f"{id}/{version}".encode()))
    values = generator.standard_normal((1 + len(id) + version % 4, DIM), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    if version >= LONG:
        values[0] *= 1.3
    return values.astype(np.float32)


def metadata_of(id: str, version: int) -> dict[str, Any]:
    """Its metadata: the version, what filters ask for, and text of more than a database page."""
    number = zlib.crc32(id.encode())
    return {
        "version": version,
        "even": number % 2 == 0,
        "text": id * (2500 if number % 40 == 0 else 1),
    }


@cache
def queries() -> tuple[Float32, ...]:
    """What is asked: three queries of four vectors."""
    generator = np.random.default_rng(7)
    made = generator.standard_normal((3, 4, DIM), dtype=np.float32)
    made /= np.linalg.norm(made, axis=2, keepdims=True)
    return tuple(made.astype(np.float32))


def expected_scores(query: Float32, state: State) -> dict[str, float]:
    """MaxSim by the formula, over the vectors that were added."""
    return {
        id: float((query @ vectors_of(id, version).T).max(axis=1).sum())
        for id, version in state.items()
    }


# Operations ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """Open, and so create, the collection; closes it before where it is open."""


@dataclass(frozen=True, slots=True)
class Add:
    """Add or replace documents, so many a commit."""

    documents: tuple[tuple[str, int], ...]
    a_commit: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete documents; those that are not there are passed over, as when it is done again."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Optimize:
    """Join and compress."""

    bits: int | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """Keep search parameters, as `audit` does."""

    probes: int


Operation = Open | Add | Delete | Optimize | Save


def documents(letter: str, first: int, last: int, version: int = 0) -> tuple[tuple[str, int], ...]:
    """Documents `letter` first to last - 1."""
    return tuple((f"{letter}{i}", version) for i in range(first, last))


def ids(letter: str, first: int, last: int) -> tuple[str, ...]:
    """Their ids."""
    return tuple(id for id, _ in documents(letter, first, last))


WORKLOAD: tuple[Operation, ...] = (
    Open(),
    Add(documents("a", 0, 10), a_commit=4),
    Add((*documents("a", 2, 5, version=1), *documents("a", 10, 12))),  # some replaced
    Delete(ids("a", 6, 9)),
    Open(),
    Save(probes=3),
    Optimize(),
    Add(documents("b", 0, 8), a_commit=3),  # enough to merge small segments
    Open(),
    Add(documents("c", 0, 34)),  # enough to compress
    Add((*documents("b", 0, 3, version=1), *documents("c", 3, 6, version=1))),  # in both kinds
    Open(),
    Delete((*ids("c", 8, 12), *ids("a", 0, 2))),
    Optimize(),  # compresses what is flat, drops what was replaced
    Open(),
    Add(documents("long", 0, 1, version=LONG)),  # cannot be compressed
    Add(documents("d", 0, 20)),  # tries to, and gives it up
    Open(),
    Delete(("long0",)),
    Optimize(bits=8),
    Open(),
    Add(documents("e", 0, 40), a_commit=10),  # more than twice what the codebook was made for
    Open(),
    Add(documents("f", 0, 20)),
    Add(documents("g", 0, 20)),
    Open(),
    Delete((*ids("b", 0, 8), *ids("c", 0, 30), *ids("e", 0, 30))),
    Optimize(),
    Open(),
    Delete((*ids("a", 0, 12), *ids("c", 30, 34), *ids("d", 0, 20), *ids("f", 0, 20))),
    Optimize(),  # a codebook has no segment any more
    Open(),
    Delete((*ids("e", 30, 40), *ids("g", 0, 20))),
    Optimize(),  # nothing is left
    Add(documents("h", 0, 3)),
)


def chapters() -> list[range]:
    """The operations from each `Open` to the next, which closes the collection first."""
    first = [number for number, operation in enumerate(WORKLOAD) if isinstance(operation, Open)]
    return [range(start, end) for start, end in pairwise([*first, len(WORKLOAD)])]


def after(operation: Operation, state: State) -> Iterator[State]:
    """What the collection holds at each acknowledgement of an operation."""
    if isinstance(operation, Add):
        for start in range(0, len(operation.documents), operation.a_commit):
            state = {**state, **dict(operation.documents[start : start + operation.a_commit])}
            yield state
    elif isinstance(operation, Delete):
        state = {id: version for id, version in state.items() if id not in operation.ids}
    yield state


@dataclass(frozen=True, slots=True)
class Moment:
    """An acknowledgement: the operation that gave it, and what is there from then on."""

    operation: int
    state: State


def timeline(operations: tuple[Operation, ...] = WORKLOAD) -> list[Moment]:
    """What is there after 0, 1, 2, … acknowledgements."""
    moments = [Moment(-1, {})]
    for number, operation in enumerate(operations):
        for state in after(operation, moments[-1].state):
            moments.append(Moment(number, state))
    return moments


class Session:
    """A process's collection, and what is done to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._collection: Collection | None = None

    @property
    def is_open(self) -> bool:
        """Whether the collection is open."""
        return self._collection is not None

    @property
    def collection(self) -> Collection:
        """The open collection, opened now where it is not."""
        if self._collection is None:
            self._collection = gingham.open(self.path, threads=1, bits=8)
        return self._collection

    def close(self) -> None:
        """Close it."""
        collection, self._collection = self._collection, None
        if collection is not None:
            collection.close()

    def do(self, operation: Operation, acknowledge: Callable[[], None]) -> None:
        """Do one operation; `acknowledge` is called whenever something is promised to be durable.

        An `Add` is told of each of its commits, and at its end, as every operation is.
        """
        if isinstance(operation, Open):
            self.close()
            assert self.collection is not None
        elif isinstance(operation, Add):
            self._add(operation, acknowledge)
        elif isinstance(operation, Delete):
            self.collection.delete(operation.ids, missing_ok=True)
        elif isinstance(operation, Optimize):
            self.collection.optimize(bits=operation.bits)
        else:
            self.collection._save_parameters(SearchParameters(1, operation.probes, 10, 10))
        acknowledge()

    def _add(self, operation: Add, acknowledge: Callable[[], None]) -> None:
        from gingham import intake

        before, intake._BATCH_DOCUMENTS = intake._BATCH_DOCUMENTS, operation.a_commit
        try:
            self.collection.add(
                TokenVectors.from_arrays([vectors_of(*d) for d in operation.documents]),
                ids=[id for id, _ in operation.documents],
                metadata=[metadata_of(*d) for d in operation.documents],
                progress=lambda progress: acknowledge(),
            )
        finally:
            intake._BATCH_DOCUMENTS = before
