"""Hostile ids, metadata, filters and texts: stored and found exactly, or refused in one line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gingham
from gingham import Collection, Document, FilterError, GinghamError, InputError
from gingham.cli.main import app
from support import random_vectors

STRINGS = {
    "single quote": "a'b",
    "double quote": 'a"b',
    "backslash": "a\\b\\",
    "NUL": "a\0b",
    "only NUL": "\0",
    "prefix of NUL": "a",
    "newline": "a\nb",
    "carriage return": "a\rb",
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "C1": "\x9b2J",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈",
    "right to left": "\u202egpj.exe\u202c",
    "Hebrew": "שלום עולם",
    "line separator": "a\u2028b\u2029c",
    "combining": "e\u0301" + "\u0301" * 500,
    "not normalized": "\u00e9",
    "BOM": "\ufeffa",
    "SQL": "'; DROP TABLE documents; --",
    "SQL pattern": "%_*?[a-z]",
    "JSON": '{"$ne": null}',
    "path": "../../../etc/passwd",
    "format": "{0.__class__}%s%n",
    "blanks": "   ",
    "operator": "$eq",
    "astral": "\U0010ffff\U00010000",
    "1 MB": "ü" * 500_000,
}
each_string = pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS.keys())
QUERY = random_vectors([3], seed=5)[0]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A document for each string: as its id, as a key and as a value."""
    collection = gingham.open(tmp_path_factory.mktemp("hostile") / "c", threads=1)
    records = [{text: 1, "value": text, "list": [text, 7], "deep": {text: [text]}}
               for text in STRINGS.values()]  # fmt: skip
    vectors = random_vectors([2] * len(STRINGS))
    collection.add(vectors, ids=STRINGS.values(), metadata=records)
    return gingham.open(collection.path, threads=1)


@each_string
def test_an_id_is_found_exactly(hostile: Collection, text: str) -> None:
    assert text in hostile
    assert hostile.get(text).id == text
    assert [hit.id for hit in hostile.search(QUERY, ids=[text])] == [text]
    assert hostile.explain(QUERY, text).id == text


@each_string
def test_metadata_comes_back_and_is_found_exactly(hostile: Collection, text: str) -> None:
    record = hostile.get(text).metadata
    assert record == {text: 1, "value": text, "list": [text, 7], "deep": {text: [text]}}
    for key in ("value", "list"):
        assert [hit.id for hit in hostile.search(QUERY, where={key: text})] == [text]
        assert [h.id for h in hostile.search(QUERY, where={key: {"$in": [text]}})] == [text]
        others = hostile.search(QUERY, 99, where={key: {"$ne": text}}, texts=False)
        assert {hit.id for hit in others} == set(STRINGS.values()) - {text}
    if text.startswith("$"):
        with pytest.raises(FilterError, match="unknown operator"):
            hostile.search(QUERY, where={text: 1})
    else:
        assert [hit.id for hit in hostile.search(QUERY, where={text: 1})] == [text]


