"""One `Collection`, many threads: every method at once, and closing under them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gingham
from clustering import folders, listed
from gingham import Collection, CollectionError, TokenVectors
from gingham.search import staged
from support import random_vectors

QUERIES = [random_vectors([3], seed=90 + i)[0] for i in range(4)]


def together(*work: Callable[[], object]) -> None:
    """Run all of it, each in a thread; the first error of any is raised."""
    errors: list[BaseException] = []

    def catching(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=catching, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_every_method_at_once(collection: Collection) -> None:
    """The forty documents stay; others come and go beside them."""
    stop = threading.Event()
    alone = [collection.search(query, k=50, ids=[f"d{i}" for i in range(40)]) for query in QUERIES]
    counts = {"searched": 0}

    def write() -> None:
        try:
            for i in range(12):
                ids = [f"new{i}-{j}" for j in range(3)]
                collection.add(random_vectors([2, 3, 4], seed=i), ids=ids)
                assert ids[0] in collection
                assert collection.delete(ids[1:]) == 2
                if i % 4 == 3:
                    collection.optimize()
        finally:
            stop.set()

    def search() -> None:
        while not stop.is_set():
            forty = [f"d{i}" for i in range(40)]
            for query, expected in zip(QUERIES, alone, strict=True):
                assert collection.search(query, k=50, ids=forty) == expected
                counts["searched"] += 1
            many = collection.search_many(TokenVectors.from_arrays(QUERIES), k=50, ids=forty)
            assert many == alone

    def look() -> None:
        while not stop.is_set():
            assert collection.get("d7").metadata == {"n": 7, "parity": "odd"}
            assert "d7" in collection
            assert 40 <= len(collection) <= 40 + 12 * 3
            assert collection.info().documents >= 40
            assert collection.explain(QUERIES[0], "d7").id == "d7"
            collection.refresh()

    def verify() -> None:
        while not stop.is_set():
            collection.verify()

    together(write, search, search, look, verify)
    assert counts["searched"] > 0
    assert len(collection) == 40 + 12
    assert folders(collection.path) == listed(collection)


def test_a_search_under_way_when_it_is_closed_has_its_answer(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = collection.search(QUERIES[0], k=50)
    scoring, closed = threading.Event(), threading.Event()
    real = staged.Plan.score

    def slowly(*arguments: Any) -> Any:
        scoring.set()
        assert closed.wait(20)
        return real(*arguments)

    monkeypatch.setattr(staged.Plan, "score", slowly)

    def search() -> None:
        assert collection.search(QUERIES[0], k=50) == expected

    def close() -> None:
        assert scoring.wait(20)
        collection.close()
        closed.set()

    together(search, close)
    with pytest.raises(CollectionError, match="was closed; open it again"):
        collection.search(QUERIES[0])


def test_closing_under_searches_ends_them_with_our_error(collection: Collection) -> None:
    expected = collection.search(QUERIES[0], k=50)
    started = threading.Barrier(4)

    def search_on() -> None:
        while True:
            assert collection.search(QUERIES[0], k=50) == expected

    def search() -> None:
        started.wait()
        with pytest.raises(CollectionError, match="was closed; open it again"):
            search_on()

    def close() -> None:
        started.wait()
        for _ in range(2):
            collection.close()

    together(search, search, search, close)


def test_a_write_under_way_when_it_is_closed_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gingham.intake._BATCH_DOCUMENTS", 2)
    collection = gingham.open(tmp_path / "c")
    committed, closed = threading.Event(), threading.Event()

    def add() -> None:
        def wait(progress: object) -> None:
            committed.set()
            assert closed.wait(20)

        texts = [f"text number {i} of the tide" for i in range(6)]
        assert collection.add(texts, ids=[f"t{i}" for i in range(6)], progress=wait) == 6

    def close() -> None:
        assert committed.wait(60)
        collection.close()
        closed.set()

    together(add, close)
    with pytest.raises(CollectionError, match="was closed"):
        collection.add(["one more"])
    assert not Path(f"{collection.path}/catalog.sqlite-wal").exists()
    again = gingham.open(tmp_path / "c", read_only=True)
    assert len(again) == 6
    assert again.search("the tide", k=9)


def test_answers_do_not_depend_on_who_asks_beside(tmp_path: Path) -> None:
    """Queries that are asked at once have the answers that they have alone, to the last bit."""
    collection = gingham.open(tmp_path / "c", threads=2)
    collection.add(
        random_vectors([1 + i % 7 for i in range(300)]), ids=[str(i) for i in range(300)]
    )
    collection.optimize(bits=4)
    queries = [random_vectors([4], seed=500 + i)[0] for i in range(12)]
    alone = [collection.search(query, k=20) for query in queries]

    def ask(order: np.ndarray) -> None:
        for i in order:
            assert collection.search(queries[i], k=20) == alone[i]

    generator = np.random.default_rng(0)
    orders = [generator.permutation(12) for _ in range(6)]
    together(*(lambda order=order: ask(order) for order in orders))
