"""`gingham audit`: what it prints, what it draws, and its errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gingham
from gingham.audit import auditing, choosing
from gingham.evaluation import plots
from support import random_vectors

from .conftest import Run, done, error_of, json_of

QUERIES = ["why is there a tide?", "when does the train leave?", "how long does dough rest?"]


@pytest.fixture
def compressed(docs: str) -> str:
    with gingham.open(docs) as opened:
        opened.optimize(bits=4)
    return docs


@pytest.fixture
def vectors(run: Run) -> str:
    """Passages that are hard to tell apart: the stages miss some."""
    with gingham.open("vectors.gingham") as opened:
        opened.add(
            random_vectors([2 + i % 7 for i in range(4000)], dim=16),
            ids=[f"d{i}" for i in range(4000)],
        )
        opened.optimize(bits=4)
    return "vectors.gingham"


@pytest.fixture
def queries(run: Run) -> str:
    Path("queries.txt").write_text("\n\n".join(QUERIES) + "\n", encoding="utf-8")
    return "queries.txt"


def test_a_compressed_collection(run: Run, vectors: str) -> None:
    lines = done(run("audit", vectors, "-k", "3", "--sample", "20")).stdout.splitlines()
    assert lines[0].startswith("recall@3     0.")
    assert "ms median" in lines[1]
    assert "one thread, without encoding" in lines[1]
    assert lines[2].startswith("score error  not known: it takes stored texts")
    assert lines[3] == "queries      20, made from stored vectors; a file of real ones says more"
    assert lines[4] == (
        "parameters   supers 8, probes 56, candidates 1,472, refined 66, margin 3.5; the defaults"
    )
    assert lines[6].split("  ")[-1] == "p95 ms"
    assert len({len(line) for line in lines[6:19]}) == 1  # a table
    assert sum(" current " in line for line in lines[7:19]) == 1
    assert lines[19] == "* nothing that was measured finds as much in less time"
    assert len(lines) == 20


def test_a_small_collection(run: Run, compressed: str, queries: str) -> None:
    lines = done(run("audit", compressed, queries, "-k", "3")).stdout.splitlines()
    assert lines[0].startswith("docs.gingham is so small: every search scores every passage, so ")
    assert lines[2].startswith("score error  ")
    assert lines[2].endswith("; 9 hits encoded again")
    assert lines[3] == "queries      3, given"
    assert len(lines) == 4


def test_a_flat_collection(run: Run, docs: str) -> None:
    result = done(run("audit", docs, "--target", "0.9", "--plot", "a.svg"))
    first, *others = result.stdout.splitlines()
    assert first == (
        "docs.gingham is not compressed: every search scores every passage, so recall is 1 by "
        "construction and there is no curve"
    )
    assert others[-1] == "target 0.9: reached, as any is; there is nothing to save"
    assert not any("candidates" in line for line in others)
    assert "made from stored texts; a file of real ones says more" in result.stdout
    assert result.stderr.splitlines()[-1] == "a.svg is not drawn: there is no curve"
    assert not Path("a.svg").exists()


def test_json(run: Run, vectors: str) -> None:
    record = json_of(run("audit", vectors, "--sample", "12", "--target", "0.5", "--json"))
    assert {"collection", "k", "queries", "made_from", "seed", "clustered", "parameters"} <= set(
        record
    )
    assert {"are_own", "recall", "interval", "p50", "p95", "score_error", "points"} <= set(record)
    assert (record["made_from"], record["score_error"]) == ("stored vectors", None)
    assert set(record["points"][0]["parameters"]) == {
        "supers",
        "probes",
        "candidates",
        "refined",
        "margin",
    }
    assert record["target"]["reached"]
    with gingham.open(vectors, read_only=True) as opened:
        audit = opened.audit(sample=12)
    assert (record["recall"], record["interval"]) == (audit.recall, list(audit.interval or ()))


def test_a_target_is_found_and_saved(run: Run, vectors: str) -> None:
    assert json_of(run("info", vectors, "--json"))["parameters"] is None
    assert "\nparameters       the defaults\n" in done(run("info", vectors)).stdout
    command = ("audit", vectors, "--sample", "40", "--target", "0.6")
    text = done(run(*command)).stdout
    assert "target 0.6: reached with supers " in text
    assert "on the 20 queries that chose, " in text
    assert text.endswith("  --save lets later searches use these parameters\n")
    assert json_of(run("info", vectors, "--json"))["parameters"] is None

    record = json_of(run(*command, "--save", "--json"))
    assert record["target"]["saved"]
    found = record["target"]["parameters"]
    assert json_of(run("info", vectors, "--json"))["parameters"] == found
    said = ", ".join(f"{name} {value:,}" for name, value in found.items())
    assert f"parameters       {said}\n" in done(run("info", vectors)).stdout
    text = done(run(*command, "--save")).stdout
    assert f"parameters   {said}; the collection's own\n" in text
    assert text.endswith("  saved: searches use these parameters from now on\n")


def test_a_target_that_is_not_reached(
    run: Run, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> Any:
        found, between = choosing.choose(*arguments)
        return replace(found, reached=False, passed_over=2), between

    monkeypatch.setattr(auditing, "choose", fail)
    text = done(run("audit", vectors, "--sample", "10", "--target", "0.9", "--save")).stdout
    assert "target 0.9: not reached; the best is supers " in text
    assert "  2 faster settings reached it on the queries that chose, not on those held" in text
    assert "saved" not in text
    assert "--save" not in text
    assert json_of(run("info", vectors, "--json"))["parameters"] is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "\n".join(QUERIES)),
        ("b.txt", "<b> is a tag\nwhat is it?\n\nand this?"),
        ("c.jsonl", "\n".join(json.dumps({"_id": str(i), "text": q}) for i, q in enumerate("xyz"))),
        ("d.txt", "\n".join(json.dumps({"_id": str(i), "text": q}) for i, q in enumerate("xyz"))),
        ("e.tsv", "1\tx\n2\ty\n3\tz\n4\t \n"),
        ("f.txt", "1\tx\n2\ty\n3\tz\n"),
        ("g", "<top>\n<num> 1\n<title> x\n</top>\n<top>\n<num> 2\n<title> y\n</top>\n"),
    ],
)
def test_files_of_queries(run: Run, compressed: str, name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")
    record = json_of(run("audit", compressed, name, "--json"))
    assert (record["queries"], record["made_from"]) == (2 if name == "g" else 3, None)


def test_a_plot(run: Run, vectors: str) -> None:
    result = done(run("audit", vectors, "--sample", "20", "--target", "0.6", "--plot", "a.svg"))
    assert result.stderr.splitlines()[-1] == "wrote a.svg"
    text = Path("a.svg").read_text(encoding="utf-8")
    for label in ("vectors.gingham", "recall@10 (higher", "in use", "best for its time"):
        assert f">{label}" in text, label
    assert "median time of a query, ms (log scale" in text
    assert "between" not in text
    assert "current" not in text


def test_the_same_curve_gives_the_same_bytes(tmp_path: Path) -> None:
    points = [
        plots.Point("one", 0.5, 0.8, (0.7, 0.9)),
        plots.Point("", 0.6, 0.85, (0.8, 0.9)),
        plots.Point("off", 0.7, 0.7, (float("nan"), float("nan"))),
        plots.Point("current", 0.9, 0.84, (0.8, 0.9)),
    ]
    for name in ("a.svg", "b.svg"):
        plots.curve(
            points, tmp_path / name, front=[0, 1], current=3, measure="recall@10", title="$x"
        )
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert (text.count(">one<"), text.count(">current<"), text.count(">off<")) == (1, 1, 0)
    assert ">$x<" in text


def test_errors(run: Run, compressed: str, queries: str) -> None:
    Path("empty.txt").write_text("\n \n")
    Path("blank.tsv").write_text("1\t \n")
    Path("bad.jsonl").write_text("{\n")
    for arguments, message in (
        (["nowhere"], "nowhere"),
        (["nowhere", "--target", "0.9", "--save"], "nowhere"),
        ([compressed, "-k", "0"], "k is how many hits, a whole number of at least 1; got 0"),
        ([compressed, "--target", "0"], "a target is a recall above 0 and up to 1"),
        ([compressed, "--target", "1.5"], "got 1.5"),
        ([compressed, "--save"], "only what reaches a target can be saved"),
        ([compressed, "--sample", "0"], "sample is a whole number of at least 1, got 0"),
        ([compressed, "empty.txt"], "empty.txt: there is no query in it"),
        ([compressed, "blank.tsv"], "blank.tsv: there is no query in it"),
        ([compressed, "bad.jsonl"], "bad.jsonl, line 1: not JSON"),
        ([compressed, "missing.txt"], "missing.txt: no such file"),
        ([compressed, "--plot", "a.jpg"], "the ending must be one of .png, .svg, .pdf"),
        ([compressed, "--plot", "no/a.svg"], "name a file in a folder that exists"),
    ):
        assert message in error_of(run("audit", *arguments)), arguments
    assert not Path("nowhere").exists()


def test_a_missing_library_is_said_first(
    run: Run, compressed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    line = error_of(run("audit", compressed, "--plot", "a.svg"))
    assert line == "plots need Matplotlib: pip install 'gingham[eval]'"
