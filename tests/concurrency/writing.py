"""The writer of the stress test: adds, replaces, deletes and optimizes until its time is up."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gingham
from concurrency.model import metadata_of, vectors_of
from gingham import Collection, Progress, TokenVectors
from gingham.index import merge, promotion
from gingham.index import writer as index_writer

_BATCH = 16  # documents of a commit: adding more makes several
_MOST = 500  # documents
_FEWEST = 200


def lower_thresholds() -> None:
    """Merge, compress, outgrow a codebook and copy the log after hundreds of vectors."""
    changed: list[tuple[Any, str, int]] = [
        (promotion, "FIRST", 700),
        (promotion, "NEXT", 250),
        (promotion, "_GROWTH", 2),
        (merge, "_FACTOR", 4),
        (index_writer, "_LONG_LOG", 400_000),
        (gingham.intake, "_BATCH_DOCUMENTS", _BATCH),
    ]
    for module, name, value in changed:
        assert hasattr(module, name), name
        setattr(module, name, value)


class Writer:
    """Changes a collection, noting each change in the ledger before it begins."""

    def __init__(self, collection: Collection, ledger: Path, seed: int) -> None:
        """Start from an empty collection."""
        self._collection = collection
        self._ledger = ledger.open("ab", buffering=0)
        self._random = random.Random(seed)
        self._state: dict[str, int] = {}
        self._version = self._made = 0
        self.done: Counter[str] = Counter()

    def _generation(self) -> int:
        generation: int = self._collection._snapshot.settings.get("generation", 0)
        return generation

    def _note(self, **change: Any) -> None:
        line = json.dumps({"from": self._generation(), **change})
        self._ledger.write(line.encode() + b"\n")

    def work(self, seconds: float) -> dict[str, int]:
        """Change the collection again and again; returns how often what was done."""
        self._made = _FEWEST
        self._store([f"d{i}" for i in range(_FEWEST)])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()
        info = self._collection.info()
        return {
            **self.done,
            "generations": info.generation,
            "documents": info.documents,
            "compressed tokens": info.clustered,
            "flat tokens": info.tokens - info.clustered,
        }

    def step(self) -> None:
        """One change."""
        choices = [self._add, self._replace, self._delete, self._optimize]
        weights = [5.0, 4.0, 5.0, 0.4]
        if len(self._state) < _FEWEST:
            weights[2] = 0
        if len(self._state) > _MOST:
            weights[0] = 0
        [chosen] = self._random.choices(choices, weights)
        chosen()

    def _add(self) -> None:
        """Add documents; sometimes so many that it takes several commits."""
        n = self._random.choice([1, 1, 3, 10, 20, 60])
        ids = [f"d{i}" for i in range(self._made, self._made + n)]
        self._made += n
        self._store(ids)
        self.done["adds"] += 1

    def _replace(self) -> None:
        if self._state:
            n = min(len(self._state), self._random.choice([1, 1, 4, 30]))
            self._store(self._random.sample(sorted(self._state), n))
            self.done["replaces"] += 1

    def _store(self, ids: list[str]) -> None:
        versions = {}
        for id in ids:
            self._version += 1
            versions[id] = self._version
        batches = [ids[i : i + _BATCH] for i in range(0, len(ids), _BATCH)]

        def note(batch: list[str]) -> None:
            self._note(add={id: versions[id] for id in batch})

        def committed(progress: Progress) -> None:
            self.done["batches"] += 1
            if progress.documents < len(ids):
                note(batches[progress.documents // _BATCH])

        note(batches[0])
        self._collection.add(
            TokenVectors.from_arrays([vectors_of(id, versions[id]) for id in ids]),
            ids=ids,
            metadata=[metadata_of(id, versions[id]) for id in ids],
            progress=committed,
        )
        self._state.update(versions)

    def _delete(self) -> None:
        n = min(len(self._state), self._random.choice([1, 1, 5, 20, 80]))
        ids = self._random.sample(sorted(self._state), n)
        self._note(delete=ids)
        self._collection.delete(ids)
        for id in ids:
            del self._state[id]
        self.done["deletes"] += 1

    def _optimize(self) -> None:
        self._note()
        self._collection.optimize()
        self.done["optimizes"] += 1
