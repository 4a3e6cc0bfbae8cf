"""What a collection must answer at each generation, worked out from what the writer set out to do.

A document is an id and a version, which fix its vectors and metadata; so the documents of a
collection are a mapping from id to version. The writer notes each change in a ledger, a file of
JSON lines, before it begins; with the change it notes the generation that it begins from. Whoever
then sees a later generation sees the change, whole. Scores are MaxSim by the formula, in float64.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham import Hit

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
State = Mapping[str, int]

DIM = 32
QUERY_TOKENS = 4
# How far a score of QUERY_TOKENS vectors may be off where vectors are compressed to so many bits. A
# vector unlike the few hundred that a codebook was trained on comes back at a cosine of .91 to .93,
# that is, off by up to .37: a standard deviation of .13 over four query vectors. Seen: .27.
TOLERANCE = {8: 0.03, 4: 0.4}


@lru_cache(maxsize=1 << 15)
def vectors_of(id: str, version: int) -> Float32:
    """The token vectors of a document: 1 to 8 of unit length, unlike those of any other version."""
    generator = np.random.default_rng(zlib.crc32(f"{id}/{version}".encode()))
    values = generator.standard_normal((1 + (version + len(id)) % 8, DIM))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32)


def metadata_of(id: str, version: int) -> dict[str, Any]:
    """Its metadata: all of it is compared."""
    number = zlib.crc32(id.encode())
    return {"version": version, "even": number % 2 == 0, "note": f"{id} at {version}, " * 5}


@lru_cache(maxsize=1)
def queries() -> tuple[Float32, ...]:
    """What every reader asks."""
    made = np.random.default_rng(11).standard_normal((16, QUERY_TOKENS, DIM))
    made /= np.linalg.norm(made, axis=2, keepdims=True)
    return tuple(made.astype(np.float32))


class Packed:
    """The documents of a state, ready to be scored."""

    def __init__(self, state: State) -> None:
        """Look up and join their vectors."""
        self.state = state
        self.ids = list(state)
        parts = [vectors_of(id, version) for id, version in state.items()]
        self._starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
        self._values = np.concatenate(parts).astype(np.float64) if parts else np.empty((0, DIM))
        self._scores: dict[bytes, dict[str, float]] = {}

    def scores(self, query: Float32) -> dict[str, float]:
        """MaxSim of every document."""
        if not self.ids:
            return {}
        key = query.tobytes()
        if key not in self._scores:
            similarities = self._values @ query.astype(np.float64).T
            best = np.maximum.reduceat(similarities, self._starts, axis=0).sum(axis=1)
            self._scores[key] = dict(zip(self.ids, best.tolist(), strict=True))
        return self._scores[key]


class WrongAnswerError(AssertionError):
    """A collection answered what it must not."""


def check(condition: object, *what: object) -> None:
    """Raise unless it holds; unlike `assert` also where Python was told to leave asserts out."""
    if not condition:
        raise WrongAnswerError(" ".join(map(str, what)))


def check_hits(
    hits: Sequence[Hit],
    packed: Packed,
    query: Float32,
    k: int,
    tolerance: float,
    *,
    among: Sequence[str] | None = None,
    every: bool = True,
) -> None:
    """Refuse hits that are not the k best of a state, each as it was added.

    Args:
        hits: what was answered.
        packed: the state.
        query: what was asked.
        k: how many were wanted.
        tolerance: of a score.
        among: the ids that may be found; all where None.
        every: whether no better document may be missing: not for the search in stages.
    """
    expected = packed.scores(query)
    eligible = expected.keys() if among is None else set(among)
    found = [hit.id for hit in hits]
    check(len(set(found)) == len(found), "a document is found twice", found)
    check(len(hits) == min(k, len(eligible)), len(hits), "hits of", len(eligible), "documents")
    check(set(found) <= set(eligible), "found, but not there:", sorted(set(found) - set(eligible)))
    previous = float("inf")
    for hit in hits:
        version = packed.state[hit.id]
        check(hit.metadata == metadata_of(hit.id, version), hit.id, "at", version, hit.metadata)
        off = hit.score - expected[hit.id]
        check(abs(off) <= tolerance, hit.id, "at", version, "scores", hit.score, "by", off)
        check(hit.score <= previous, "the hits are not in order", hit.id)
        previous = hit.score
    if every and hits:
        worst = hits[-1].score
        for id in set(eligible) - set(found):
            check(expected[id] <= worst + tolerance, id, "is missing:", expected[id], worst)


class Model:
    """The ledger, read along. Not shared between threads."""

    def __init__(self, ledger: Path) -> None:
        """Nothing is read yet."""
        self._ledger = ledger
        self._read = 0
        self._from: list[int] = []
        self._changes: list[dict[str, Any]] = []
        self._packed: OrderedDict[int, Packed] = OrderedDict({0: Packed({})})

    def _read_on(self) -> None:
        with self._ledger.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        end = lines.rfind(b"\n") + 1
        self._read += end
        for line in lines[:end].splitlines():
            change = json.loads(line)
            self._from.append(change["from"])
            self._changes.append(change)

    def latest(self) -> int:
        """The generation that the writer's last change began from."""
        self._read_on()
        return self._from[-1] if self._from else 0

    def between(self, first: int, last: int) -> list[Packed]:
        """The states that the collection had from one generation to another, each once."""
        self._read_on()
        low, high = (int(np.searchsorted(self._from, g, "left")) for g in (first, last))
        return [self._after(n) for n in range(low, high + 1)]

    def _after(self, n: int) -> Packed:
        """The state after the first n changes."""
        if n not in self._packed:
            start = max(known for known in self._packed if known < n)
            state = dict(self._packed[start].state)
            for change in self._changes[start:n]:
                for id in change.get("delete", ()):
                    del state[id]
                for id, version in change.get("add", {}).items():
                    state.pop(id, None)
                    state[id] = version
            self._packed[n] = Packed(state)
            while len(self._packed) > 12:
                # The first and those nearest to what is asked for are kept.
                del self._packed[next(key for key in self._packed if key)]
        self._packed.move_to_end(n)
        return self._packed[n]
