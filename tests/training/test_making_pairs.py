"""Pairs made of texts: what asks for what, and what is held out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import gingham
from gingham.document import Document
from gingham.errors import InputError
from gingham.training.adapting_sets import AdaptingSettings, count_kinds, make_sets
from gingham.training.making_pairs import Pairs, make_pairs, sentences, share_of
from gingham.training.stored_texts import stored_documents

BODY = (
    "The moon pulls at the water of the sea. The sun pulls at it too, though far less. "
    "Twice a month both pull along one line, and the tides are high."
)


def whole(text: str) -> list[tuple[int, int]]:
    return [(0, len(text))]


def halves(text: str) -> list[tuple[int, int]]:
    middle = text.index(" ", len(text) // 2)
    return [(0, middle), (middle + 1, len(text))]


def made(*texts: str, split: object = whole) -> Pairs:
    documents = [Document(f"d{i}", text) for i, text in enumerate(texts)]
    return make_pairs(documents, split)  # type: ignore[arg-type]


def test_a_title_asks_for_the_text_below_it() -> None:
    pairs = made(f"Tides\n{BODY}", f"# Spring tides #\n{BODY[::-1]}")
    titles = {pair.query: pair.positives for pair in pairs.pairs if pair.kind == "title"}
    assert titles == {"Tides": ("d0#0.0",), "Spring tides": ("d1#0.0",)}
    assert all("Tides\n" not in text for text in pairs.passages.values())


def test_a_title_asks_for_every_passage_of_its_text() -> None:
    pairs = made(f"Tides\n{BODY}", split=halves)
    (title,) = (pair for pair in pairs.pairs if pair.kind == "title")
    assert title.positives == ("d0#0.0", "d0#0.1")


def test_a_title_that_several_have_asks_for_nothing() -> None:
    pairs = made(f"README\n{BODY}", f"Readme\n{BODY[::-1]}")
    assert "title" not in {pair.kind for pair in pairs.pairs}
    assert not any("readme" in text.lower() for text in pairs.passages.values())


@pytest.mark.parametrize(
    "text",
    [BODY, f"It begins like this.\n{BODY}", f"Tides\n{BODY[:30]}", f"{'long ' * 40}\n{BODY}"],
    ids=["one line", "a sentence", "a short body", "too long"],
)
def test_what_is_no_title_stays_in_the_text(text: str) -> None:
    seen: list[str] = []

    def recorded(body: str) -> list[tuple[int, int]]:
        seen.append(body)
        return whole(body)

    pairs = made(text, split=recorded)
    assert "title" not in {pair.kind for pair in pairs.pairs}
    assert seen == [text]


def test_headings_ask_for_what_stands_beneath() -> None:
    text = (
        f"# Tides\n{BODY}\n\n## Spring tides\n{BODY[::-1]}\n\nNeap tides\n----------\n{BODY[40:]}"
    )
    pairs = made(text)
    headings = {pair.query: pair.positives for pair in pairs.pairs if pair.kind == "heading"}
    assert headings == {"Spring tides": ("d0#1.0",), "Neap tides": ("d0#2.0",)}
    assert pairs.passages["d0#2.0"] == BODY[40:]


def test_a_heading_that_several_have_needs_the_title() -> None:
    first = f"# Tides\n{BODY}\n## Causes\n{BODY[::-1]}"
    second = f"# Winds\n{BODY[9:]}\n## Causes\n{BODY[7::-1] * 9}"
    queries = {pair.query for pair in made(first, second).pairs if pair.kind == "heading"}
    assert queries == {"Tides: Causes", "Winds: Causes"}


def test_a_sentence_asks_for_the_passage_without_it() -> None:
    cloze = kept = neighbours = 0
    for number in range(200):
        (pair,) = make_pairs([Document(f"n{number}", BODY)], whole).pairs
        (passage,) = make_pairs([Document(f"n{number}", BODY)], whole).passages.values()
        spans = [BODY[slice(*span)] for span in sentences(BODY)]
        assert pair.query in spans
        if pair.kind == "cloze":
            cloze += 1
            kept += pair.query in passage
            rest = BODY.replace(pair.query, "")
            assert passage.split() == (BODY if pair.query in passage else rest).split()
        else:
            neighbours += 1
            assert pair.kind == "neighbour"
            assert spans.index(passage) == spans.index(pair.query) + 1
    assert 0.04 < kept / cloze < 0.18
    assert 0.15 < neighbours / 200 < 0.35


def test_texts_that_stand_twice_are_taken_once() -> None:
    assert len(made(BODY, BODY.upper(), BODY + "!").passages) == 1
    assert made("", "  ").pairs == ()
    assert made("Too short to ask anything.").pairs == ()
    assert len(made("Too short to ask anything.").passages) == 1


def test_sentences_end_where_they_end() -> None:
    text = 'He said "no." Then, at 3.5 m, it rose! 海は上がる。月が引く。\n\nA new paragraph'
    spans = [text[slice(*span)].strip() for span in sentences(text)]
    assert spans == [
        'He said "no.',
        "Then, at 3.5 m, it rose!",
        "海は上がる。",
        "月が引く。",
        "A new paragraph",
    ]


def test_shares_are_even_and_their_own() -> None:
    shares = [share_of(str(i), "part") for i in range(2000)]
    assert all(0 <= share < 1 for share in shares)
    assert 0.47 < sum(shares) / 2000 < 0.53
    assert share_of("a", "part") == share_of("a", "part") != share_of("a", "kind")


def documents(count: int) -> Iterator[Document]:
    for i in range(count):
        yield Document(f"d{i}", f"Title number {i}\nAt {i} o'clock {BODY} Then it is {i} again.")


def test_what_is_held_out_is_in_no_other_set() -> None:
    settings = AdaptingSettings(held_out=0.2, dev=0.1, measured_pairs=40, pairs=120)
    sets = make_sets(documents(300), whole, settings, "tides")
    owners = {
        part: {example.positives[0].split("#")[0] for example in one.examples}
        for part, one in sets.items()
    }
    assert not owners["train"] & (owners["dev"] | owners["test"])
    assert not owners["dev"] & owners["test"]
    assert {part: len(one.examples) for part, one in sets.items()} == {
        "train": 120,
        "dev": 40,
        "test": 40,
    }
    # Kinds in equal parts; nothing held out is a negative either.
    assert set(count_kinds(sets["train"]).values()) == {40}
    held = {id.split("#")[0] for id in sets["test"].documents} - owners["train"]
    assert owners["test"] <= held
    assert not {id.split("#")[0] for id in sets["train"].documents} & owners["test"]
    for example in sets["test"].examples:
        if example.query_id.startswith("cloze"):
            query = sets["test"].queries[example.query_id]
            assert query not in sets["test"].documents[example.positives[0]]
    again = make_sets(documents(300), whole, settings, "tides")
    assert all(again[part].examples == one.examples for part, one in sets.items())


def test_of_many_documents_some_are_drawn_whatever_their_order() -> None:
    settings = AdaptingSettings(documents=200, held_out=0.3, dev=0.2)
    sets = make_sets(documents(500), whole, settings, "tides")
    owners = {id.split("#")[0] for id in sets["test"].documents}
    assert len(owners) == 200
    back = make_sets(reversed(list(documents(500))), whole, settings, "tides")
    assert {id.split("#")[0] for id in back["test"].documents} == owners


def test_too_few_texts_are_said_to_be_too_few() -> None:
    with pytest.raises(InputError, match="at least 20"):
        make_sets(documents(30), whole, AdaptingSettings(), "tides")


@pytest.mark.parametrize(
    "options", [{"pairs": 0}, {"held_out": 0.0}, {"held_out": 0.6, "dev": 0.4}]
)
def test_settings_are_checked(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        AdaptingSettings(**options)  # type: ignore[arg-type]


def test_stored_texts_are_those_of_now(tmp_path: Path) -> None:
    with gingham.open(tmp_path / "c.gingham", threads=1) as opened:
        opened.add(["the tide", "the sea", "the moon"], ids=["a", "b", "c"])
        opened.add(["the moon again"], ids=["c"])
        opened.delete("a")
    found = {document.id: document.text for document in stored_documents(tmp_path / "c.gingham")}
    assert found == {"b": "the sea", "c": "the moon again"}
