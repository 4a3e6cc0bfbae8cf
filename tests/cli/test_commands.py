"""What each command prints, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gingham

from .conftest import TEXTS, Run, done, error_of, json_lines, json_of

QUESTION = "why does the sea rise?"


def test_version(run: Run) -> None:
    assert done(run("--version")).stdout == f"gingham {gingham.__version__}\n"


def test_add_says_what_it_did(run: Run) -> None:
    Path("notes").mkdir()
    for name, text in TEXTS.items():
        Path(f"notes/{name}.md").write_text(text)
    Path("notes/empty.txt").write_text("")
    Path("notes/picture.png").write_bytes(b"\0")
    first = done(run("add", "docs.gingham", "notes"))
    assert first.stdout.startswith("docs.gingham: 5 documents added or replaced (5 passages, ")
    assert first.stdout.endswith("0 unchanged; now 5 documents\n")
    assert "left out, no text in them: 1" in first.stderr
    assert "left out, of other kinds: 1 file (.png 1)" in first.stderr
    record = json_of(run("add", "docs.gingham", "notes", "--json"))
    assert list(record) == [
        *("collection", "read", "skipped", "passages", "tokens", "documents"),
        *("empty", "other_files", "unreadable", "seconds"),
    ]
    assert (record["read"], record["skipped"], record["documents"]) == (5, 5, 5)
    assert (record["empty"], record["other_files"], record["tokens"]) == (1, {".png": 1}, 0)


def test_add_replaces_what_changed(run: Run, docs: str) -> None:
    Path("corpus.jsonl").write_text(json.dumps({"id": "moon", "text": "Changed."}))
    record = json_of(run("add", docs, "corpus.jsonl", "--json"))
    assert (record["read"], record["skipped"], record["documents"]) == (1, 0, 5)
    with gingham.open(docs) as opened:
        assert opened.get("moon").text == "Changed."


def test_add_from_standard_input_with_named_fields(run: Run) -> None:
    line = '{"key": "k", "answer": "Cats sleep.", "text": "no"}\n'
    options = ["--text-field", "answer", "--id-field", "key", "--json"]
    assert json_of(run("add", "docs.gingham", "-", *options, input=line))["documents"] == 1
    with gingham.open("docs.gingham") as opened:
        assert opened.get("k").text == "Cats sleep."


def test_add_keeps_going_when_told(run: Run) -> None:
    Path("notes").mkdir()
    Path("notes/a.txt").write_bytes("Zoë".encode("latin-1"))
    Path("notes/b.txt").write_text("Cats sleep.")
    assert "notes/a.txt, line 1: not UTF-8" in error_of(run("add", "docs.gingham", "notes"))
    kept = done(run("add", "docs.gingham", "notes", "--keep-going"))
    assert "left out: notes/a.txt, line 1: not UTF-8" in kept.stderr
    assert json_of(run("add", "d2", "notes", "--encoding", "latin-1", "--json"))["documents"] == 2


def test_search_as_text(run: Run, docs: str) -> None:
    lines = done(run("search", docs, QUESTION, "-k", "2")).stdout.splitlines()
    assert lines[0].split()[0] == "1"
    assert lines[0].endswith("  moon")
    assert lines[1].strip() == TEXTS["moon"]
    assert "\033" not in "".join(lines)


def test_search_as_json(run: Run, docs: str) -> None:
    hits = json_lines(run("search", docs, QUESTION, "-k", "3", "--json"))
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    first = hits[0]
    assert list(first) == ["query", "rank", "id", "score", "text", "span", "metadata"]
    assert (first["query"], first["id"], first["text"]) == (QUESTION, "moon", TEXTS["moon"])
    assert first["metadata"] == {"letters": 4}
    assert first["span"] == [0, len(TEXTS["moon"])]
    assert first["score"] >= hits[1]["score"] >= hits[2]["score"]


def test_search_with_a_condition(run: Run, docs: str) -> None:
    where = '{"letters": 5}'
    hits = json_lines(run("search", docs, QUESTION, "--where", where, "--exact", "--json"))
    assert sorted(hit["id"] for hit in hits) == ["bread", "train"]
    nothing = done(run("search", docs, QUESTION, "--where", '{"letters": 99}'))
    assert nothing.stdout == "no hits\n"


@pytest.mark.parametrize("argument", [["-"], []])
def test_search_many_from_standard_input(run: Run, docs: str, argument: list[str]) -> None:
    queries = f"{QUESTION}\n\nhow to bake\n"
    hits = json_lines(run("search", docs, *argument, "-k", "1", "--json", input=queries))
    assert [(hit["query"], hit["id"]) for hit in hits] == [
        (QUESTION, "moon"),
        ("how to bake", "bread"),
    ]
    text = done(run("search", docs, *argument, "-k", "1", input=queries)).stdout
    assert text.startswith(f"{QUESTION}\n")


def test_search_all_passages(run: Run) -> None:
    long = "\n\n".join(f"Chapter {i}. " + (TEXTS["moon"] + " ") * 12 for i in range(6))
    Path("a.txt").write_text(long)
    done(run("add", "docs.gingham", "a.txt", "--passage-length", "1000"))
    assert len(json_lines(run("search", "docs.gingham", "tide", "--json"))) == 1
    hits = json_lines(run("search", "docs.gingham", "tide", "--json", "--all-passages"))
    assert len(hits) > 1
    assert {hit["id"] for hit in hits} == {"a.txt"}
    shown = done(run("search", "docs.gingham", "tide")).stdout
    assert "…" in shown
    assert max(map(len, shown.splitlines())) < 500


def test_explain(run: Run, docs: str) -> None:
    record = json_of(run("explain", docs, QUESTION, "moon", "--json"))
    assert list(record) == [
        *("id", "query", "text", "span", "score", "matches", "highlights"),
    ]
    assert record["score"] == pytest.approx(sum(m["score"] for m in record["matches"]), abs=1e-3)
    for start, end, _ in record["highlights"]:
        assert 0 <= start < end <= len(TEXTS["moon"])
    text = done(run("explain", docs, QUESTION, "moon")).stdout
    assert "query" in text
    assert "sea" in text
    assert f"{record['score']:.2f}" in text
    assert TEXTS["moon"] in text


def test_delete(run: Run, docs: str) -> None:
    assert error_of(run("delete", docs, "cat", "dog")).startswith("no document 'dog'")
    record = json_of(run("delete", docs, "cat", "dog", "--missing-ok", "--json"))
    assert record == {"deleted": 1, "documents": 4}
    assert done(run("delete", docs, "-", input="moon\nbread\n")).stdout == (
        "docs.gingham: 2 documents deleted, 2 left\n"
    )


def test_info(run: Run, docs: str) -> None:
    record = json_of(run("info", docs, "--json"))
    assert (record["documents"], record["passages"]) == (5, 5)
    assert {"tokens", "dim", "bytes", "model", "codec", "format_version"} <= set(record)
    assert record["parameters"] is None
    assert "documents" in done(run("info", docs)).stdout
    assert record["passage_length"] == 144
    assert "in every passage" in done(run("info", docs)).stdout


def test_info_before_anything_is_added_and_of_older_collections(run: Run) -> None:
    gingham.open("empty.gingham").close()
    lines = done(run("info", "empty.gingham")).stdout.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("titles")] == [
        "none yet"
    ]
    with gingham.open("whole.gingham", passage_length=None, titles=False) as collection:
        collection.add(["the tide"])
    shown = done(run("info", "whole.gingham")).stdout
    assert "what the model takes" in shown
    assert "in the first passage" in shown


def test_optimize(run: Run, docs: str) -> None:
    for name in ("a", "b"):
        Path(f"{name}.txt").write_text(f"A text of {name}.")
        done(run("add", docs, f"{name}.txt"))
    record = json_of(run("optimize", docs, "--json"))
    assert record["segments_before"] >= record["segments"] == 1
    assert "1" in done(run("optimize", docs)).stdout
    assert len(json_lines(run("search", docs, QUESTION, "--json"))) == 7


def test_control_characters_do_not_reach_the_terminal(run: Run) -> None:
    record = {"id": "a\x1b[31m", "text": "evil \x1b]0;title\x07 text"}
    Path("a.jsonl").write_text(json.dumps(record))
    done(run("add", "docs.gingham", "a.jsonl"))
    assert "\x1b" not in done(run("search", "docs.gingham", "evil")).stdout
