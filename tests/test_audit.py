"""`Collection.audit`: what it measures against what one computes by hand, and how it chooses."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gingham
from gingham import Audit, AuditProgress, Collection, SearchParameters, TokenVectors
from gingham.audit import auditing, choosing, made_queries
from gingham.audit.choosing import CURRENT, choose, ladder, points
from gingham.audit.measuring import Measured, interval, recall
from gingham.errors import DimensionError, InputError, LockedError, ReadOnlyError
from gingham.index.writer import IndexWriter
from gingham.search.searcher import Found
from support import random_vectors

N = 4000
DEFAULT = SearchParameters.default(10, N)
SENTENCES = [
    f"The {adjective} {animal} {verb} beside the {place} when the rain has stopped at last."
    for adjective in ("old", "quick", "grey", "hungry")
    for animal in ("cat", "heron", "otter", "fox")
    for verb in ("sleeps", "waits", "hunts")
    for place in ("river", "road")
]


def vectors_of(n: int, seed: int = 0) -> TokenVectors:
    return random_vectors([2 + i % 7 for i in range(n)], dim=16, seed=seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four thousand passages of random vectors, which stages find it hard to tell apart."""
    path = tmp_path_factory.mktemp("audit") / "vectors.gingham"
    with gingham.open(path) as opened:
        opened.add(vectors_of(N), ids=[f"d{i}" for i in range(N)])
        opened.optimize(bits=4)
    return path


@pytest.fixture
def compressed(folder: Path) -> Collection:
    return gingham.open(folder, read_only=True)


@pytest.fixture(scope="module")
def asked() -> TokenVectors:
    return random_vectors([6] * 30, dim=16, seed=7)


@pytest.fixture(scope="module")
def result(folder: Path, asked: TokenVectors) -> Audit:
    with gingham.open(folder, read_only=True) as opened:
        return opened.audit(asked, target=0.9)


@pytest.fixture
def own(tmp_path: Path) -> Collection:
    """A compressed collection to write to."""
    opened = gingham.open(tmp_path / "own.gingham")
    opened.add(vectors_of(2000), ids=[f"d{i}" for i in range(2000)])
    opened.optimize(bits=4)
    return opened


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "texts.gingham"
    with gingham.open(path) as opened:
        opened.add(SENTENCES)
        opened.optimize(bits=2)
    return path


def by_hand(
    collection: Collection, asked: TokenVectors, k: int, parameters: SearchParameters | None
) -> list[float]:
    shares = []
    for query in asked:
        best = {hit.id for hit in collection.search(query, k, exact=True)}
        found = {hit.id for hit in collection.search(query, k, parameters=parameters)}
        shares.append(len(best & found) / len(best))
    return shares


# What is measured ---------------------------------------------------------------------------------


def test_recall_is_what_one_computes_by_hand(
    compressed: Collection, asked: TokenVectors, result: Audit
) -> None:
    assert (result.k, result.queries, result.made_from, result.clustered) == (10, 30, None, 1)
    assert result.parameters == DEFAULT
    assert not result.are_own
    expected = by_hand(compressed, asked, 10, None)
    assert result.recall == pytest.approx(np.mean(expected))
    assert min(point.recall for point in result.points) < 0.9  # else this would test nothing
    for point in result.points:
        expected = by_hand(compressed, asked, 10, point.parameters)
        assert point.recall == pytest.approx(np.mean(expected))
        assert point.interval == interval(np.array(expected), 0)


def test_the_curve(result: Audit) -> None:
    labels = [point.label for point in result.points]
    assert {CURRENT, "all × 0.25", "all × 8", "margin × 0.9", "probes × 2"} <= set(labels)
    times = [point.p50 for point in result.points]
    assert times == sorted(times)
    for i, point in enumerate(result.points):
        assert point.interval is not None
        assert point.interval[0] <= point.recall <= point.interval[1]
        assert 0 < point.p50 <= point.p95
        assert point.on_front == all(point.recall > other.recall for other in result.points[:i])
    [current] = [point for point in result.points if point.label == CURRENT]
    assert (current.recall, current.interval) == (result.recall, result.interval)
    assert (current.p50, current.p95) == (result.p50, result.p95)
    assert result.points[-1].recall <= max(point.recall for point in result.points) == 1


