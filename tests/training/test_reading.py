"""Every format that training data comes in, and what is said of each mistake."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gingham.errors import InputError, SourceError
from gingham.training import TrainingSet, lines_on_disk, read, read_all, reading, write_training_set
from training.toys import toy_set


def pairs(one: TrainingSet) -> list[tuple[Any, ...]]:
    """Examples with their texts in place of ids."""
    return [
        (
            one.queries[example.query_id],
            [one.documents[id] for id in example.positives],
            [one.documents[id] for id in example.negatives],
            example.scores,
        )
        for example in one.examples
    ]


def lines(path: Path, values: Iterable[Any]) -> Path:
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in values)
    path.write_text(text + "\n", encoding="utf-8")
    return path


WANTED = [("why?", ["moon"], ["yeast"], None), ("how?", ["yeast"], ["moon"], None)]


def test_json_triples_and_other_names_for_them(tmp_path: Path) -> None:
    spelt = [
        {"query": "why?", "positive": "moon", "negative": "yeast"},
        {"anchor": "how?", "pos": ["yeast"], "negative_1": "moon"},
    ]
    one = read(lines(tmp_path / "own.jsonl", spelt))
    assert (one.name, pairs(one)) == ("own", WANTED)
    assert len(one.documents) == 2  # the same text is one document


def test_triples_of_texts(tmp_path: Path) -> None:
    one = read(lines(tmp_path / "triples.tsv", ["why?\tmoon\tyeast", "", "how?\tyeast\tmoon"]))
    assert pairs(one) == WANTED


def test_lists_with_scores(tmp_path: Path) -> None:
    rows = [
        {
            "query": "why?",
            "documents": ["moon", {"title": "Bread", "text": "yeast"}],
            "scores": [2, 1],
        },
        {"query": "how?", "positive": "yeast", "negatives": ["moon"], "scores": [2.5, 0.5]},
    ]
    assert pairs(read(lines(tmp_path / "n.jsonl", rows))) == [
        ("why?", [], ["moon", "Bread\nyeast"], (2.0, 1.0)),
        ("how?", ["yeast"], ["moon"], (2.5, 0.5)),
    ]


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, Any]:
    """Queries and a collection, in MS MARCO's files."""
    return {
        "queries": lines(tmp_path / "queries.tsv", ["1\twhy?", "2\thow?"]),
        "collection": lines(tmp_path / "collection.tsv", ["7\tmoon", "8\tyeast"]),
    }


