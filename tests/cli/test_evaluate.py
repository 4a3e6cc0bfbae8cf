"""`gingham evaluate`: what it prints and writes, its exit codes, and errors before any work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import gingham
from evaluation.conftest import GRADES, QUERIES, TEXTS, write_beir
from gingham.evaluation import LateInteraction

from .conftest import Run, done, error_of, json_lines, json_of

CACHE = ("--cache", "cache", "--threads", "1")
FAST = (*CACHE, "--timed", "0")


@pytest.fixture
def small(run: Run) -> str:
    """A dataset: its name, below the working directory."""
    write_beir(Path("small"))
    return "small"


@pytest.fixture
def runs(run: Run, small: str) -> list[str]:
    """What gingham and BM25 found, as run files."""
    done(run("evaluate", small, "--bm25", "--write-runs", "runs", *FAST))
    return ["runs/small-test-gingham.run", "runs/small-test-BM25.run"]


def per_query(record: dict[str, Any], system: str) -> Any:
    [found] = [one["per_query"] for one in record["systems"] if one["name"] == system]
    return found


def names(record: dict[str, Any]) -> list[str]:
    return [system["name"] for system in record["systems"]]


# -- what is printed -----------------------------------------------------------------------------


def test_terminal(run: Run, small: str) -> None:
    result = done(run("evaluate", small, "--bm25", "--exact", "--rerank", "3", *CACHE))
    lines = result.stdout.splitlines()
    assert lines[0] == "small (test): 12 documents, 6 judged queries, 15 judgements"
    heads = ["gingham", "exact MaxSim", "BM25", "BM25 3 + MaxSim"]
    assert re.split(r"\s{2,}", lines[2].strip()) == heads
    first = [re.split(r"\s{2,}", line.strip())[0] for line in lines]
    for measure in ("nDCG@10", "RR@10", "R@50", "R@100", "R@1000", "AP", "Success@5"):
        assert measure in first
    assert {"search, ms, 1 thread", "on disk, MB", "index build, s"} <= set(first)
    assert "BM25 − gingham: nDCG@10 " in result.stdout
    assert "Rankings to depth 1,000." in lines[-1]
    assert "\033" not in result.stdout


def test_json(run: Run, small: str) -> None:
    record = json_of(run("evaluate", small, "--bm25", "--json", "--timed", "3", *CACHE))
    documented = ["gingham", "machine", "dataset", "depth", "seed", "systems", "comparisons"]
    assert [key for key in record if key in [*documented, "remarks"]] == [*documented, "remarks"]
    assert record["gingham"] == gingham.__version__
    assert names(record) == ["gingham", "BM25"]
    for system in record["systems"]:
        assert {"measures", "index", "latencies_ms", "per_query"} <= set(system)
        assert list(system["per_query"]["AP"]) == list(GRADES)
        assert [latency["queries"] for latency in system["latencies_ms"]] == [3]
    again = json_of(run("evaluate", small, "--json", "--timed", "0", *CACHE))
    assert per_query(again, "gingham") == per_query(record, "gingham")
    # Not built again.
    assert again["systems"][0]["index"] == record["systems"][0]["index"]


def test_the_help_names_the_keys(run: Run, small: str) -> None:
    said = " ".join(done(run("evaluate", "--help")).stdout.split())
    listed = re.search(r"one object a dataset: (.*?)\.", said)
    assert listed is not None
    record = json_of(run("evaluate", small, "--json", *FAST))
    for key in re.findall(r"\w+", listed[1]):
        assert key in record or key in record["systems"][0]


def test_markdown_of_several_datasets(run: Run, small: str) -> None:
    write_beir(Path("other"), texts={**TEXTS, "cat": "Nothing."})
    page = done(run("evaluate", small, "other", "--bm25", "--markdown", *FAST)).stdout
    assert page.startswith("# Evaluation\n")
    assert "| nDCG@10 | gingham | BM25 |\n" in page
    assert "| mean of 2 | " in page
    assert "## small (test)\n" in page
    assert "## other (test)\n" in page


def test_several_datasets(run: Run, small: str) -> None:
    write_beir(Path("other"))
    arguments = ("evaluate", small, "other", "--no-gingham", "--bm25", *FAST)
    records = json_lines(run(*arguments, "--json"))
    assert [record["dataset"]["name"] for record in records] == ["small", "other"]
    shown = done(run(*arguments)).stdout
    assert "mean of 2" in shown


def test_options_of_the_dataset(run: Run, small: str) -> None:
    chosen = json_of(
        run("evaluate", small, "--max-queries", "2", "--metric", "ndcg_cut_3", "--json", *FAST)
    )
    assert per_query(chosen, "gingham").keys() == {"nDCG@3"}
    assert list(per_query(chosen, "gingham")["nDCG@3"]) == ["q1", "q2"]
    assert len(chosen["remarks"]) == 1
    parts = ("--qrels", "small/qrels/test.tsv", "--queries", "small/queries.jsonl")
    named = ("evaluate", *parts, "--corpus", "small/corpus.jsonl", "--split", "test")
    assert "split" in error_of(run(*named, *FAST))
    assert names(json_of(run(*named[:-2], "--json", *FAST))) == ["gingham"]


def test_a_collection(run: Run, small: str) -> None:
    done(run("add", "docs.gingham", "small/corpus.jsonl"))
    record = json_of(
        run("evaluate", small, "--collection", "docs.gingham", "--rerank", "4", "--json", *FAST)
    )
    assert record["systems"][0]["index"]["seconds"] is None
    assert not list(Path("cache").rglob("*.gingham"))
    done(run("delete", "docs.gingham", "cat"))
    line = error_of(run("evaluate", small, "--collection", "docs.gingham", *FAST))
    assert line.startswith("docs.gingham lacks 1 of the documents of small (test), such as")


def test_wins(run: Run, small: str) -> None:
    shown = done(run("evaluate", small, "--bm25", "--wins", "2", *FAST)).stdout
    assert "won q4: nDCG@10 +" in shown
    assert f"    {QUERIES['q4']}\n" in shown
    assert "      nothing found\n" in shown
    record = json_of(run("evaluate", small, "--bm25", "--wins", "2", "--json", *FAST))
    assert "q4" in [win["id"] for win in record["wins"]]
    assert all(win["difference"] < 0 for win in record["losses"])
    assert [answer["system"] for answer in record["wins"][0]["answers"]] == ["gingham", "BM25"]
    versus = run("evaluate", small, "--bm25", "--exact", "--wins", "1", "--versus", "BM25", *FAST)
    assert "won q4: nDCG@10 +" in done(versus).stdout


def test_what_is_shown_cannot_steer_the_terminal(run: Run) -> None:
    evil = "\x1b[31mzzzz\x07"
    ids = {"d\x1b[2J": f"rise {evil}", "other": "set"}
    grades = {"q\x1b[1m": {"d\x1b[2J": 1}}
    write_beir(Path("evil"), texts=ids, queries={"q\x1b[1m": evil + " rise"}, grades=grades)
    Path("evil.run").write_text("q\x1b[1m Q0 other 1 1.0 tag\x1b[0m\n")
    arguments = ("evaluate", "evil", "--bm25", "--run", "evil.run", "--wins", "3")
    result = done(run(*arguments, "--versus", "tag\x1b[0m", *FAST))
    assert "won q?[1m" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr


def test_plots(run: Run, small: str) -> None:
    arguments = ("--bm25", "--timed", "2", "--plot", "a.png", "--plot-differences", "b.svg")
    result = done(run("evaluate", small, *arguments, *CACHE))
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path("b.svg").read_text()
    assert result.stderr.splitlines()[-2:] == ["wrote a.png", "wrote b.svg"]


# -- runs ----------------------------------------------------------------------------------------


def test_runs_that_were_written_have_the_same_numbers(
    run: Run, small: str, runs: list[str]
) -> None:
    live = json_of(run("evaluate", small, "--bm25", "--json", *FAST))
    options = [part for path in runs for part in ("--run", path)]
    for source in (small, "small/qrels/test.tsv"):
        read = json_of(run("evaluate", source, "--no-gingham", *options, "--json", *FAST))
        assert names(read) == ["gingham", "BM25"]
        for name in names(read):
            assert per_query(read, name) == per_query(live, name)
    together = json_of(run("evaluate", small, *options, "--json", *FAST))
    assert names(together) == [
        "gingham",
        "small-test-gingham",
        "BM25",
    ]  # the file says which is which
    assert per_query(together, "small-test-gingham") == per_query(together, "gingham")


def test_judgements_alone_score_runs(run: Run, small: str, runs: list[str]) -> None:
    Path("cache").rename("away")
    arguments = ("evaluate", "small/qrels/test.tsv", "--run", runs[0], "--run", runs[1])
    shown = done(run(*arguments, "--wins", "1", "--plot-differences", "d.pdf", *FAST)).stdout
    assert "won q4: nDCG@10 +" in shown
    assert Path("d.pdf").read_bytes().startswith(b"%PDF")
    assert names(json_of(run(*arguments, "--json"))) == ["gingham", "BM25"]
    # Who names a system means it.
    assert "no queries to ask" in error_of(run(*arguments[:4], "--bm25", *FAST))
    assert not Path("cache").exists()


def test_a_system_that_finds_nothing_writes_no_run(run: Run) -> None:
    write_beir(Path("odd"), queries={"q": "zzzz"}, grades={"q": {"csv": 1}})
    result = done(run("evaluate", "odd", "--bm25", "--write-runs", "out", *FAST))
    assert [path.name for path in Path("out").iterdir()] == ["odd-test-gingham.run"]
    assert "BM25 found nothing: there is no run to write\n" in result.stderr


# -- exit codes ----------------------------------------------------------------------------------


def test_no_worse_than(run: Run, small: str) -> None:
    queries = {f"q{i}": f"{QUERIES['q3']} {i}" for i in range(20)}
    grades = {id: {"cat": 1} for id in queries}
    write_beir(Path("set"), queries=queries, grades=grades)
    arguments = ("evaluate", "set", *FAST)
    before = done(run(*arguments, "--json")).stdout
    Path("before.json").write_text(before)
    same = done(run(*arguments, "--no-worse-than", "before.json"))
    assert same.stderr.splitlines()[-1].endswith("no fall beyond noise")
    record = json.loads(before)
    per_query(record, "gingham")["nDCG@10"] = dict.fromkeys(queries, 1.5)
    Path("better.json").write_text(json.dumps(record))
    fell = run(*arguments, "--no-worse-than", "better.json")
    assert fell.exit_code == 1
    assert fell.stderr.splitlines()[-1].endswith("FELL")
    assert "nDCG@10" in fell.stdout
    assert "Traceback" not in fell.stderr


def test_interrupted(run: Run, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LateInteraction, "prepare", interrupt)
    result = run("evaluate", small, *FAST)
    assert result.exit_code == 130
    assert result.stdout == ""
    assert result.stderr == (
        "interrupted: what is indexed is kept; the same command continues from there\n"
    )


# -- errors --------------------------------------------------------------------------------------


def files() -> None:
    Path("mine.run").write_text("q1 Q0 moon 1 2.0 mine\n")
    Path("others.run").write_text("x1 Q0 moon 1 2.0 others\n")
    Path("strangers.run").write_text("q1 Q0 nobody 1 2.0 strangers\n")
    Path("empty.run").write_text("")
    Path("folder").mkdir()
    Path("bad.json").write_text("{}\n")
    Path("unknown.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tnobody\t1\n")
    Path("asked.tsv").write_text("query-id\tcorpus-id\tscore\nnobody\tcat\t1\n")
    spaced = {"a b": "A text."}
    write_beir(Path("spaced"), texts=spaced, queries={"q": "x"}, grades={"q": {"a b": 1}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "no dataset: name a folder, as in gingham evaluate scifact, or judgements with"),
        ("small --json --markdown", "--json and --markdown: choose one"),
        ("small spaced --run mine.run", "--run belongs to one dataset, and 2 are named"),
        ("small spaced --plot a.png", "--plot belongs to one dataset, and 2 are named"),
        ("small spaced --qrels unknown.tsv", "--qrels belongs to one dataset"),
        ("small small", "two datasets are called small (test): evaluate them one by one"),
        ("small nowhere", "nowhere: no such file or folder; expected a folder"),
        ("small --metric foo@3", "unknown measure 'foo@3'"),
        ("small --plot a.gif", "cannot draw a.gif: the ending must be one of .png, .svg, .pdf"),
        ("small --bm25 --plot-differences a", "cannot draw a: the ending must be one of .png"),
        ("small --plot no/a.png", "cannot write no/a.png: name a file in a folder that exists"),
        ("small --plot a.png --timed 0", "--plot draws systems that are timed"),
        ("small --no-gingham --run mine.run --plot a.png", "--plot draws systems that are timed"),
        ("small --bm25 --wins 1 --versus x", "--versus 'x' is none of the others: use one of"),
        ("small --bm25 --wins 1 --versus gingham", "--versus 'gingham' is none of the others"),
        ("small --wins 1", "one system has nothing to be compared with: add another"),
        ("small --plot-differences a.png", "one system has nothing to be compared with"),
        ("small --run nowhere.run", "nowhere.run: no such file or directory"),
        ("small --run empty.run", "empty.run: empty; a run file has a line a document found"),
        ("small --run others.run", "others.run"),
        ("small --run strangers.run", "strangers.run, line 1: document 'nobody' of query 'q1' is"),
        ("small --run mine.run --run mine.run", "two systems are called 'mine': give one"),
        ("small --qrels unknown.tsv", "unknown.tsv, line 2: the judged document 'nobody' is not"),
        ("small --qrels asked.tsv", "asked.tsv: none of its query ids is in small/queries.jsonl"),
        ("small --qrels nowhere.tsv", "nowhere.tsv: no such file or directory"),
        ("small --split dev", "small: no split 'dev'"),
        ("small --corpus folder", "folder"),
        ("small --baseline x", "the baseline 'x' is none of the systems: use one of 'gingham'"),
        ("small --no-gingham", "nothing to evaluate: name a system or a run file"),
        ("small --collection nowhere", "nowhere"),
        ("small --model ./nowhere", "nowhere"),
        ("folder", "folder"),
        ("unknown.tsv", "unknown has no queries to ask gingham: name them (--queries), or score"),
        ("unknown.tsv --run mine.run --exact", "unknown has no queries to ask gingham"),
        ("small --no-worse-than nowhere.json", "nowhere.json: cannot be read ("),
        ("small --no-worse-than bad.json", "bad.json, line 1: no report of gingham evaluate"),
        ("spaced --no-worse-than report.json", "report.json has nothing on spaced (test)"),
        ("small --metric P@1 --no-worse-than report.json", "report.json has no P@1 of small"),
        ("small --max-queries 2 --no-worse-than report.json", "report.json has 6 queries of"),
        ("spaced --write-runs out", "the id 'a b' cannot stand in a run file"),
        ("small --write-runs mine.run", "--write-runs mine.run is no folder: name one"),
        ("irds:small/", "ir_datasets"),
    ],
)
def test_errors_are_one_line_before_any_work(
    run: Run, small: str, arguments: str, message: str
) -> None:
    files()
    if "report.json" in arguments:
        report = done(run("evaluate", small, "--cache", "elsewhere", "--timed", "0", "--json"))
        Path("report.json").write_text(report.stdout)
    assert message in error_of(run("evaluate", *arguments.split(), *CACHE))
    assert not Path("cache").exists()


def usage(result: Result) -> str:
    """What is said of options that cannot be."""
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    return result.stderr


@pytest.mark.parametrize(
    "option", ["--depth=0", "--timed=-1", "--rerank=0", "--wins=0", "--max-queries=0", "--seed=-1"]
)
def test_numbers_that_cannot_be(run: Run, small: str, option: str) -> None:
    assert option.split("=")[0] in usage(run("evaluate", small, option, *CACHE))
    assert not Path("cache").exists()


def test_documents_without_any_text(run: Run) -> None:
    write_beir(Path("blank"), texts={"a": ""}, queries={"q": "x"}, grades={"q": {"a": 1}})
    line = error_of(run("evaluate", "blank", *FAST))
    assert line == "blank (test): there is no text in any document to search"


def test_unknown_ids_can_be_let_through(run: Run, small: str) -> None:
    grades = {**GRADES, "nobody": {"moon": 1}, "q5": {"train": 1, "lost": 2}}
    write_beir(Path("loose"), grades=grades)
    assert "'nobody'" in error_of(run("evaluate", "loose", *FAST))
    record = json_of(run("evaluate", "loose", "--allow-unknown-ids", "--json", *FAST))
    assert len(record["remarks"]) == 2


def test_one_document_one_query_and_a_depth_beyond_all(run: Run) -> None:
    long = "why " * 5000
    write_beir(
        Path("one"), texts={"a b": "because"}, queries={"q 1": long}, grades={"q 1": {"a b": 1}}
    )
    arguments = ("--bm25", "--exact", "--rerank", "9", "--depth", "1000000000", "--timed", "9999")
    record = json_of(run("evaluate", "one", *arguments, "--json", *CACHE))
    assert [per_query(record, name)["AP"]["q 1"] for name in names(record)] == [1, 1, 0, 0]
    done(run("evaluate", "one", *arguments, *CACHE))
    done(run("evaluate", "one", *arguments, "--wins", "1", *CACHE))
    done(run("evaluate", "one", *arguments, "--markdown", *CACHE))
