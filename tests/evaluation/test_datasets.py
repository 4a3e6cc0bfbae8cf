"""Datasets of files: which file is what, whether the parts fit together, and the corpus."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from gingham.document import Document
from gingham.errors import InputError, SourceError
from gingham.evaluation.corpora import FileCorpus
from gingham.evaluation.dataset import Corpus, Dataset
from gingham.evaluation.reading import open_dataset

CORPUS = (
    '{"_id": "a", "title": "A", "text": "about a", "metadata": {}}\n'
    '{"_id": "b", "title": "", "text": ""}\n'
    '{"_id": "c", "text": "about c"}\n'
)
QUERIES = (
    '{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}\n'
    '{"_id": "3", "text": "three"}\n{"_id": "4", "text": " "}\n'
)
QRELS = "query-id\tcorpus-id\tscore\n3\ta\t1\n1\tb\t2\n1\tc\t0\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh working directory, so that errors name files as a user would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(files: dict[str, str]) -> None:
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())


def beir(qrels: str = QRELS, queries: str = QUERIES, corpus: str = CORPUS) -> str:
    write(
        {
            "set/corpus.jsonl": corpus,
            "set/queries.jsonl": queries,
            "set/qrels/test.tsv": qrels,
            "set/info.json": "{}",
        }
    )
    return "set"


def message(read: Callable[[], object], kind: type[Exception] = SourceError) -> str:
    with pytest.raises(kind) as error:
        read()
    text = str(error.value)
    assert "\n" not in text
    return text


def documents(dataset: Dataset) -> list[tuple[str, str | None]]:
    assert dataset.corpus is not None
    return [(document.id, document.text) for document in dataset.corpus.documents()]


# Layouts


def test_beir(here: Path) -> None:
    dataset = open_dataset(beir())
    assert dataset.title == "set (test)"
    assert list(dataset.queries.items()) == [("1", "one"), ("3", "three")]
    assert dataset.qrels == {"3": {"a": 1}, "1": {"b": 2, "c": 0}}
    assert documents(dataset) == [("a", "A\nabout a"), ("b", ""), ("c", "about c")]
    assert dataset.corpus is not None
    assert dataset.corpus.n_documents == 3
    assert dataset.remarks == ()


def test_the_name_of_the_folder_one_stands_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beir()
    monkeypatch.chdir("set")
    assert open_dataset(".").name == "set"


@pytest.mark.parametrize(
    ("splits", "wanted", "expected"),
    [
        (["test", "dev", "train"], None, "test"),
        (["test", "dev", "train"], "train", "train"),
        (["train"], None, "train"),
        (["dev", "train"], None, "dev"),
    ],
)
def test_splits(here: Path, splits: list[str], wanted: str | None, expected: str) -> None:
    write({"set/queries.jsonl": QUERIES})
    write({f"set/qrels/{split}.tsv": QRELS for split in splits})
    dataset = open_dataset("set", split=wanted)
    assert dataset.split == expected
    assert dataset.corpus is None


def test_splits_that_leave_a_choice(here: Path) -> None:
    write({"set/queries.jsonl": QUERIES, "set/qrels/b.tsv": QRELS, "set/qrels/a.tsv": QRELS})
    assert message(lambda: open_dataset("set")) == (
        "set: several splits and none is named test or dev: a, b; choose one with --split (split=)"
    )
    assert message(lambda: open_dataset("set", split="c")) == "set: no split 'c'; it has a, b"


def test_ms_marco(here: Path) -> None:
    write(
        {
            "msmarco/collection.tsv": "a\tabout a\nb\tabout b\nc\tabout c\n",
            "msmarco/queries.dev.small.tsv": "1\tone\n3\tthree\n",
            "msmarco/qrels.dev.small.tsv": "3\t0\ta\t1\n",
            "msmarco/queries.train.tsv": "1\tone\n",
            "msmarco/qrels.train.tsv": "1\t0\tb\t1\n",
        }
    )
    dataset = open_dataset("msmarco", split="dev.small")
    assert (dataset.title, dataset.queries) == ("msmarco (dev.small)", {"3": "three"})
    assert documents(dataset)[0] == ("a", "about a")
    assert open_dataset("msmarco", split="train").qrels == {"1": {"b": 1}}
    Path("msmarco/queries.train.tsv").unlink()
    assert message(lambda: open_dataset("msmarco", split="train")).startswith(
        "msmarco: no queries of split 'train'; expected corpus.jsonl, queries.jsonl and qrels/SPLIT"
    )


def test_names_without_a_split(here: Path) -> None:
    write(
        {"set/collection.tsv": "a\tx\n", "set/queries.tsv": "1\tone\n", "set/qrels.tsv": "1\ta\t1"}
    )
    dataset = open_dataset("set")
    assert (dataset.title, dataset.queries) == ("set", {"1": "one"})
    assert message(lambda: open_dataset("set", split="dev")) == (
        "set: no split 'dev'; it has one set of judgements: leave it out"
    )


TOPICS = "<top><num> Number: 301 <title> crime <desc> Description: which</top>"


def test_trec(here: Path) -> None:
    write({"trec/topics.301.txt": TOPICS, "trec/qrels.301.txt": "301 0 FT-1 1\n", "trec/notes": ""})
    dataset = open_dataset("trec", topic_field="desc")
    assert (dataset.title, dataset.queries, dataset.corpus) == ("trec", {"301": "which"}, None)
    assert dataset.qrels == {"301": {"FT-1": 1}}
    write({"trec/corpus.jsonl": '{"id": "FT-1", "text": "x"}'})
    assert documents(open_dataset("trec")) == [("FT-1", "x")]


def test_trec_with_several_files(here: Path) -> None:
    write({"trec/topics.a": TOPICS, "trec/topics.b": TOPICS, "trec/qrels.a": "301 0 FT-1 1\n"})
    assert message(lambda: open_dataset("trec")) == (
        "trec: 2 files of queries: topics.a, topics.b; choose one with --queries (queries=)"
    )
    assert open_dataset("trec", queries="trec/topics.b").queries == {"301": "crime"}
    write({"trec/qrels.b": "301 0 FT-2 1\n"})
    assert message(lambda: open_dataset("trec", queries="trec/topics.b")) == (
        "trec: 2 files of judgements: qrels.a, qrels.b; choose one with --qrels (qrels=)"
    )
    dataset = open_dataset("trec", queries="trec/topics.b", qrels="trec/qrels.b")
    assert dataset.qrels == {"301": {"FT-2": 1}}


def test_judgements_alone(here: Path) -> None:
    write({"qrels.covid.txt": "301 0 FT-1 1\n302 0 FT-1 0\n"})
    for dataset in (open_dataset("qrels.covid.txt"), open_dataset(qrels=Path("qrels.covid.txt"))):
        assert (dataset.title, dataset.queries, dataset.corpus) == ("qrels.covid", {}, None)
        assert list(dataset.qrels) == ["301", "302"]
    assert list(open_dataset("qrels.covid.txt", max_queries=1).qrels) == ["301"]


def test_parts_that_are_named(here: Path) -> None:
    write({"q.tsv": "1\tone\n", "j.txt": "1 0 x 1\n", "docs/d.csv": "id,text\nx,words\n"})
    for corpus in (["docs/d.csv"], [Path("docs")], "docs"):
        dataset = open_dataset(corpus=corpus, queries="q.tsv", qrels="j.txt")
        assert (dataset.name, dataset.queries) == ("j", {"1": "one"})
        assert documents(dataset) == [("x", "words")]
    assert open_dataset("j.txt", queries="q.tsv").queries == {"1": "one"}


def test_parts_that_replace_those_of_a_folder(here: Path) -> None:
    write({"q.tsv": "1\tuno\n3\ttre\n", "j.txt": "3 0 c 1\n", "d.tsv": "c\twords\n"})
    dataset = open_dataset(beir(), queries="q.tsv", qrels="j.txt", corpus=["d.tsv"])
    assert (dataset.title, dataset.queries) == ("set", {"3": "tre"})
    assert documents(dataset) == [("c", "words")]
    assert open_dataset("set", queries="q.tsv").split == "test"


def test_folders_that_are_not_understood(here: Path) -> None:
    write({f"other/{i}.txt": "" for i in range(9)})
    assert message(lambda: open_dataset("other")) == (
        "other: no judgements; expected corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv (BEIR), "
        "collection.tsv, queries.SPLIT.tsv and qrels.SPLIT.tsv (MS MARCO) or topics* and qrels* "
        "(TREC), found 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 5.txt, 6.txt, 7.txt, …; or name the "
        "files: --corpus --queries --qrels"
    )
    Path("none").mkdir()
    assert "found nothing;" in message(lambda: open_dataset("none"))
    Path("set/qrels").mkdir(parents=True)
    assert message(lambda: open_dataset("set")).startswith("set/qrels: no judgements; expected")


def test_names_that_are_no_files(here: Path) -> None:
    assert message(lambda: open_dataset("beir/scifact/test")) == (
        "beir/scifact/test: no such file or folder; ir_datasets knows a dataset of this name: say "
        "irds:beir/scifact/test"
    )
    assert message(lambda: open_dataset("scifcat")) == (
        "scifcat: no such file or folder; expected a folder (BEIR, MS MARCO, TREC), a file of "
        "judgements, or irds:ID for a dataset of ir_datasets"
    )


def test_arguments_that_contradict_each_other(here: Path) -> None:
    write({"q.txt": "1 0 a 1\n"})
    assert "max_queries must be at least 1, got 0" in message(
        lambda: open_dataset("q.txt", max_queries=0), InputError
    )
    assert "nothing to evaluate by: name a dataset" in message(open_dataset, InputError)
    for call in (
        lambda: open_dataset("q.txt", split="dev"),
        lambda: open_dataset(qrels="q.txt", split="dev"),
    ):
        assert "split 'dev' chooses among the judgements of a folder" in message(call, InputError)


# Parts that do not fit together


def test_a_judged_query_that_is_unknown(here: Path) -> None:
    beir(QRELS + "9\ta\t1\n9\tb\t1\n8\ta\t0\n")
    assert message(lambda: open_dataset("set")) == (
        "set/qrels/test.tsv, line 5: the judged query '9' is not in set/queries.jsonl (nor is 1 "
        "more); take the judgements and the queries of the same dataset, or pass "
        "--allow-unknown-ids (allow_unknown_ids=True)"
    )
    dataset = open_dataset("set", allow_unknown_ids=True)
    assert list(dataset.qrels) == ["3", "1"]
    assert dataset.remarks == (
        "set/qrels/test.tsv: 3 judgements left out, of 2 queries not in set/queries.jsonl",
    )


def test_no_judged_query_is_known(here: Path) -> None:
    beir("301\ta\t1\n302\ta\t1\n")
    for lenient in (False, True):
        assert message(lambda: open_dataset("set", allow_unknown_ids=lenient)) == (  # noqa: B023
            "set/qrels/test.tsv: none of its query ids is in set/queries.jsonl (the first is '301'"
            ", there it is '1'); take the judgements and the queries of the same dataset"
        )


def test_a_judged_document_that_is_unknown(here: Path) -> None:
    beir(QRELS + "1\tx\t1\n3\tx\t1\n3\ty\t0\n3\tz\t-1\n")
    # The first by query, in the order of the judgements: query 3 was the first.
    assert message(lambda: open_dataset("set")) == (
        "set/qrels/test.tsv, line 6: the judged document 'x' is not in the corpus (nor are 2 more)"
        "; take the judgements and the documents of the same dataset, or pass --allow-unknown-ids "
        "(allow_unknown_ids=True)"
    )
    dataset = open_dataset("set", allow_unknown_ids=True)
    assert dataset.qrels["3"] == {"a": 1, "x": 1, "y": 0, "z": -1}
    assert dataset.remarks == (
        "set/qrels/test.tsv: 3 of 6 judged documents are not in the corpus; nobody can find 2 "
        "relevant ones among them",
    )


def test_a_judged_query_without_text(here: Path) -> None:
    beir(QRELS + "4\ta\t1\n")
    assert message(lambda: open_dataset("set")) == (
        "set/queries.jsonl, line 4: the text of query '4' is empty, but it has judgements; write "
        "its text, or remove these"
    )


def test_the_first_queries(here: Path) -> None:
    dataset = open_dataset(beir(QRELS + "2\tx\t1\n"), max_queries=1)
    assert dataset.queries == {"1": "one"}
    assert dataset.qrels == {"1": {"b": 2, "c": 0}}
    assert dataset.remarks == ("only the first 1 of 3 judged queries are used",)
    beir()
    assert open_dataset("set", max_queries=2).remarks == ()


# The corpus


def test_what_is_known_of_a_corpus(here: Path) -> None:
    beir()
    corpus: Corpus = FileCorpus(["set/corpus.jsonl"])
    assert all(id in corpus for id in "abc")
    assert "d" not in corpus
    assert 1 not in corpus
    for _ in range(2):
        assert next(corpus.documents()) == Document("a", "A\nabout a", {})


def test_the_digest_is_of_ids_texts_and_their_order(here: Path) -> None:
    texts = ["a\tbc\nd\te\n", "ab\tc\nd\te\n", "d\te\na\tbc\n", "a\tbc\nd\te \n", "a\tbcd\ne\t\n"]
    digests = []
    for i, text in enumerate(texts):
        write({f"{i}.tsv": text})
        digests.append(FileCorpus([f"{i}.tsv"]).digest)
    write({"other.jsonl": '{"id": "a", "text": "bc", "x": 1}\n{"id": "d", "text": "e"}\n'})
    assert FileCorpus(["other.jsonl"]).digest == digests[0] == digests[3]
    assert len(set(digests)) == 4
    assert len(digests[0]) == 64


def test_corpora_that_are_refused(here: Path) -> None:
    write({"empty.jsonl": "\n", "twice.tsv": "a\tx\nb\ty\na\tz\n", "bad.jsonl": '{"id": 1}\n'})
    Path("folder").mkdir()
    assert message(lambda: FileCorpus(["empty.jsonl"])) == "empty.jsonl: there is no text in it"
    assert message(lambda: FileCorpus(["folder"])).startswith("folder: there is no document in it")
    assert message(lambda: FileCorpus(["no"])) == "no: no such file or folder"
    assert message(lambda: FileCorpus(["twice.tsv"])).startswith(
        "twice.tsv, line 3: the id 'a' was already in twice.tsv, line 1"
    )
    assert message(lambda: FileCorpus(["bad.jsonl"])).startswith("bad.jsonl, line 1: no text field")
    assert "read more than once" in message(lambda: FileCorpus(["-"]), InputError)
    write({"j.txt": "1 0 x 1\n"})
    assert message(lambda: open_dataset("j.txt", corpus=["empty.jsonl"])).startswith("empty.jsonl:")


def test_progress_and_memory(here: Path) -> None:
    with Path("big.jsonl").open("w") as file:
        for i in range(10_000):
            file.write(json.dumps({"id": i, "text": "word " * 600}) + "\n")
    size = os.path.getsize("big.jsonl")
    seen: list[int] = []
    tracemalloc.start()
    corpus = FileCorpus(["big.jsonl"], progress=seen.append)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 4
    assert corpus.n_documents == 10_000 == seen[-1]
    assert seen == sorted(seen)
    assert len(seen) > 3