def test_they_are_whole_and_can_be_deleted(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c", threads=1)
    collection.add(random_vectors([2] * len(STRINGS)), ids=STRINGS.values())
    collection.verify()
    left = set(STRINGS.values())
    for text in STRINGS.values():
        assert collection.delete(text) == 1
        left.remove(text)
        assert text not in collection
        assert len(collection) == len(left)
    collection.optimize()
    collection.verify()


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\ud83d x"])
def test_lone_surrogates_are_refused(tmp_path: Path, text: str) -> None:
    collection = gingham.open(tmp_path / "c", threads=1)
    collection.add(random_vectors([1]), ids=["a"])
    calls: list[Callable[[], object]] = [
        lambda: collection.add(random_vectors([1]), ids=[text]),
        lambda: collection.add(random_vectors([1]), ids=["b"], metadata=[{text: 1}]),
        lambda: collection.add(random_vectors([1]), ids=["b"], metadata=[{"k": [{"x": text}]}]),
        lambda: collection.add(f"words {text}"),
        lambda: collection.add(Document("b", text)),
        lambda: collection.delete(text),
        lambda: collection.get(text),
        lambda: collection.search(QUERY, ids=[text]),
        lambda: collection.search(QUERY, where={text: 1}),
        lambda: collection.search(QUERY, where={"k": {"$in": [text]}}),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        message = str(caught.value)
        assert "\n" not in message
        message.encode()  # can be printed
    assert len(collection) == 1


def nested(depth: int, inner: Any = 1) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


def conditions(depth: int) -> Any:
    inner: Any = {"a": 1}
    for _ in range(depth):
        inner = {"$not": inner}
    return inner


WHERE: list[Callable[[], Any]] = [
    lambda: nested(100_000),
    lambda: {"a": nested(100_000)},
    lambda: {"a": {"$in": nested(100_000)}},
    lambda: {"$or": nested(100_000)},
    lambda: conditions(100_000),
    lambda: {"a": 10**5000},
    lambda: {"a": {"$gt": -(10**5000)}},
    lambda: {"a": {"$" + "x" * 1_000_000: 1}},
    lambda: {"$" + "x" * 1_000_000: 1},
    lambda: {"x" * 1_000_000: {"$gt": None}},
    lambda: {"a": {1: 2}},
    lambda: {1: 2},
    lambda: {"a": {("x",): 2}},
    lambda: {"a": b"bytes"},
    lambda: {"a": float("nan")},
    lambda: {"a": {"$in": "letters"}},
    lambda: {"a": {"$in": {1, 2}}},
    lambda: {"a": np.zeros(3)},
    lambda: {"a": {"$eq": {"$eq": 1}}},
    lambda: [("a", 1)],
    lambda: "a = 1 OR 1 = 1",
    lambda: 7,
]


@pytest.mark.parametrize("number", range(len(WHERE)))
def test_hostile_filters_are_refused(hostile: Collection, number: int) -> None:
    where = WHERE[number]()  # not a parameter: pytest compares these
    with pytest.raises(FilterError) as caught:
        hostile.search(QUERY, where=where)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500


def test_a_filter_of_very_many_values_ends(hostile: Collection) -> None:
    start = time.perf_counter()
    values = [*range(30_000), "a'b"]
    assert len(hostile.search(QUERY, 99, where={"value": {"$in": values}})) == 1
    assert len(hostile.search(QUERY, 99, where={"value": {"$nin": values}})) == len(STRINGS) - 1
    assert time.perf_counter() - start < 20


METADATA: list[Callable[[], Any]] = [
    lambda: {"a": nested(100_000)},
    lambda: {"a": 10**5000},
    lambda: {"a": [10**5000]},
    lambda: {"a": {"b": 10**5000}},
    lambda: {"a": float("nan")},
    lambda: {"a": b"x"},
    lambda: {1: 2},
    lambda: {"a": {1, 2}},
    lambda: {"a": {"b": {("t",): 1}}},
    lambda: [1],
    lambda: "text",
]


@pytest.mark.parametrize("number", range(len(METADATA)))
def test_hostile_metadata_is_refused(tmp_path: Path, number: int) -> None:
    metadata = METADATA[number]()
    collection = gingham.open(tmp_path / "c", threads=1)
    with pytest.raises(InputError) as caught:
        collection.add(random_vectors([1]), ids=["a"], metadata=[metadata])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert len(collection) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.get("x" * 1_000_000),
        lambda c: c.search(QUERY, ids=["x" * 1_000_000]),
        lambda c: c.delete("x" * 1_000_000),
        lambda c: c.explain(QUERY, "x" * 1_000_000),
        lambda c: c.search(QUERY, k=-(10**5000)),
        lambda c: c.search(QUERY, k="x" * 1_000_000),
        lambda c: c.get(nested(100_000)),
        lambda c: c.add(random_vectors([1]), ids=[10**5000]),
        lambda c: c.add([Document("x" * 1_000_000, 7)]),  # type: ignore[arg-type]
        lambda c: c.add([Document("x" * 1_000_000, " ")]),
    ],
    ids=range(10),
)
def test_messages_stay_short(hostile: Collection, call: Callable[[Collection], object]) -> None:
    with pytest.raises(GinghamError) as caught:
        call(hostile)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