def test_score_errors_are_what_one_computes_by_hand(text_folder: Path) -> None:
    queries = ["who sleeps by the water?", "an animal that hunts", "rain"]
    with gingham.open(text_folder, read_only=True) as opened:
        error = opened.audit(queries, k=5).score_error
        differences = []
        for query in queries:
            for hit in opened.search(query, 5):
                assert hit.text is not None
                vectors = opened.encoder.encode_documents([hit.text])
                exact = gingham.maxsim(opened.encoder.encode_queries([query])[0], vectors)
                differences.append(hit.score - exact[0])
    assert error is not None
    assert (error.queries, error.hits) == (3, 15)
    assert error.mean == pytest.approx(np.mean(differences), abs=1e-4)
    assert error.absolute == pytest.approx(np.mean(np.abs(differences)), abs=1e-4)
    assert 0 < error.absolute < 1 < error.score
    assert error.interval is not None
    assert error.absolute_interval is not None
    assert error.interval[0] <= error.mean <= error.interval[1]
    assert error.absolute_interval[0] <= error.absolute <= error.absolute_interval[1]


def test_score_errors_are_not_known_without_texts(result: Audit) -> None:
    assert result.score_error is None


def test_equal_scores_count_as_found() -> None:
    best = [Found(1, 3.0, (0, 0)), Found(2, 2.0, (0, 0))]
    assert recall(best, best) == 1
    assert recall([best[0], Found(9, 2.0, (0, 0))], best) == 1
    assert recall([best[0], Found(9, 1.9, (0, 0))], best) == 0.5


def test_a_flat_collection_misses_nothing(collection: Collection) -> None:
    audit = collection.audit(target=0.9, save=True)
    assert (audit.clustered, audit.recall, audit.interval) == (0, 1, (1, 1))
    assert (audit.points, audit.parameters, audit.are_own) == ((), None, False)
    assert 0 < audit.p50 <= audit.p95
    assert audit.target is not None
    assert audit.target.reached
    assert (audit.target.parameters, audit.target.saved) == (None, False)
    assert collection.info().parameters is None


def test_a_small_compressed_collection_misses_nothing(text_folder: Path) -> None:
    with gingham.open(text_folder) as opened:
        audit = opened.audit(sample=10, target=0.9, save=True)
        assert (audit.clustered, audit.recall, audit.interval) == (1, 1, (1, 1))
        assert (audit.points, audit.parameters) == ((), None)
        assert audit.target is not None
        assert (audit.target.reached, audit.target.saved) == (True, False)
        assert opened.info().parameters is None


def test_flat_and_compressed_together(own: Collection) -> None:
    own.add(vectors_of(500, seed=3), ids=[f"e{i}" for i in range(500)])
    audit = own.audit(sample=20)
    assert 0.7 < audit.clustered < 0.9
    made, _ = made_queries.make(own._snapshot, own._model, 20, 0)
    assert audit.recall == pytest.approx(np.mean(by_hand(own, made, 10, None)))


# Intervals ----------------------------------------------------------------------------------------


def test_the_interval_is_a_bootstrap() -> None:
    values = np.random.default_rng(5).random(400)
    found = interval(values, 0)
    assert found is not None
    spread = 1.96 * values.std() / 20
    assert found == pytest.approx((values.mean() - spread, values.mean() + spread), abs=0.004)
    assert interval(values, 0) == found != interval(values, 1)
    assert interval(np.full(7, 0.1), 0) == pytest.approx((0.1, 0.1))
    assert interval(values[:1], 0) is None


# Queries ------------------------------------------------------------------------------------------


def without_times(audit: Audit) -> dict[str, Any]:
    record = asdict(replace(audit, points=(), target=None, p50=0, p95=0))
    record["curve"] = {point.label: (point.recall, point.interval) for point in audit.points}
    return record


def test_the_same_seed_gives_the_same_values(compressed: Collection) -> None:
    one, again = (compressed.audit(sample=15, seed=4) for _ in range(2))
    assert without_times(one) == without_times(again)
    assert (
        without_times(one)["curve"] != without_times(compressed.audit(sample=15, seed=5))["curve"]
    )


