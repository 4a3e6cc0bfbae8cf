"""The same values as trec_eval: golden files of its output, its C code, and brute force.

`golden/make_golden.py` made the golden files with the program itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from gingham.errors import InputError, SourceError
from gingham.evaluation.measures import (
    DEFAULT_MEASURES,
    aggregate,
    evaluate_run,
    parse_measures,
)
from gingham.evaluation.qrels_files import read_qrels
from gingham.evaluation.run import Ranking, Run
from gingham.evaluation.run_files import read_run, trec_order, write_run

GOLDEN = Path(__file__).parent / "golden"
RUNS = ("ties", "float32", "shuffled")
QRELS = read_qrels(GOLDEN / "qrels.txt")
COUNTS = {"num_q", "num_ret", "num_rel", "num_rel_ret"}
OF_PYTREC_EVAL = {
    "nDCG@10": "ndcg_cut_10",
    "R@50": "recall_50",
    "R@100": "recall_100",
    "R@1000": "recall_1000",
    "AP": "map",
    "Success@5": "success_5",
    "P@5": "P_5",
    "RR": "recip_rank",
    "nDCG": "ndcg",
    "Bpref": "bpref",
    "Rprec": "Rprec",
    "infAP": "infAP",
    "SetF": "set_F",
    "AP@10": "map_cut_10",
}
# Ids that sort differently in bytes, UTF-16 and any language; scores of which some are the same
# float32.
IDS = ["a", "A", "b", "10", "9", "é", "z", "\uff5e", "\U0001d4b3", "a-b", "ab"]
SCORES = [16777216.0, 16777217.0, 0.1, 0.1000000001, 0.0, -0.0, -2.0, 1e-30]


def expected(name: str) -> dict[str, dict[str, str]]:
    values: dict[str, dict[str, str]] = {}
    for line in (GOLDEN / f"{name}.expected").read_text(encoding="utf-8").splitlines():
        measure, query, value = line.split("\t")
        values.setdefault(measure, {})[query] = value
    return values


def printed(value: float, name: str) -> str:
    return f"{value:.0f}" if name in COUNTS else f"{value:.4f}"


@pytest.mark.parametrize("name", RUNS)
def test_every_digit_that_trec_eval_prints(name: str) -> None:
    run = read_run(GOLDEN / f"{name}.run")
    golden = expected(name)
    assert len(golden) > 30
    for trec_name, lines in golden.items():
        (measure,) = parse_measures([trec_name])
        values = evaluate_run(run, QRELS, [measure])[str(measure)]
        by_query = dict(zip(QRELS, values.tolist(), strict=True))
        for query, value in lines.items():
            ours = aggregate(measure, values) if query == "all" else by_query[query]
            assert printed(ours, trec_name) == value, (trec_name, query)
        if trec_name not in COUNTS:
            assert all(by_query[query] == 0.0 for query in QRELS if query not in lines)


def test_golden_runs_are_as_hard_as_they_should_be() -> None:
    ties = read_run(GOLDEN / "ties.run")
    assert any(query not in ties.rankings for query in QRELS)
    assert any(query not in QRELS for query in ties.rankings)
    assert any(max(grades.values()) <= 0 for grades in QRELS.values())
    assert {-1, 0, 1, 2, 3} <= {g for grades in QRELS.values() for g in grades.values()}
    lines = (GOLDEN / "float32.run").read_text(encoding="utf-8").splitlines()
    doubles = {float(line.split()[4]) for line in lines}
    singles = {
        float(s) for r in read_run(GOLDEN / "float32.run").rankings.values() for s in r.scores
    }
    assert len(singles) < len(doubles)


@pytest.mark.parametrize("name", RUNS)
def test_the_same_bits_as_the_c_code(name: str) -> None:
    rows = (line.split() for line in (GOLDEN / f"{name}.run").read_text("utf-8").splitlines())
    raw: dict[str, dict[str, float]] = {}
    for query, _, document, _, score, _ in rows:
        raw.setdefault(query, {})[document] = float(score)
    assert_bits(read_run(GOLDEN / f"{name}.run"), raw, QRELS)


def assert_bits(
    run: Run, raw: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]]
) -> None:
    oracle = pytrec_eval.RelevanceEvaluator(
        # Grades that are all negative make it crash.
        {q: {**g, **({"none": 0} if max(g.values()) < 0 else {})} for q, g in qrels.items()},
        set(OF_PYTREC_EVAL.values()),
    ).evaluate({query: dict(scores) for query, scores in raw.items()})
    values = evaluate_run(run, qrels, parse_measures(OF_PYTREC_EVAL))
    for ours, theirs in OF_PYTREC_EVAL.items():
        wanted = [oracle[query][theirs] if query in oracle else 0.0 for query in qrels]
        assert values[ours].tolist() == wanted, ours


def test_a_document_twice_is_refused_as_by_trec_eval() -> None:
    refused = json.loads((GOLDEN / "refused.json").read_text(encoding="utf-8"))
    for name, read in (("twice.run", read_run), ("twice_qrels.txt", read_qrels)):
        assert refused[name]["exit"] != 0
        assert "duplicate docs" in refused[name]["message"]
        with pytest.raises(SourceError, match=r"twice|already") as error:
            read(GOLDEN / name)
        assert "\n" not in str(error.value)


rankings = st.dictionaries(st.sampled_from(IDS), st.sampled_from(SCORES), min_size=1)
judgements = st.dictionaries(st.sampled_from([*IDS, "x", "y"]), st.integers(-2, 3), min_size=1)
QUERIES = st.sampled_from(["q1", "q2", "Q"])
runs = st.dictionaries(QUERIES, rankings, min_size=1)
qrels_of_some = st.dictionaries(QUERIES, judgements, min_size=1)


def as_run(raw: Mapping[str, Mapping[str, float]]) -> Run:
    return Run(
        "random",
        {
            query: Ranking(tuple(scores), np.array(list(scores.values()), dtype=np.float32))
            for query, scores in raw.items()
        },
    )


@settings(deadline=None)
@given(runs, qrels_of_some)
def test_random_runs_have_the_bits_of_the_c_code(
    raw: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]
) -> None:
    assert_bits(as_run(raw), raw, qrels)


def brute_force(raw: Mapping[str, float], grades: Mapping[str, int]) -> dict[str, float]:
    """The definitions, with nothing of trec_eval in them."""
    ranked = sorted(raw, key=lambda id: (np.float32(raw[id]), id.encode()), reverse=True)
    relevant = {id for id, grade in grades.items() if grade > 0}
    first = next((rank for rank, id in enumerate(ranked[:10], 1) if id in relevant), math.inf)

    def dcg(gains: list[int]) -> float:
        return sum(max(g, 0) / math.log2(rank + 1) for rank, g in enumerate(gains[:10], 1))

    best = dcg(sorted(grades.values(), reverse=True))
    return {
        "RR@10": 1 / first,
        "RR@2": 1 / first if first <= 2 else 0.0,
        "nDCG@10": dcg([grades.get(id, 0) for id in ranked]) / best if best else 0.0,
        "R@2": len(relevant & set(ranked[:2])) / len(relevant) if relevant else 0.0,
        "Success@5": float(bool(relevant & set(ranked[:5]))),
    }


@settings(deadline=None)
@given(runs, qrels_of_some)
def test_random_runs_against_the_definitions(
    raw: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]
) -> None:
    names = ["RR@10", "RR@2", "nDCG@10", "R@2", "Success@5"]
    values = evaluate_run(as_run(raw), qrels, parse_measures(names))
    for row, (query, grades) in enumerate(qrels.items()):
        wanted = brute_force(raw.get(query, {}), grades)
        for name in names:
            assert values[name][row] == pytest.approx(wanted[name], rel=1e-12), name


@settings(deadline=None, max_examples=50)
@given(raw=runs, qrels=qrels_of_some)
def test_a_run_is_worth_what_its_file_is(
    raw: dict[str, dict[str, float]],
    qrels: dict[str, dict[str, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.run"
    run = as_run(raw)
    write_run(run, path, overwrite=True)
    read = read_run(path)
    assert list(read.rankings) == list(run.rankings)
    for query, ranking in run.rankings.items():
        ordered = trec_order(ranking)
        assert read.rankings[query].ids == ordered.ids
        assert read.rankings[query].scores.tobytes() == ordered.scores.tobytes()
    measures = parse_measures(DEFAULT_MEASURES)
    ours, theirs = (evaluate_run(r, qrels, measures) for r in (run, read))
    assert {name: v.tobytes() for name, v in ours.items()} == {
        name: v.tobytes() for name, v in theirs.items()
    }


def test_queries_stay_aligned_over_many_batches() -> None:
    queries = [f"q{n}" for n in range(1000)]
    qrels = {query: {"a": 1} for query in queries}
    one = np.array([1], dtype=np.float32)
    run = Run("r", {query: Ranking(("a",), one) for query in queries[::3]})
    values = evaluate_run(run, qrels, parse_measures(["RR@10", "P@1"]))
    assert list(values) == ["RR@10", "P@1"]
    for row in values.values():
        assert row.dtype == np.float64
        assert row.tolist() == [float(n % 3 == 0) for n in range(1000)]


def test_parameters_are_not_mixed_up() -> None:
    """In one evaluator of ir-measures nDCG would take the gains of the other nDCG."""
    run = read_run(GOLDEN / "ties.run")
    names = ["nDCG(gains={1:0,2:0})@10", "nDCG@10", "AP(rel=2)", "AP", "SetF(beta=2)", "SetF"]
    measures = parse_measures(names)
    together = evaluate_run(run, QRELS, measures)
    for measure in measures:
        alone = evaluate_run(run, QRELS, [measure])[str(measure)]
        assert together[str(measure)].tolist() == alone.tolist()
    assert len({values.tobytes() for values in together.values()}) == len(names)


def test_other_providers_see_the_same_order_and_any_id() -> None:
    qrels = {"q 1": {"a b": 1, "B\0": 0}, "ü": {"z": 1}}
    run = as_run({"q 1": {"a b": 1.0, "B\0": 1.0}, "ü": {"z": 1.0, "y": 2.0}})
    names = ["Judged@1", "Compat(p=0.5)", "RR@1", "nDCG@10"]
    values = evaluate_run(run, qrels, parse_measures(names))
    assert values["RR@1"].tolist() == [1.0, 0.0]  # "a b" is after "B\0" bytewise: first
    assert values["Judged@1"].tolist() == [1.0, 0.0]
    assert values["Compat(p=0.5)"][0] == 1.0


def test_a_query_without_documents_or_judgements_is_missing() -> None:
    none = np.array([], dtype=np.float32)
    run = Run("r", {"q1": Ranking((), none), "q2": Ranking(("a",), np.ones(1, np.float32))})
    qrels: dict[str, dict[str, int]] = {"q1": {"a": 1}, "q2": {}}
    values = evaluate_run(run, qrels, parse_measures(["RR@10", "Judged", "NumRel"]))
    assert values["RR@10"].tolist() == [0.0, 0.0]
    assert values["Judged"].tolist() == [0.0, 0.0]
    assert values["NumRel"].tolist() == [1.0, 0.0]


def test_a_query_with_negative_grades_only_is_zero() -> None:
    """trec_eval refuses it, and pytrec_eval crashes or hangs."""
    run = as_run({"q": {"a": 1.0}})
    names = ["nDCG@10", "Bpref", "infAP", "RR@10", "NumQ", "NumRel"]
    for _ in range(200):
        values = evaluate_run(run, {"q": {"a": -2, "b": -1}}, parse_measures(names))
        assert [float(values[name][0]) for name in names] == [0, 0, 0, 0, 1, 0]


def test_a_failing_provider_is_one_line() -> None:
    with pytest.raises(InputError, match="cannot compute Accuracy of this run") as error:
        evaluate_run(as_run({"q": {"a": 1.0}}), {"q": {"a": 1}}, parse_measures(["Accuracy"]))
    assert "\n" not in str(error.value)


def test_a_grade_that_would_take_gigabytes() -> None:
    with pytest.raises(InputError, match="query 'q' has a relevance grade above 1,000,000"):
        evaluate_run(
            as_run({"q": {"a": 1.0}}), {"q": {"a": 999_999_999}}, parse_measures(["nDCG@10"])
        )
