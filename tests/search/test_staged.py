"""The staged search of a whole collection against scoring everything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gingham
from clustering import add, add_passages, ids_of, made, queries, topic_vectors
from gingham import Collection, InputError, SearchParameters, TokenVectors
from gingham.index import promotion
from gingham.search import searcher, staged
from gingham.search.staged import Plan

MANY = 1800
TINY = SearchParameters(1, 1, 1, 1)
SMALL = SearchParameters(3, 6, 120, 40)
WIDEST = SearchParameters(1 << 20, 1 << 20, 1 << 20, 1 << 20)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Two clustered segments of one codebook and a few flat documents; some are gone."""
    collection = gingham.open(tmp_path_factory.mktemp("staged") / "c")
    add(collection, range(MANY - 300), tokens=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promotion, "AT_ONCE", 4 * (MANY - 300))  # not joined
        collection.optimize(bits=4)
        add(collection, range(MANY - 300, MANY - 20), tokens=4)
        collection.optimize(bits=4)
    add(collection, range(MANY - 20, MANY), tokens=4)
    collection.delete([f"d{i}" for i in range(0, MANY, 50)])
    return collection


ALIVE = MANY - MANY // 50


@pytest.fixture
def never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clustered segments are never scored whole: the stages have to find everything."""
    monkeypatch.setattr(staged, "_FEW_ARE_SCORED_WHOLE", False)


def is_staged(collection: Collection, parameters: SearchParameters) -> bool:
    snapshot = collection._snapshot
    return not Plan(snapshot, [None] * len(snapshot.segments), parameters).is_complete


def recall(
    collection: Collection, parameters: SearchParameters | None, k: int = 10, **arguments: Any
) -> float:
    """The share of the exact best that a staged search finds, over some queries."""
    found = wanted = 0
    for query in queries(25):
        exact = set(ids_of(collection.search(query, k=k, exact=True, **arguments)))
        hits = collection.search(query, k=k, parameters=parameters, **arguments)
        found += len(exact & set(ids_of(hits)))
        wanted += len(exact)
    return found / wanted


@pytest.mark.parametrize("group", [True, False])
def test_the_widest_search_is_the_exact_one(
    large: Collection, never_whole: None, group: bool
) -> None:
    assert large.info().segments == 3
    assert is_staged(large, WIDEST)
    where = {"tenth": {"$in": [1, 2]}}
    for query in queries(4) + queries(2, length=40):
        for k, condition in ((1, None), (10, where), (MANY, None), (MANY, where)):
            exact = large.search(query, k=k, exact=True, group=group, where=condition)
            hits = large.search(query, k=k, parameters=WIDEST, group=group, where=condition)
            assert hits == exact  # ids, scores to the bit, order


def test_scores_are_those_of_the_exact_search(large: Collection) -> None:
    for query in queries(5):
        exact = {hit.id: hit.score for hit in large.search(query, k=MANY, exact=True)}
        for parameters in (TINY, SMALL, None):
            for hit in large.search(query, k=20, parameters=parameters):
                assert hit.score == exact[hit.id]


def test_recall_grows_with_the_parameters(large: Collection) -> None:
    assert is_staged(large, SMALL)
    small, default = recall(large, SMALL), recall(large, None)
    assert is_staged(large, SearchParameters.default(10, MANY))
    assert small >= 0.85
    assert default >= 0.97
    assert recall(large, TINY) <= small + 0.02


@pytest.mark.parametrize("k", [1, 10, 100, 999, ALIVE - 1, ALIVE, ALIVE + 1, 10**7, 10**30])
@pytest.mark.parametrize("parameters", [TINY, SMALL, None])
def test_k_hits_whenever_k_documents_are_eligible(
    large: Collection, k: int, parameters: SearchParameters | None
) -> None:
    [query] = queries(1)
    hits = large.search(query, k=k, parameters=parameters, texts=False)
    assert len(hits) == min(k, ALIVE)
    assert len({hit.id for hit in hits}) == len(hits)
    assert not any(int(hit.id[1:]) % 50 == 0 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("parameters", [TINY, SMALL, None])
def test_k_hits_under_a_filter(large: Collection, parameters: SearchParameters | None) -> None:
    [query] = queries(1)
    conditions: list[tuple[dict[str, Any], int]] = [
        ({"n": 7}, 1),
        ({"n": MANY - 3}, 1),  # flat
        ({"n": {"$lt": 18}}, 17),
        ({"tenth": 3}, MANY // 10),
        ({"parity": "odd"}, MANY // 2),
        ({"$not": {"n": 7}}, ALIVE - 1),
        ({"n": {"$gte": MANY - 300}}, 294),
        ({"n": 50}, 0),  # deleted
        ({"n": -1}, 0),
        ({}, ALIVE),
    ]
    for where, eligible in conditions:
        for k in (1, 5, 200, 2000):
            hits = large.search(query, k=k, where=where, parameters=parameters)
            assert len(hits) == min(k, eligible), where
        exact = large.search(query, k=2000, where=where, exact=True)
        assert {hit.id for hit in hits} == {hit.id for hit in exact}


def test_a_few_ids_are_ranked_exactly(large: Collection) -> None:
    random = np.random.default_rng(5)
    [query] = queries(1)
    there = [f"d{i}" for i in range(MANY) if i % 50]
    for size in (1, 2, 18, 180):
        some = random.choice(there, size, replace=False).tolist()
        exact = large.search(query, k=size, ids=some, exact=True)
        assert len(exact) == size
        assert large.search(query, k=size, ids=some) == exact
        assert large.search(query, k=size, ids=some, parameters=WIDEST) == exact
        found = large.search(query, k=size, ids=some, parameters=TINY)
        assert sorted(ids_of(found)) == sorted(some)
    assert large.search(query, ids=[], parameters=TINY) == []


def test_a_filter_does_not_cost_recall(large: Collection, never_whole: None) -> None:
    everything = recall(large, SMALL)
    for where in ({"parity": "odd"}, {"tenth": 3}, {"n": {"$lt": 18}}):
        assert recall(large, SMALL, where=where) >= everything - 0.03, where


def test_parameters_of_any_size_may_be_widened(large: Collection, never_whole: None) -> None:
    """A selective filter widens; what is over the range of parameters is no error."""
    [query] = queries(1)
    parameters = SearchParameters(1 << 20, 1 << 20, 500, 500)
    for where in ({"n": {"$lt": 9}}, {"tenth": 3}):
        hits = large.search(query, k=3, where=where, parameters=parameters)
        assert hits == large.search(query, k=3, where=where, exact=True)


def test_one_query_never_changes_the_next(large: Collection) -> None:
    asked = topic_vectors([6, 1, 33, 64, 6], seed=12)
    before = [large.search(query, k=7, parameters=SMALL) for query in asked]
    large.search(asked[2], k=500, where={"parity": "odd"}, group=False, parameters=TINY)
    assert [large.search(query, k=7, parameters=SMALL) for query in asked] == before
    assert large.search_many(asked, k=7, parameters=SMALL) == before
    for threads in (1, 2, 5):
        again = gingham.open(large.path, threads=threads, read_only=True)
        assert again.search_many(asked, k=7, parameters=SMALL) == before
        assert again.search(asked[3], k=7, parameters=SMALL) == before[3]


def test_a_document_of_many_passages_is_found_once(tmp_path: Path) -> None:
    """Its passages fill all candidates, and k documents are found all the same."""
    collection = gingham.open(tmp_path / "c")
    counts = [300] + [1 + i % 3 for i in range(39)]
    alike = topic_vectors([2] * 300, topics=1, spread=0.1, seed=2)
    others = topic_vectors([1 + i % 4 for i in range(sum(counts[1:]))], seed=3)
    add_passages(collection, TokenVectors.concatenate([alike, others]), counts)
    collection.optimize(bits=4)
    query = alike[0]
    for parameters in (TINY, SearchParameters(1, 2, 50, 20), None):
        for k in (1, 2, 10, 40, 100):
            hits = collection.search(query, k=k, parameters=parameters)
            assert len({hit.id for hit in hits}) == len(hits) == min(k, 40)
            assert hits[0].id == "p0"
        for k in (1, 50, 300, 301, 1000):
            passages = collection.search(query, k=k, group=False, parameters=parameters)
            assert len({(hit.id, hit.span) for hit in passages}) == len(passages)
            assert len(passages) == min(k, sum(counts))


def test_two_codebooks_are_searched_as_one_collection(
    tmp_path: Path, never_whole: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "_GROWTH", 2)
    collection = made(tmp_path / "c", 100)
    add(collection, range(100, 400))
    collection.optimize()
    add(collection, range(400, 420))
    assert collection.info().segments == 3
    assert is_staged(collection, TINY)
    asked = queries(6)
    for query in asked:
        exact = collection.search(query, k=420, exact=True)
        assert collection.search(query, k=420, parameters=WIDEST) == exact
        assert len(collection.search(query, k=300, parameters=TINY)) == 300
        where = {"n": {"$in": [50, 150, 250, 410]}}
        few = collection.search(query, k=9, where=where, parameters=TINY)
        assert ids_of(few) == ids_of(collection.search(query, k=9, where=where, exact=True))
    assert recall(collection, SMALL) >= 0.9


def test_a_collections_own_parameters(tmp_path: Path) -> None:
    collection = made(tmp_path / "c", 50)
    values = {"supers": 2, "probes": 3, "candidates": 9, "refined": 4}
    with collection._index.writer() as writer:
        writer._catalog.set_setting("parameters", values)
    collection.refresh()
    assert searcher.stored(collection._snapshot, 10) == SearchParameters(**values)
    assert len(collection.search(queries(1)[0], k=30)) == 30
    with collection._index.writer() as writer:
        writer._catalog.set_setting("parameters", {**values, "supers": 0})
    collection.refresh()
    with pytest.raises(gingham.CorruptionError, match="supers must be") as caught:
        collection.search(queries(1)[0])
    assert "\n" not in str(caught.value)
    assert len(collection.search(queries(1)[0], exact=True)) == 10


@pytest.mark.parametrize("k", [1, 10, 50, 1000, 1 << 16])
@pytest.mark.parametrize("passages", [0, 1, 60_000, 10**9])
def test_the_defaults_suit_every_size(k: int, passages: int) -> None:
    parameters = SearchParameters.default(k, passages)
    assert parameters.refined >= k
    assert parameters.candidates >= parameters.refined


@pytest.mark.parametrize(
    "values",
    [
        (0, 1, 1, 1),
        (1, 1, 1, (1 << 20) + 1),
        (1, True, 1, 1),
        (1, 1, 1, 1, 0),
        (1, 1, 1, 1, 101),
        (1, 1, 1, 1, True),
    ],
)
def test_parameters_have_a_range(values: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"whole number from 1 to|margin must be a number above 0"):
        SearchParameters(*values)


def test_a_snapshot_is_planned_once_for_all_queries(
    large: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Plan] = []
    real = Plan.__init__

    def init(plan: Plan, *arguments: Any) -> None:
        plans.append(plan)
        real(plan, *arguments)

    monkeypatch.setattr(Plan, "__init__", init)
    large.search_many(topic_vectors([5] * 6, seed=1), k=5, parameters=SMALL)
    assert len(plans) == 1


@pytest.mark.parametrize("parameters", [TINY, SMALL, WIDEST, SearchParameters.default(10, 1000)])
def test_a_selective_filter_widens_the_search(parameters: SearchParameters) -> None:
    before = asdict(parameters)
    for share in (1.0, 0.5, 0.1, 1e-9):
        wide = asdict(parameters.among(share))  # still in range
        assert all(value is None or value >= before[name] for name, value in wide.items())
        before = wide
    assert parameters.among(1.0) == parameters
    eighth = SearchParameters(8, 50, 2000, 60, 3.5).among(1 / 8)
    assert eighth == SearchParameters(64, 400, 2000, 170, 3.5)
    assert SearchParameters(8, 50, 2000, 60).among(1e-6) == SearchParameters(64, 400, 2000, 170)