def test_queries_made_of_vectors(compressed: Collection) -> None:
    made, kind = made_queries.make(compressed._snapshot, compressed._model, 25, 0)
    assert (kind, len(made)) == ("stored vectors", 25)
    runs = []
    [segment] = compressed._snapshot.segments
    for row in range(N):
        values, scales = segment.vectors(row)
        assert scales is not None
        runs.append(values * scales[:, None])
    for query in made:  # these passages have fewer vectors than a query may have
        assert any(run.shape == query.shape and np.array_equal(run, query) for run in runs)
    assert compressed.audit(sample=25).made_from == "stored vectors"


def test_a_long_passage_gives_a_run_of_32_vectors(tmp_path: Path) -> None:
    opened = gingham.open(tmp_path / "long.gingham", codec="fp16")
    vectors = random_vectors([100] * 3, dim=16)
    opened.add(vectors, ids=["a", "b", "c"])
    opened.delete("b")
    made, _ = made_queries.make(opened._snapshot, opened._model, 10, 0)
    assert len(made) == 2
    for query, stored in zip(made, (vectors[0], vectors[2]), strict=True):
        stored = stored.astype(np.float16).astype(np.float32)
        [start] = np.flatnonzero((stored == query[0]).all(axis=1))
        assert len(query) == 32
        assert np.array_equal(stored[start : start + 32], query)


def test_queries_made_of_texts(text_folder: Path) -> None:
    with gingham.open(text_folder, read_only=True) as opened:
        audit = opened.audit(sample=12, k=3)
        made, kind = made_queries.make(opened._snapshot, opened._model, 1000, 0)
    assert (audit.made_from, audit.queries) == ("stored texts", 12)
    assert audit.recall == 1  # so few passages are all scored
    assert (kind, len(made)) == ("stored texts", len(SENTENCES))


def test_texts_and_vectors_together(tmp_path: Path) -> None:
    opened = gingham.open(tmp_path / "both.gingham")
    opened.add(SENTENCES[:5])
    extra = opened.encoder.encode_documents(SENTENCES[5:8])
    opened.add(extra, ids=["x", "y", "z"])
    audit = opened.audit()
    assert (audit.made_from, audit.queries) == ("stored texts", 5)
    assert audit.score_error is not None
    assert audit.score_error.hits < 5 * 8  # those of passages without text cannot be known


@pytest.mark.parametrize(
    ("text", "fewest", "most"),
    [
        (" ".join(f"w{i}" for i in range(40)), 8, 16),
        ("a few words only", 4, 4),
        ("one", 1, 1),
        ("語" * 300, 1, 1),
    ],
)
def test_excerpts(text: str, fewest: int, most: int) -> None:
    random = np.random.default_rng(0)
    seen = {made_queries.excerpt(text, random) for _ in range(50)}
    for part in seen:
        assert part
        assert part in text
        assert fewest <= len(part.split()) <= most
        assert len(part) < 200


def test_a_sample_of_the_given(compressed: Collection, asked: TokenVectors) -> None:
    assert compressed.audit(asked, sample=9).queries == 9
    assert compressed.audit(asked, sample=100).queries == 30
    alone = compressed.audit(asked[:1])
    assert alone.interval is None
    assert all(point.interval is None for point in alone.points)


def test_a_sample_of_given_texts(text_folder: Path) -> None:
    with gingham.open(text_folder, read_only=True) as opened:
        assert opened.audit(["a cat", "a fox", "an otter"], sample=2).queries == 2


# The target ---------------------------------------------------------------------------------------

ORDER = np.random.default_rng(0).permutation(40)
FIRST, SECOND = ORDER[:20], ORDER[20:]


def measured(candidates: int, first: float, second: float, label: str = "") -> Measured:
    """A setting whose recalls on the two halves, and whose time, are known."""
    recalls = np.empty(40)
    recalls[FIRST], recalls[SECOND] = first, second
    parameters = SearchParameters(4, 32, candidates, 64)
    return Measured(label or str(candidates), parameters, recalls, np.full(40, candidates / 1e6))


