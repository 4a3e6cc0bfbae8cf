"""Collections of texts with the bundled model: the whole way of a document and of a query."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gingham
from gingham import (
    Document,
    EmptyInputError,
    Encoder,
    InputError,
    ModelError,
    ModelMismatchError,
    Reranker,
    intake,
)
from support import random_vectors

TEXTS = {
    "tide": "The tide rises twice a day because the moon pulls at the sea.",
    "yeast": "Yeast makes the dough rise while it rests in the warmth.",
    "csv": "DictReader maps the rows of a CSV file to dictionaries by the header's names.",
    "sky": "The sky is blue since air scatters short waves of light more than long ones.",
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(threads=2)


@pytest.fixture
def docs(tmp_path: Path, encoder: Encoder) -> gingham.Collection:
    collection = gingham.open(tmp_path / "texts.gingham", encoder)
    collection.add(TEXTS.values(), ids=TEXTS, metadata=[{"n": i} for i in range(len(TEXTS))])
    return collection


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("why does the sea rise twice a day?", "tide"),
        ("how does bread get fluffy?", "yeast"),
        ("read a table file into a dict", "csv"),
        ("what gives the heavens their colour?", "sky"),
    ],
)
def test_questions_find_their_answers(docs: gingham.Collection, question: str, answer: str) -> None:
    hits = docs.search(question, k=4)
    assert hits[0].id == answer
    assert hits[0].text == TEXTS[answer]
    assert hits[0].span == (0, len(TEXTS[answer]))
    assert {hit.id for hit in hits} == set(TEXTS)


def test_explain_names_words_and_places(docs: gingham.Collection) -> None:
    query = "why does the sea rise?"
    [hit] = docs.search(query, k=1)
    explanation = docs.explain(query, "tide")
    assert explanation == docs.explain_hit(query, hit)
    assert explanation.score == pytest.approx(hit.score, abs=1e-4)
    by_word = {match.query_token: match for match in explanation.matches}
    assert by_word["sea"].document_token == "sea"
    start, end = by_word["sea"].document_span
    assert TEXTS["tide"][start:end] == "sea"
    start, end = by_word["sea"].query_span
    assert query[start:end] == "sea"
    highlighted = [TEXTS["tide"][start:end] for start, end, _ in explanation.highlights()]
    assert any("sea" in words for words in highlighted)


def test_a_long_text_is_found_by_its_passages(docs: gingham.Collection) -> None:
    filler = "Nothing of interest happened in the village that year, and nobody wrote it down. "
    needle = "The astronomer measured the parallax of a distant star with a brass sextant."
    book = filler * 80 + needle + " " + filler * 80
    docs.add([book], ids=["book"])
    query = "measuring how far away a star is"
    best = docs.search(query, k=1)[0]
    assert best.id == "book"
    assert best.text is not None
    assert needle in best.text
    assert book[slice(*best.span)] == best.text
    assert [hit.id for hit in docs.search(query, k=5)].count("book") == 1
    assert [hit.id for hit in docs.search(query, k=50, group=False)].count("book") > 1
    assert docs.explain(query, "book").span == best.span


PAGE = "Parallax of stars\n" + "It was measured with a sextant, night after night. " * 60


def second_passage(collection: gingham.Collection) -> tuple[gingham.Hit, gingham.Explanation]:
    """Of the page, and why it has its score."""
    hits = collection.search("the parallax of a sextant", k=50, group=False)
    hit = min((hit for hit in hits if hit.span[0]), key=lambda hit: hit.span)
    return hit, collection.explain_hit("the parallax of a sextant", hit)


def test_each_passage_of_a_text_knows_its_title(tmp_path: Path, encoder: Encoder) -> None:
    with gingham.open(tmp_path / "c", encoder, codec="fp16") as collection:
        collection.add([PAGE], ids=["page"])
        assert collection.info().titles
    collection = gingham.open(tmp_path / "c", encoder, titles=False)  # it keeps what it has
    for text in (PAGE, PAGE + "More."):
        collection.add([text], ids=["page"])
        hit, explanation = second_passage(collection)
        assert hit.text == text[slice(*hit.span)]
        assert hit.text.startswith("It was measured")
        expected = Reranker(encoder).rank(
            "the parallax of a sextant", ["Parallax of stars\n" + hit.text]
        )
        assert hit.score == pytest.approx(expected[0].score, abs=0.02)
        by_word = {match.query_token: match for match in explanation.matches}
        assert by_word["para"].document_token == "para"
        assert by_word["para"].document_span == (0, 0)
        start, end = by_word["sex"].document_span
        assert hit.text[start:end] == "sex"
    error = collection.audit(["the parallax of a sextant"]).score_error
    assert error is not None
    assert error.absolute < 0.02


@pytest.mark.parametrize(("length", "most"), [(32, 32), (None, 220), (100_000, 220)])
def test_passages_are_as_long_as_a_collection_was_begun_with(
    tmp_path: Path, encoder: Encoder, length: int | None, most: int
) -> None:
    with gingham.open(tmp_path / "c", encoder, passage_length=length) as collection:
        collection.add([PAGE], ids=["first"])
    with gingham.open(tmp_path / "c", encoder) as collection:
        assert collection.info().passage_length == length
        collection.add([PAGE], ids=["second"])
        hits = collection.search("the parallax of a sextant", k=200, group=False)
    spans = [sorted(hit.span for hit in hits if hit.id == id) for id in ("first", "second")]
    assert spans[0] == spans[1] == encoder.split(PAGE, length=length, titled=True)
    lengths = encoder.tokenize_documents([PAGE[slice(*span)] for span in spans[0]])
    assert most / 2 < np.diff(lengths.offsets)[:-1].max() <= most


@pytest.mark.parametrize("length", [31, 0, -1, 64.0, True, "64"])
def test_lengths_that_no_passage_could_have(tmp_path: Path, length: Any) -> None:
    with pytest.raises(InputError, match="passage_length is tokens, a whole number of at least 32"):
        gingham.open(tmp_path / "c", passage_length=length)


@pytest.mark.parametrize("forgotten", [False, True])
def test_titles_may_be_left_out_and_were_once(
    tmp_path: Path, encoder: Encoder, forgotten: bool
) -> None:
    collection = gingham.open(tmp_path / "c", encoder, titles=False, passage_length=None)
    collection.add([PAGE], ids=["page"])
    if forgotten:  # collections of before had no such settings
        collection.close()
        with sqlite3.connect(tmp_path / "c" / "catalog.sqlite") as catalog:
            catalog.execute("DELETE FROM settings WHERE key = 'titles'")
        catalog.close()
        collection = gingham.open(tmp_path / "c", encoder)
    assert not collection.info().titles
    collection.delete("page")
    collection.add([PAGE], ids=["page"])
    hit, explanation = second_passage(collection)
    assert hit.text is not None
    expected = Reranker(encoder).rank("the parallax of a sextant", [hit.text])
    assert hit.score == pytest.approx(expected[0].score, abs=0.02)
    assert not any(match.document_token == "para" for match in explanation.matches)


def test_texts_without_ids_are_named_by_their_content(tmp_path: Path, encoder: Encoder) -> None:
    collection = gingham.open(tmp_path / "c", encoder)
    assert collection.add("one text, not a list of letters") == 1
    assert collection.add(["one text, not a list of letters", "another"]) == 2
    assert len(collection) == 2


def test_documents_bring_their_own_ids(tmp_path: Path, encoder: Encoder) -> None:
    collection = gingham.open(tmp_path / "c", encoder)
    document = Document("x", "a text", {"tags": ["a", "b"]})
    collection.add([document])
    assert collection.get("x") == document
    with pytest.raises(InputError, match="bring their own"):
        collection.add([document], ids=["y"])


def test_changed_metadata_or_text_is_stored_unchanged_is_not(docs: gingham.Collection) -> None:
    reports: list[gingham.Progress] = []
    docs.add(
        ["The tide comes in.", TEXTS["yeast"], TEXTS["csv"]],
        ids=["tide", "yeast", "csv"],
        metadata=[{"n": 0}, {"n": 1}, {"n": 222}],
        progress=reports.append,
    )
    assert (reports[-1].documents, reports[-1].skipped) == (3, 1)
    assert docs.get("tide").text == "The tide comes in."
    assert docs.get("csv").metadata == {"n": 222}


def test_the_last_of_a_repeated_id_wins(docs: gingham.Collection) -> None:
    docs.add(["first version", "second version"], ids=["v", "v"])
    assert docs.get("v").text == "second version"


def test_an_error_leaves_the_commits_before_it(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_BATCH_CHARACTERS", 1000)
    collection = gingham.open(tmp_path / "c", encoder)
    long = "word " * 200

    def documents() -> Iterator[Document]:
        yield Document("good", long)
        yield Document("lost", "in the batch of the bad one")
        yield Document("bad", "  ")

    with pytest.raises(EmptyInputError, match="'bad'"):
        collection.add(documents())
    assert "good" in collection
    assert "lost" not in collection


def test_an_endless_iterator_is_read_batch_by_batch(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_BATCH_DOCUMENTS", 16)
    collection = gingham.open(tmp_path / "c", encoder)

    class EnoughError(Exception):
        pass

    def stop(progress: gingham.Progress) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        collection.add((f"number {i}" for i in itertools.count()), progress=stop)
    assert len(collection) == 16


@pytest.mark.parametrize("query", ["", " \n\t"])
def test_an_empty_query_is_refused(docs: gingham.Collection, query: str) -> None:
    with pytest.raises(EmptyInputError, match="query is empty"):
        docs.search(query)
    with pytest.raises(EmptyInputError, match="query is empty"):
        docs.search_many(["fine", query])


def test_an_empty_collection_answers_nothing(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c")
    assert collection.search("anything") == []
    assert collection.search_many(["a", "b"]) == [[], []]


@pytest.mark.parametrize("text", ["", "   ", "\ud800", 3, None])
def test_bad_texts_are_refused(docs: gingham.Collection, text: str) -> None:
    with pytest.raises(InputError):
        docs.add([text], ids=["bad"])
    assert len(docs) == len(TEXTS)


def test_more_ids_than_texts_are_refused(docs: gingham.Collection) -> None:
    with pytest.raises(InputError, match="equally many"):
        docs.add(["a"], ids=["a", "b"])
    with pytest.raises(InputError, match="equally many"):
        docs.add(["a", "b"], ids=["a"])


def test_reopening_takes_the_recorded_model(docs: gingham.Collection) -> None:
    docs.close()
    with gingham.open(docs.path, read_only=True) as again:
        assert again.search("tides", k=1)[0].id == "tide"
        assert again.info().model == "gingham-mini"


def test_another_model_is_refused(
    docs: gingham.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "fingerprint", property(lambda self: "0" * 64))
    with pytest.raises(ModelMismatchError) as caught:
        docs.search("anything")
    assert "gingham-mini" in str(caught.value)
    with pytest.raises(ModelMismatchError):
        docs.add(["a text"])


def test_an_unknown_model_is_one_line(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c", str(tmp_path / "no-model"))
    with pytest.raises(ModelError) as caught:
        collection.add(["a text"])
    assert "\n" not in str(caught.value)
    assert len(collection) == 0


def test_text_in_a_collection_of_vectors_needs_a_model(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c")
    collection.add(random_vectors([2], dim=128), ids=["a"])
    with pytest.raises(InputError, match="encoder="):
        collection.search("which model made these?")


def test_the_reranker_orders_candidates(encoder: Encoder) -> None:
    reranker = Reranker(encoder)
    hits = reranker.rank("why does the sea rise?", list(TEXTS.values()), ids=list(TEXTS))
    assert hits[0].id == "tide"
    assert len(hits) == 4
    assert len(reranker.rank("why?", list(TEXTS.values()), k=2)) == 2
    assert reranker.rank("why?", []) == []
    with pytest.raises(EmptyInputError):
        reranker.rank(" ", ["a"])
    with pytest.raises(InputError):
        reranker.rank("why?", ["a"], ids=["a", "b"])
    for k in (0, -1, True):
        with pytest.raises(InputError, match="k is how many"):
            reranker.rank("why?", ["a"], k=k)


def test_reopening_takes_the_recorded_precision(tmp_path: Path, encoder: Encoder) -> None:
    """A folder with both graphs opens with the one that made the collection's vectors."""
    folder = tmp_path / "model"
    shutil.copytree(encoder._checkpoint.folder, folder)
    shutil.copy(folder / "onnx" / "model_int8.onnx", folder / "onnx" / "model.onnx")
    collection = gingham.open(tmp_path / "c", Encoder(folder, precision="int8"))
    collection.add(["a text"], ids=["a"])
    collection.close()
    again = gingham.open(tmp_path / "c")
    assert again.search("text")[0].id == "a"
    assert Encoder(folder).precision == "fp32"  # what the folder alone would give
    assert again._model.encoder(again._snapshot.settings).precision == "int8"
