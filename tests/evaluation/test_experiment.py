"""The conductor: what it measures, compares, refuses and tells; reports and wins made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gingham.errors import InputError
from gingham.evaluation import (
    BM25,
    Evaluation,
    LateInteraction,
    Ranking,
    Reranked,
    Run,
    Step,
    evaluate,
    read_run,
    report,
    write_run,
)
from gingham.evaluation.costs import IndexCost, PeakMemory, Percentiles
from gingham.evaluation.dataset import Dataset
from gingham.evaluation.measures import evaluate_run, parse_measures
from gingham.evaluation.reading import open_dataset
from gingham.evaluation.systems import System
from gingham.evaluation.wins import TOP, find_wins

from .conftest import GRADES, QUERIES, write_beir

MEASURES = ("nDCG@10", "RR@10", "AP", "NumRet")


@pytest.fixture
def both(dataset: Dataset, cache: Path) -> Evaluation:
    """gingham and BM25, on one thread, nothing timed."""
    return measured(dataset, cache)


def measured(dataset: Dataset, cache: Path, **options: Any) -> Evaluation:
    settings = {"measures": MEASURES, "threads": 1, "cache": cache, "timed_queries": 0, **options}
    return evaluate(dataset, [LateInteraction(), BM25()], **settings)


def made_run(name: str, *queries: str) -> Run:
    """The relevant documents of these queries, best first."""
    rankings = {}
    for query in queries:
        ids = sorted(GRADES[query], key=lambda id: -GRADES[query][id])
        rankings[query] = Ranking(tuple(ids), np.arange(len(ids), 0, -1, dtype=np.float32))
    return Run(name, rankings)


# -- values --------------------------------------------------------------------------------------


def test_values_are_those_of_the_run(both: Evaluation) -> None:
    assert both.measures == MEASURES
    assert [system.name for system in both.systems] == ["gingham", "BM25"]
    for system in both.systems:
        assert list(system.run.rankings) == list(GRADES)  # judged queries only, in order
        expected = evaluate_run(system.run, both.dataset.qrels, parse_measures(MEASURES))
        for measure in MEASURES:
            np.testing.assert_array_equal(system.values[measure], expected[measure])
            total = system.values[measure]
            mean = total.sum() if measure == "NumRet" else total.mean()
            assert system.means[measure] == pytest.approx(mean)
            low, high = system.intervals[measure]
            assert low <= system.means[measure] <= high
        assert system.latencies == ()
        assert system.search_peak_bytes is None
        assert system.index is not None
        assert system.index.documents == 11


def test_a_run_read_again_has_the_same_values(both: Evaluation, tmp_path: Path) -> None:
    runs = []
    for system in both.systems:
        path = tmp_path / f"{system.name}.run"
        write_run(system.run, path)
        runs.append(read_run(path, name=f"{system.name} again"))
    together = measured(both.dataset, tmp_path / "cache", runs=runs)
    assert [s.name for s in together.systems] == [
        *("gingham", "BM25", "gingham again", "BM25 again")
    ]
    for system in both.systems:
        again = together.system(f"{system.name} again")
        for measure in MEASURES:
            np.testing.assert_array_equal(again.values[measure], system.values[measure])
            np.testing.assert_array_equal(
                together.system(system.name).values[measure], system.values[measure]
            )
        assert again.means == system.means
        assert again.intervals == system.intervals
        assert (again.index, again.latencies, again.description) == (None, (), "")


def test_everything_but_times_is_determined(dataset: Dataset, tmp_path: Path) -> None:
    records = []
    for folder in ("one", "two"):
        record = report.record(measured(dataset, tmp_path / folder, timed_queries=2, threads=2))
        for system in record["systems"]:
            del system["latencies_ms"], system["search_peak_bytes"]
            for cost in ("seconds", "peak_bytes"):
                del system["index"][cost]
        records.append(json.dumps(record))
    assert records[0] == records[1]


def test_depth_cuts(dataset: Dataset, cache: Path) -> None:
    cut = measured(dataset, cache, depth=2)
    assert cut.depth == 2
    for system in cut.systems:
        assert max(len(ranking.ids) for ranking in system.run.rankings.values()) == 2


# -- comparisons ---------------------------------------------------------------------------------


def test_the_first_system_is_the_baseline(both: Evaluation) -> None:
    assert [(c.system, c.baseline, c.measure) for c in both.comparisons] == [
        ("BM25", "gingham", measure) for measure in MEASURES
    ]
    for measure in MEASURES:
        comparison = both.comparison("BM25", measure)
        assert comparison is not None
        difference = both.system("BM25").values[measure] - both.system("gingham").values[measure]
        assert comparison.difference == pytest.approx(difference.mean())
        assert comparison.wins == (difference > 0).sum()
        assert comparison.losses == (difference < 0).sum()
        assert comparison.wins + comparison.losses + comparison.ties == len(GRADES)
    assert both.comparison("gingham", "AP") is None
    with pytest.raises(InputError, match="no system 'x' here: there are 'gingham', 'BM25'"):
        both.system("x")


def test_another_baseline(dataset: Dataset, cache: Path) -> None:
    runs = [made_run("oracle", *GRADES)]
    result = measured(dataset, cache, runs=runs, baseline="oracle", measures=["AP"])
    assert [(c.system, c.baseline) for c in result.comparisons] == [
        ("gingham", "oracle"),
        ("BM25", "oracle"),
    ]
    assert all(c.difference <= 0 for c in result.comparisons)


def test_one_system_is_compared_with_nothing(dataset: Dataset, cache: Path) -> None:
    alone = evaluate(dataset, [BM25()], cache=cache, timed_queries=0)
    assert alone.comparisons == ()
    alone = evaluate(replace(dataset, queries={}, corpus=None), runs=[made_run("r", "q1")])
    assert alone.comparisons == ()
    assert alone.system("r").values["AP"].tolist() == [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "no"}, "the baseline 'no' is none of the systems: use one of 'gingham', 'B"),
        ({"runs": [made_run("BM25", "q1")]}, "two systems are called 'BM25'"),
        ({"measures": ["nDCG@"]}, "cannot read the measure"),
        ({"measures": ["foo"]}, "unknown measure 'foo'"),
        ({"depth": 0}, "depth is at least 1"),
        ({"timed_queries": -1}, "timed_queries 0"),
        ({"threads": 0}, "threads"),
    ],
)
def test_what_is_refused_before_any_work(
    dataset: Dataset, cache: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        measured(dataset, cache, **options)
    assert message in str(error.value)
    assert not cache.exists()


def test_no_system_no_queries_no_documents(dataset: Dataset, cache: Path) -> None:
    with pytest.raises(InputError, match="nothing to evaluate: name a system or a run file"):
        evaluate(dataset, cache=cache)
    with pytest.raises(InputError, match=r"small \(test\) has no queries to ask gingham"):
        measured(replace(dataset, queries={}), cache)
    with pytest.raises(InputError, match=r"small \(test\) has no documents to search"):
        measured(replace(dataset, corpus=None), cache)
    assert not cache.exists()


@pytest.mark.parametrize("system", [LateInteraction(), BM25()])
def test_documents_without_text(tmp_path: Path, cache: Path, system: Any) -> None:
    folder = write_beir(
        tmp_path / "blank", texts={"a": "", "b": " \n"}, queries={"q": "x"}, grades={"q": {"a": 1}}
    )
    with pytest.raises(InputError, match=r"blank \(test\): there is no text in any"):
        evaluate(open_dataset(folder), [system], cache=cache)
    assert not cache.exists()


# -- costs and progress --------------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "expected"), [(1, [1]), (2, [1, 2])])
def test_times(dataset: Dataset, cache: Path, threads: int, expected: list[int]) -> None:
    result = measured(dataset, cache, threads=threads, timed_queries=4)
    for system in result.systems:
        assert [latency.threads for latency in system.latencies] == expected
        for latency in system.latencies:
            assert (latency.queries, latency.k) == (4, 10)
            for times in (latency.encode, latency.search, latency.total):
                assert 0 < times.p50 <= times.p95 <= times.p99
            assert latency.total.p99 >= max(latency.encode.p99, latency.search.p99)
        assert system.search_peak_bytes is None or system.search_peak_bytes > 1e6


def test_percentiles() -> None:
    assert Percentiles.of([0.001]) == Percentiles(1.0, 1.0, 1.0)
    found = Percentiles.of([i / 1000 for i in range(101)])
    assert (found.p50, found.p95, found.p99) == pytest.approx((50, 95, 99))


def test_costs_of_two_indexes() -> None:
    one, other = IndexCost(1.5, 2, 10, 100, 5000, 7), IndexCost(2.0, 1, 10, 30, 400, 9)
    assert one.with_first_stage(other) == IndexCost(3.5, 2, 10, 100, 5400, 9)
    assert one.bytes_per_token == 50
    unknown = IndexCost(None, None, 10, 0, 1, None)
    assert unknown.with_first_stage(one) == IndexCost(None, None, 10, 0, 5001, None)
    assert unknown.bytes_per_token == 0


def test_progress_goes_forwards(dataset: Dataset, cache: Path) -> None:
    steps: list[Step] = []
    systems: list[System] = [LateInteraction(), BM25(), Reranked(3)]
    evaluate(
        dataset, systems, cache=cache, threads=2, timed_queries=3, progress=steps.append, depth=5
    )
    assert {"small: gingham, indexing", "small: measuring", "small: comparing"} <= {
        step.what for step in steps
    }
    for before, now in pairwise(steps):
        assert now.total is None or 0 <= now.done <= now.total
        assert before.what != now.what or before.done <= now.done
        assert now.remark or now.total is None


def test_peak_memory() -> None:
    with PeakMemory() as nothing:
        pass
    with PeakMemory() as much:
        array = np.ones(200_000_000, dtype=np.uint8)
        del array
    if nothing.bytes is None or much.bytes is None:
        pytest.skip("not known on this system")
    assert nothing.bytes > 0
    assert much.bytes >= 200_000_000


# -- wins ----------------------------------------------------------------------------------------


def test_wins_are_the_queries_that_differ_most(both: Evaluation, cache: Path) -> None:
    assert both.dataset.corpus is not None
    texts = {document.id: document.text or "" for document in both.dataset.corpus.documents()}
    gain = both.system("gingham").values["nDCG@10"] - both.system("BM25").values["nDCG@10"]
    differences = dict(zip(GRADES, gain.tolist(), strict=True))
    won, lost = find_wins(
        both, "gingham", "BM25", 2, systems=[LateInteraction(), BM25()], threads=1, cache=cache
    )
    best = sorted((q for q in GRADES if differences[q] > 0), key=lambda q: -differences[q])[:2]
    worst = sorted((q for q in GRADES if differences[q] < 0), key=lambda q: differences[q])[:2]
    assert [win.id for win in won] == best
    assert [win.id for win in lost] == worst
    assert "q4" in best  # no word of it is in any document
    for win in won + lost:
        assert win.query == QUERIES[win.id]
        assert win.difference == pytest.approx(differences[win.id])
        assert win.relevant == sum(grade > 0 for grade in GRADES[win.id].values())
        assert [answer.system for answer in win.answers] == ["gingham", "BM25"]
        assert win.answers[0].value - win.answers[1].value == pytest.approx(win.difference)
        for answer in win.answers:
            ranking = both.system(answer.system).run.rankings[win.id]
            assert [passage.id for passage in answer.top] == list(ranking.ids[:TOP])
            assert [passage.rank for passage in answer.top] == list(range(1, len(answer.top) + 1))
            for passage in answer.top:
                assert passage.grade == GRADES[win.id].get(passage.id)
                assert passage.text is not None
                assert passage.text in texts[passage.id]
                parts = sum(share for _, _, share in passage.explained.parts)
                assert parts == pytest.approx(passage.score, abs=1e-3)


def test_wins_of_runs_alone(dataset: Dataset) -> None:
    only = replace(dataset, queries={}, corpus=None)
    names = ["q1", "q3", "q5"]
    result = evaluate(only, runs=[made_run("one", *names), made_run("other", "q2", "q3", "q6")])
    won, lost = find_wins(result, "one", "other", 9, systems=[])
    assert [win.id for win in won] == ["q1", "q5"]  # equals in the order of the judgements
    assert [win.id for win in lost] == ["q2", "q6"]
    assert won[0].query is None
    assert [passage.text for passage in won[0].answers[0].top] == [None] * 3
    assert won[0].answers[1].top == ()
    with pytest.raises(InputError, match="compared with itself"):
        find_wins(result, "one", "one", 9, systems=[])
    with pytest.raises(InputError, match="no system 'x'"):
        find_wins(result, "one", "x", 9, systems=[])


# -- reports -------------------------------------------------------------------------------------


def strict(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def test_a_report_is_json(both: Evaluation) -> None:
    record = json.loads(strict(report.record(both)))
    assert record["dataset"]["documents"] == 12
    assert (record["dataset"]["queries"], record["dataset"]["judgements"]) == (6, 15)
    assert [system["name"] for system in record["systems"]] == ["gingham", "BM25"]
    for system in record["systems"]:
        assert list(system["per_query"]) == list(MEASURES)
        for values in system["per_query"].values():
            assert list(values) == list(GRADES)


def test_a_report_of_one_query_is_json_too(dataset: Dataset, cache: Path) -> None:
    one = replace(dataset, qrels={"q1": GRADES["q1"]}, queries={"q1": QUERIES["q1"]})
    record = json.loads(strict(report.record(measured(one, cache, timed_queries=1))))
    assert record["systems"][0]["measures"]["AP"]["interval"] is None
    assert record["comparisons"][0]["interval"] is None
    assert record["comparisons"][0]["p"] == 1


def test_a_report_of_runs_is_json_too(dataset: Dataset) -> None:
    only = replace(dataset, queries={}, corpus=None)
    record = report.record(evaluate(only, runs=[made_run("r", "q1")]))
    assert json.loads(strict(record))["systems"][0]["index"] is None