class Machine:
    """Measures as the tests say, and remembers what it was asked."""

    def __init__(self, recalls: Callable[[int], tuple[float, float]]) -> None:
        self.recalls = recalls
        self.asked: list[int] = []

    def __call__(self, settings: Mapping[str, SearchParameters]) -> list[Measured]:
        self.asked += [parameters.candidates for parameters in settings.values()]
        return [
            measured(parameters.candidates, *self.recalls(parameters.candidates), label)
            for label, parameters in settings.items()
        ]


def test_the_cheapest_is_found_between_two_rungs() -> None:
    machine = Machine(lambda n: (0.98, 0.975) if n >= 600 else (0.9, 0.9))
    curve = machine({str(n): SearchParameters(4, 32, n, 64) for n in (1600, 400, 100, 6400)})
    machine.asked.clear()
    found, between = choose(0.97, curve, machine, 0)
    assert machine.asked == [800, 566, 673, 617]
    assert found.parameters == SearchParameters(4, 32, 617, 64)
    assert (found.reached, found.passed_over, found.saved) == (True, 0, False)
    assert (found.chosen_on, found.held_out) == pytest.approx((0.98, 0.975))
    assert found.p50 == pytest.approx(0.617)
    assert [one.parameters.candidates for one in between] == machine.asked
    assert {one.label for one in between} == {"between"}


def test_what_fails_on_the_held_out_half_is_passed_over() -> None:
    machine = Machine(lambda n: (0.98, 0.98 if n >= 3000 else 0.96))
    curve = machine({str(n): SearchParameters(4, 32, n, 64) for n in (1000, 2000, 4000, 8000)})
    found, between = choose(0.97, curve, machine, 0)
    assert (found.reached, found.passed_over) == (True, 2)
    assert found.parameters == SearchParameters(4, 32, 4000, 64)
    assert found.held_out == pytest.approx(0.98)
    assert not between  # the cheapest rung reaches it already


def test_a_held_out_half_alone_does_not_choose() -> None:
    machine = Machine(lambda n: (0.96, 1.0) if n < 4000 else (0.98, 0.98))
    curve = machine({str(n): SearchParameters(4, 32, n, 64) for n in (1000, 4000)})
    found, _ = choose(0.97, curve, machine, 0)
    assert (found.reached, found.parameters) == (True, SearchParameters(4, 32, 4000, 64))


def test_an_impossible_target_gives_the_best() -> None:
    for recalls in ((0.9, 0.9), (0.98, 0.95)):  # on both halves; only where it is judged
        machine = Machine(
            lambda n, recalls=recalls: recalls if n > 1000 else (0.5, 0.5)  # type: ignore[misc]
        )
        curve = machine({str(n): SearchParameters(4, 32, n, 64) for n in (1000, 4000, 8000)})
        found, _ = choose(0.97, curve, machine, 0)
        assert not found.reached
        assert found.parameters is not None
        assert found.parameters.candidates > 1000
        assert found.held_out == pytest.approx(recalls[1])
        assert found.interval == pytest.approx((recalls[1], recalls[1]))


def test_recalls_that_add_up_to_the_target_reach_it() -> None:
    found, _ = choose(0.7, [measured(100, 0.7, 0.7)], Machine(lambda n: (0, 0)), 0)
    assert found.reached


def test_the_halves_are_all_queries_and_differ(result: Audit) -> None:
    assert result.target is not None
    assert result.target.reached
    [chosen] = {
        point.recall for point in result.points if point.parameters == result.target.parameters
    }
    assert (result.target.chosen_on + result.target.held_out) / 2 == pytest.approx(chosen)
    assert result.target.chosen_on >= 0.9 <= result.target.held_out


def test_a_ladder_has_no_rung_twice() -> None:
    rungs = ladder(DEFAULT, DEFAULT)
    assert next(iter(rungs)) == CURRENT
    assert "defaults" not in rungs
    assert len(set(rungs.values())) == len(rungs) == 12
    assert len(ladder(DEFAULT, SearchParameters(1, 2, 3, 4))) == 13
    smallest = SearchParameters(1, 1, 1, 1)
    assert len(set(ladder(smallest, smallest).values())) == len(ladder(smallest, smallest)) < 12