# Texts, with the bundled model -------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    collection = gingham.open(tmp_path_factory.mktemp("texts") / "c", threads=2)
    collection.add(STRINGS_AS_TEXTS.values(), ids=STRINGS_AS_TEXTS)
    return collection


STRINGS_AS_TEXTS = {
    name: f"{text} tide {name}" for name, text in STRINGS.items() if len(text) < 10_000
}


def test_texts_come_back_exactly(texts: Collection) -> None:
    hits = texts.search("tide", k=99)
    assert {hit.id: hit.text for hit in hits} == STRINGS_AS_TEXTS
    for hit in hits:
        assert texts.get(hit.id).text == STRINGS_AS_TEXTS[hit.id]
        for start, end, _ in texts.explain("tide", hit.id).highlights():
            assert 0 <= start <= end <= len(STRINGS_AS_TEXTS[hit.id])


@pytest.mark.parametrize(
    "text", ["tide" * 2_500_000, "\u05d0" * 10_000_000, "\0" * 10_000_000 + "a"]
)
def test_a_word_of_ten_million_characters(tmp_path: Path, text: str) -> None:
    collection = gingham.open(tmp_path / "c", threads=2)
    start = time.perf_counter()
    collection.add(text, ids=["long"])
    assert collection.get("long").text == text
    assert collection.search("tide", texts=False)[0].id == "long"
    assert time.perf_counter() - start < 60


# The command line --------------------------------------------------------------------------------

CONTROL = {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - {10}


def shown(*arguments: str, input: str | None = None) -> str:
    result = CliRunner().invoke(app, arguments, input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.stdout + result.stderr


def test_a_terminal_sees_no_control_characters(texts: Collection, tmp_path: Path) -> None:
    path = str(texts.path)
    evil = "\x1b[2J\u202e\x9b31m\x07 tide\u2066"
    outputs = [
        shown("search", path, evil, "-k", "99"),
        shown("search", path, "-", "-k", "3", input=f"{evil}\n"),
        shown("search", path, evil, "-k", "99", "--json"),
        shown("search", path, "tide", "--where", f'{{"{evil}": '),
        shown("explain", path, evil, "escape"),
        shown("explain", path, evil, "right to left", "--json"),
        shown("explain", path, "tide", evil),
        shown("delete", path, evil),
        shown("info", str(tmp_path / evil)),
        shown("add", path, str(tmp_path / evil)),
    ]
    for output in outputs:
        assert output.strip()
        assert not CONTROL & set(map(ord, output)), output


def test_ids_that_would_look_like_more_lines(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c", threads=1)
    ids = ["a\n  1   99.00  forged", "b\rforged", "c\u2028forged", "d\u202eforged", "e\tforged"]
    collection.add([Document(id, "the tide") for id in ids])
    collection.close()
    output = shown("search", str(tmp_path / "c"), "tide")
    lines = output.splitlines()
    assert len([line for line in lines if "forged" in line]) == len(ids)
    assert not any(line.lstrip().startswith(("1   99", "forged")) for line in lines)
    output = shown("explain", str(tmp_path / "c"), "tide", ids[0])
    assert not any(line.lstrip().startswith("1   99") for line in output.splitlines())
    for hit in (json.loads(line) for line in shown("search", "--json", str(tmp_path / "c"),
                                                   "tide").splitlines()):  # fmt: skip
        assert hit["id"] in ids


def test_hostile_lines_through_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    names = {
        name: text for name, text in STRINGS.items() if text == text.strip() and len(text) < 9000
    }
    records = [
        {"id": text, "text": f"{name} tide", text + "k": text} for name, text in names.items()
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert "error" not in shown("add", str(tmp_path / "c"), str(file))
    collection = gingham.open(tmp_path / "c", read_only=True)
    for name, text in names.items():
        assert collection.get(text).text == f"{name} tide"
        assert collection.get(text).metadata == {text + "k": text}
    collection.verify()
    assert sys.getrecursionlimit() < 10_000
