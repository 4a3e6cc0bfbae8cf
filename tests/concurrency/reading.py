"""A reader of the stress test: asks what can be asked and compares each answer with the model."""

from __future__ import annotations

import os
import pickle
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import gingham
from concurrency.model import (
    Model,
    Packed,
    WrongAnswerError,
    check,
    check_hits,
    metadata_of,
    queries,
    vectors_of,
)
from gingham import Collection, DocumentNotFoundError, Hit

ALL = 10_000
Check = Callable[[Packed], None]


def descriptors() -> int:
    """How many this process has open; 0 where it cannot be seen."""
    folder = "/proc/self/fd"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0


class Reader:
    """Reads a collection that it may share with other threads, which may refresh it any time."""

    def __init__(self, ledger: Path, bits: int, tolerance: float, seed: int) -> None:
        """Remember where the truth is."""
        self._model = Model(ledger)
        self._bits = bits
        self._tolerance = tolerance
        self._random = random.Random(seed)
        self._answered: tuple[int, dict[int, list[Hit]]] = (-1, {})
        self.done: Counter[str] = Counter()
        self.oldest = self.most_descriptors = 0

    def _generation(self, collection: Collection) -> int:
        generation: int = collection._snapshot.settings.get("generation", 0)
        return generation

    def read(self, collection: Collection) -> None:
        """Ask one thing and check the answer.

        Raises:
            WrongAnswerError: it is the answer of none of the generations that it can be of.
        """
        asks = [
            self._everything,
            self._best,
            self._own,
            self._filtered,
            self._listed,
            self._several,
            self._documents,
            self._count,
        ]
        ask = self._random.choice(asks)
        first = self._generation(collection)
        states = self._model.between(first, first)
        answers = ask(collection, states[0])
        last = self._generation(collection)
        check(last >= first, "generation", last, "after", first)
        if last > first:  # another thread refreshed: it may be of any generation in between
            states = self._model.between(first, last)
            self.done["during a refresh"] += len(answers)
        for fits in answers:
            self._check(fits, states, first, last)
        self.done["answers"] += len(answers)
        self.done[ask.__name__.strip("_")] += len(answers)
        self.oldest = max(self.oldest, self._model.latest() - last)
        self.most_descriptors = max(self.most_descriptors, descriptors())

    def _check(self, fits: Check, states: list[Packed], first: int, last: int) -> None:
        failures = []
        for state in states:
            try:
                return fits(state)
            except WrongAnswerError as error:
                failures.append(str(error))
        raise WrongAnswerError(f"generations {first} to {last}: " + "; ".join(failures))

    # Each asks something and returns what checks the answers against a state. ---------------------

    def _everything(self, collection: Collection, packed: Packed) -> list[Check]:
        """Every document by exact scores; asked again of one snapshot, the same bit for bit."""
        number = self._random.randrange(len(queries()))
        query = queries()[number]
        first = self._generation(collection)
        hits = collection.search(query, ALL, exact=True)
        if self._generation(collection) == first:
            if self._answered[0] != first:
                self._answered = (first, {})
            before = self._answered[1].setdefault(number, hits)
            check(before == hits, "one snapshot answered the same in two ways, generation", first)
            self.done["compared bit for bit"] += before is not hits
        return [lambda p: check_hits(hits, p, query, ALL, self._tolerance)]

    def _best(self, collection: Collection, packed: Packed) -> list[Check]:
        """The ten best, exactly and in stages."""
        query = self._random.choice(queries())
        exact = collection.search(query, 10, exact=True)
        staged = collection.search(query, 10)
        return [
            lambda p: check_hits(exact, p, query, 10, self._tolerance),
            lambda p: check_hits(staged, p, query, 10, self._tolerance, every=False),
        ]

    def _own(self, collection: Collection, packed: Packed) -> list[Check]:
        """A document by its own vectors: nothing scores as much."""
        if not packed.state:
            return []
        id = self._random.choice(packed.ids)
        query = vectors_of(id, packed.state[id])
        tolerance = self._tolerance * max(1, len(query) / 4)
        hits = collection.search(query, 3)

        def fits(p: Packed) -> None:
            check_hits(hits, p, query, 3, tolerance, every=False)
            if p.state.get(id) == packed.state[id]:
                check(hits[0].id == id, id, "is not the best for itself, but", hits[0].id)

        return [fits]

    def _filtered(self, collection: Collection, packed: Packed) -> list[Check]:
        """Every document that a filter leaves."""
        query = self._random.choice(queries())
        even = self._random.random() < 0.5
        where = {"even": even} if self._random.random() < 0.5 else {"$not": {"even": not even}}
        hits = collection.search(query, ALL, where=where, exact=True)

        def fits(p: Packed) -> None:
            among = [i for i, v in p.state.items() if metadata_of(i, v)["even"] == even]
            check_hits(hits, p, query, ALL, self._tolerance, among=among)

        return [fits]

    def _listed(self, collection: Collection, packed: Packed) -> list[Check]:
        """Documents that are named."""
        query = self._random.choice(queries())
        ids = self._random.sample(packed.ids, min(5, len(packed.ids)))
        try:
            hits = collection.search(query, 5, ids=ids)
        except DocumentNotFoundError:
            return [lambda p: check(set(ids) - p.state.keys(), "not found, but there:", ids)]
        return [lambda p: check_hits(hits, p, query, 5, self._tolerance, among=ids)]

    def _several(self, collection: Collection, packed: Packed) -> list[Check]:
        """Three queries at once, all answered from one snapshot."""
        asked = self._random.sample(queries(), 3)
        answers = collection.search_many(gingham.TokenVectors.from_arrays(asked), 7, exact=True)

        def fits(p: Packed) -> None:
            for query, hits in zip(asked, answers, strict=True):
                check_hits(hits, p, query, 7, self._tolerance)

        return [fits]

    def _documents(self, collection: Collection, packed: Packed) -> list[Check]:
        """One document that is there and one that is not."""
        if not packed.ids:
            return []
        there, gone = self._random.choice(packed.ids), f"d{self._random.randrange(3000)}"
        answers: list[Check] = []
        for id in (there, gone):
            try:
                metadata = collection.get(id).metadata
            except DocumentNotFoundError:
                metadata = None

            def fits(p: Packed, id: str = id, found: object = metadata) -> None:
                version = p.state.get(id)
                wanted = None if version is None else metadata_of(id, version)
                check(found == wanted, id, "is", found, "not", wanted)

            answers.append(fits)
        return answers

    def _count(self, collection: Collection, packed: Packed) -> list[Check]:
        """How many there are."""
        count = len(collection)
        return [lambda p: check(count == len(p.state), count, "documents, not", len(p.state))]

    # Ways to live ---------------------------------------------------------------------------------

    def share(self, collection: Collection, seconds: float) -> None:
        """Read beside other threads; now and then refresh for all of them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(self._random.choice([1, 5, 40])):
                self.read(collection)
            collection.refresh()
            self.done["refreshes"] += 1

    def live(self, path: Path, seconds: float) -> None:
        """Open, read, hold, refresh, pickle, fork, close, again and again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            collection = gingham.open(path, read_only=self._random.random() < 0.5, bits=self._bits)
            self.done["opened"] += 1
            for _ in range(self._random.choice([1, 4, 8])):
                self._season(collection)
                if time.monotonic() > end:
                    break
            if self._random.random() < 0.3:
                other: Collection = pickle.loads(pickle.dumps(collection))  # noqa: S301
                self.done["pickled"] += 1
                self._season(other)
                other.close()
            if hasattr(os, "fork") and self._random.random() < 0.3:
                self._fork(collection)
            collection.close()

    def _season(self, collection: Collection) -> None:
        """Read from one snapshot for a while, then refresh."""
        pause = self._random.choice([0, 0, 0, 0.02, 0.2])
        for _ in range(self._random.choice([1, 3, 10])):
            self.read(collection)
            time.sleep(pause)
        collection.refresh()
        self.done["refreshes"] += 1

    def _fork(self, collection: Collection) -> None:
        """Read in a forked child and beside it; the child says how much it checked."""
        end, begin = os.pipe()
        child = os.fork()
        if child == 0:
            before = self.done["answers"]
            try:
                for _ in range(10):
                    self.read(collection)
                os.write(begin, b"%d" % (self.done["answers"] - before))
            except BaseException as error:
                os.write(begin, repr(error).encode()[:4000])
                os._exit(1)
            os._exit(0)
        os.close(begin)
        for _ in range(5):
            self.read(collection)
        with os.fdopen(end, "rb") as pipe:
            told = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        check(status == 0, "a forked reader failed:", status, told)
        self.done["answers"] += int(told)
        self.done["forked"] += 1

    def report(self) -> dict[str, int]:
        """What was done."""
        return {**self.done, "oldest": self.oldest, "descriptors": self.most_descriptors}