def test_equal_times_are_on_the_front_once() -> None:
    curve = [measured(100, 0.8, 0.8, "a"), measured(100, 0.9, 0.9, "b"), measured(50, 0.7, 0.7)]
    assert [(p.label, p.on_front) for p in points(curve, 0)] == [
        ("50", True),
        ("b", True),
        ("a", False),
    ]


# Saving -------------------------------------------------------------------------------------------


def test_a_saved_target_is_what_searches_use(folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(folder, tmp_path / "copy.gingham"))
    query = random_vectors([6], dim=16, seed=9)[0]
    with gingham.open(path) as opened:
        generation = opened.info().generation
        audit = opened.audit(sample=40, target=0.6, save=True)
        assert audit.target is not None
        assert audit.target.saved
        found = audit.target.parameters
        assert found is not None
        assert found != DEFAULT
        assert opened.info().generation == generation + 1
        expected = opened.search(query, parameters=found)
        assert opened.search(query) == expected  # this collection sees it at once
    with gingham.open(path, read_only=True) as opened:
        assert opened.info().parameters == asdict(found)
        assert opened.search(query) == expected
        assert opened.search(query, exact=True) == opened.search(
            query, parameters=DEFAULT.wider(100)
        )
        again = opened.audit(sample=40)
        assert (again.parameters, again.are_own) == (found, True)
        assert "defaults" in {point.label for point in again.points}


def test_nothing_is_saved_unless_reached(own: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> Any:
        found, between = choosing.choose(*arguments)
        return replace(found, reached=False), between

    monkeypatch.setattr(auditing, "choose", fail)
    audit = own.audit(sample=10, target=1.0, save=True)
    assert audit.target is not None
    assert not audit.target.saved
    assert own.info().parameters is None


def test_who_cannot_write_hears_of_it_first(own: Collection) -> None:
    stages: list[AuditProgress] = []
    with gingham.open(own.path, read_only=True) as reader, pytest.raises(ReadOnlyError):
        reader.audit(target=0.9, save=True, progress=stages.append)
    with IndexWriter(own.path), pytest.raises(LockedError):
        own.audit(target=0.9, save=True, progress=stages.append)
    assert not stages


@pytest.mark.parametrize("at", ["making queries", "scoring everything", "measuring"])
def test_interrupted_it_changes_nothing(own: Collection, at: str) -> None:
    def interrupt(now: AuditProgress) -> None:
        if now.stage == at:
            raise KeyboardInterrupt

    before = own.info()
    with pytest.raises(KeyboardInterrupt):
        own.audit(sample=10, target=0.9, save=True, progress=interrupt)
    assert own.info() == before
    own.delete("d0")  # the lock is free


def test_progress(text_folder: Path) -> None:
    seen: list[AuditProgress] = []
    with gingham.open(text_folder, read_only=True) as opened:
        opened.audit(["a cat", "a fox"], target=0.9, progress=seen.append)
    assert list(dict.fromkeys(now.stage for now in seen)) == [
        "encoding queries",
        "measuring",
        "encoding hits again",
    ]
    assert all(0 <= now.done < now.total for now in seen)


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k is how many hits"),
        ({"target": 0}, "a target is a recall above 0 and up to 1, such as 0.97; got 0"),
        ({"target": 1.01}, "got 1.01"),
        ({"target": float("nan")}, "got nan"),
        ({"target": True}, "got True"),
        ({"target": "0.9"}, "got '0.9'"),
        ({"sample": 0}, "sample is a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed is a whole number of at least 0, got -1"),
        ({"save": True}, "only what reaches a target can be saved"),
        ({"queries": "one"}, "queries are a list of texts"),
        ({"queries": []}, "no queries"),
        ({"queries": ["", "b"]}, "the query is empty"),
        ({"sample": 1, "target": 0.9}, "a target needs two queries at least"),
    ],
)
def test_errors(collection: Collection, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        collection.audit(**arguments)


def test_other_errors(tmp_path: Path, collection: Collection) -> None:
    with pytest.raises(InputError, match="is empty: there is nothing to measure"):
        gingham.open(tmp_path / "empty.gingham").audit()
    with pytest.raises(InputError, match="made elsewhere"):
        collection.audit(["a text"])
    with pytest.raises(DimensionError):
        collection.audit(random_vectors([3], dim=5))