@pytest.mark.parametrize("limit", [0, 2**28])
def test_files_of_ids(
    tmp_path: Path, texts: dict[str, Any], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files in memory, large ones left on disk: the same."""
    monkeypatch.setattr(reading, "_LARGE", limit)
    one = read(lines(tmp_path / "ids.tsv", ["1\t7\t8", "2\t8\t7"]), **texts)
    assert pairs(one) == WANTED
    assert list(one.documents) == ["7", "8"]
    colbert = lines(tmp_path / "c.jsonl", [[1, 7, 8], [2, 8, 7]])
    assert pairs(read(colbert, **texts)) == WANTED
    scored = lines(tmp_path / "s.json", [[1, [7, 0.9], [8, 0.1]]])
    assert pairs(read(scored, **texts)) == [("why?", [], ["moon", "yeast"], (0.9, 0.1))]
    for line, message in (
        ("1\t9\t8", "document '9' is not in"),
        ("3\t7\t8", "query '3' is not in"),
    ):
        with pytest.raises(SourceError, match=rf"bad.tsv, line 2: {message}"):
            read(lines(tmp_path / "bad.tsv", ["1\t7\t8", line]), **texts)


def test_a_large_file_of_texts_stays_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lines(tmp_path / "triples.tsv", ["\n", "why?\tmoon\tyeast", " \t", "how?\tyeast\tmoon"])
    small = pairs(read(path))
    monkeypatch.setattr(reading, "_LARGE", 0)
    large = read(path)
    assert pairs(large) == small == WANTED
    assert list(large.queries) == ["0", "1"]
    assert list(large.documents) == ["0.0", "0.1", "1.0", "1.1"]
    assert len(large.documents) == 4
    assert "9.0" not in large.documents
    assert "x" not in large.queries
    with pytest.raises(SourceError, match="line 3: 1 column"):
        read(lines(tmp_path / "bad.tsv", ["a\tb", "", "c"]))


def test_an_id_that_comes_twice_in_a_large_collection(tmp_path: Path) -> None:
    path = lines(tmp_path / "collection.tsv", ["7\tmoon", "8\tyeast", "7\tsea"])
    with pytest.raises(SourceError, match=r"line 3: the id '7' was already in .*line 1"):
        lines_on_disk.TextsOnDisk(path)


def beir(folder: Path, *splits: str) -> Path:
    (folder / "qrels").mkdir(parents=True)
    lines(
        folder / "corpus.jsonl",
        [
            {"_id": "m", "title": "Tides", "text": "moon"},
            {"_id": "y", "text": "yeast"},
        ],
    )
    lines(folder / "queries.jsonl", [{"_id": "1", "text": "why?"}, {"_id": "2", "text": "how?"}])
    for split in splits:
        rows = ["query-id\tcorpus-id\tscore", "1\tm\t2", "1\ty\t0", "2\tm\t0"]
        lines(folder / "qrels" / f"{split}.tsv", rows)
    return folder


def test_beir_folders(tmp_path: Path) -> None:
    both = beir(tmp_path / "both", "train", "test")
    wanted = [("why?", ["Tides\nmoon"], ["yeast"], None)]  # a query without a positive is left out
    assert pairs(read(both)) == wanted
    assert read(both).name == "both"
    assert read(f"{both}:test").name == read(both, split="test").name == "both:test"
    other = beir(tmp_path / "other", "dev", "test")
    with pytest.raises(SourceError, match=r"no split train, and several others: dev, test; name"):
        read(other)
    with pytest.raises(SourceError, match="no split 'validation'"):
        read(other, split="validation")


def test_an_empty_query_of_a_folder_is_found(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set", "train")
    lines(folder / "queries.jsonl", [{"_id": "2", "text": "how?"}, {"_id": "1", "text": " "}])
    with pytest.raises(SourceError, match=r"queries.jsonl, line 2: query '1' is empty"):
        read(folder)


def test_our_own_folders(tmp_path: Path) -> None:
    write_training_set(toy_set(4, 1), tmp_path / "mined")
    assert pairs(read(tmp_path / "mined")) == pairs(toy_set(4, 1))


@pytest.mark.parametrize("many", [0, 200_000])
def test_hugging_face(tmp_path: Path, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MANY", many)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        columns = {"anchor": ["why?", "how?"], "positive": ["moon", "yeast"]}
        columns["negative"] = ["yeast", "moon"]
        rows = datasets.Dataset.from_dict(columns)
        rows.save_to_disk(str(tmp_path / "one"))
        datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "dict"))
        rows.rename_column("anchor", "sentence").save_to_disk(str(tmp_path / "bad"))
        rows.to_parquet(str(tmp_path / "files" / "train.parquet"))
        assert pairs(read(tmp_path / "one")) == WANTED
        assert pairs(read(tmp_path / "dict")) == WANTED
        assert pairs(read(f"hf:{tmp_path / 'files'}")) == WANTED
        with pytest.raises(SourceError, match=r"row 1: it has 'sentence', 'positive', 'negative'"):
            read(tmp_path / "bad")
        with pytest.raises(SourceError, match="no split 'dev'; it has train"):
            read(tmp_path / "dict", split="dev")
        with pytest.raises(SourceError, match="cannot be loaded"):
            read(f"hf:{tmp_path / 'nothing'}")
    with pytest.raises(InputError, match="expected hf:NAME"):
        read("hf:a:b:c:d")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("3", "line 2: no example"),
        ({"query": "q"}, "line 2: it has 'query'; expected"),
        ({"query": "", "positive": "x"}, "line 2: the query is empty"),
        ({"query": "q", "positive": " "}, "line 2: a document of query 'q' is empty"),
        ({"query": "q", "positive": []}, "line 2: there is no document"),
        ({"query": "q", "positive": 1.5}, "line 2: 'positive' must be a text"),
        ({"query": "q", "positive": "x", "negative": ["x"]}, "line 2: 'x' is a positive and a neg"),
        ({"query": "q", "documents": ["x"], "scores": [1, 2]}, "line 2: 1 documents and 2 scores"),
        ({"query": "q", "documents": ["x"], "scores": ["a"]}, "line 2: scores must be finite"),
        ('{"query": "q", "documents": ["x"], "scores": [NaN]}', "line 2: scores must be finite"),
        ([1], "line 2: a list of 1"),
        ([1, {"a": 2}], "line 2: expected"),
        ([1, 2, 3], r"line 2: these are ids \('1', …\), not texts; name the files"),
    ],
)
def test_a_line_that_is_wrong(tmp_path: Path, line: Any, message: str) -> None:
    path = lines(tmp_path / "own.jsonl", [{"query": "why?", "positive": "moon"}, line])
    with pytest.raises(SourceError, match=message):
        read(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder; a data set of the hub"):
        read(tmp_path / "nothing.jsonl")
    with pytest.raises(SourceError, match="there is no example in it"):
        read(lines(tmp_path / "empty.jsonl", [""]))
    with pytest.raises(SourceError, match=r"expected .jsonl"):
        read(lines(tmp_path / "own.csv", ["a,b"]))
    with pytest.raises(InputError, match="needs both"):
        read(lines(tmp_path / "own.tsv", ["1\t2"]), queries=tmp_path / "q")


def test_names_differ(tmp_path: Path) -> None:
    path = lines(tmp_path / "own.jsonl", [{"query": "why?", "positive": "moon"}])
    assert [one.name for one in read_all([path, path, path])] == ["own", "own (2)", "own (3)"]
