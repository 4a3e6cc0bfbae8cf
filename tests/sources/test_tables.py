"""JSON lines, TSV and CSV: what becomes of each field, and the one line each error is."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gingham.document import Document
from gingham.errors import SourceError
from gingham.sources import SourceOptions, tables

DEFAULT = SourceOptions()
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1)


def read(kind: str, text: str, options: SourceOptions = DEFAULT) -> list[Document]:
    reader = {
        "jsonl": tables.json_lines,
        "tsv": tables.tab_separated,
        "csv": tables.comma_separated,
    }[kind]
    return [document for _, document in reader(io.StringIO(text, newline="\n"), "f", options)]


def test_beir_record() -> None:
    line = '{"_id": "4983", "title": "A title", "text": "A text.", "metadata": {"year": 1999}}\n'
    assert read("jsonl", line) == [Document("4983", "A title\nA text.", {"year": 1999})]


@pytest.mark.parametrize("id_field", ["_id", "id", "doc_id", "docid", "pid", "ID"])
@pytest.mark.parametrize("text_field", ["text", "contents", "body", "passage", "content", "Text"])
def test_usual_names(id_field: str, text_field: str) -> None:
    line = json.dumps({id_field: 7, text_field: "words", "lang": "en"})
    assert read("jsonl", line) == [Document("7", "words", {"lang": "en"})]


def test_named_fields_win_and_the_usual_ones_become_metadata() -> None:
    line = '{"id": "a", "key": "k", "text": "t", "answer": "words"}'
    options = SourceOptions(text_field="answer", id_field="key")
    assert read("jsonl", line, options) == [Document("k", "words", {"id": "a", "text": "t"})]


def test_record_without_id_is_named_after_its_line() -> None:
    assert [d.id for d in read("jsonl", '{"text": "a"}\n\n{"text": "b"}\n')] == ["f#1", "f#3"]


def test_record_without_text_is_given_out_empty() -> None:
    lines = '{"id": 1, "text": ""}\n{"id": 2, "text": null}\n{"id": 3, "title": "T", "text": " "}'
    assert [d.text for d in read("jsonl", lines)] == ["", "", "T"]


def test_half_characters_are_replaced_and_whole_ones_kept() -> None:
    lines = (
        '{"id": 1, "text": "a \\ud83d b", "x": ["\\udc00"]}\n{"id": 2, "text": "\\ud83d\\ude00"}'
    )
    first, second = read("jsonl", lines)
    assert first.text == "a \ufffd b"
    assert first.metadata == {"x": ["\ufffd"]}
    assert second.text == "\U0001f600"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "f, line 2: not JSON ("),
        ("[1]", "f, line 2: each line must be a JSON object, got a list"),
        ("7", "f, line 2: each line must be a JSON object, got a number"),
        ('{"text": NaN}', "f, line 2: not JSON (NaN is no JSON value)"),
        ("[" * 100_000, "f, line 2: "),
        ('{"text": 1}', "f, line 2: field 'text' must be a string, got a number"),
        ('{"text": "a", "title": []}', "f, line 2: field 'title' must be a string, got a list"),
        ('{"text": "a", "id": {}}', "f, line 2: the id in field 'id' must be"),
        ('{"text": "a", "id": ""}', "f, line 2: the id in field 'id' must be"),
        ('{"text": "a", "id": true}', "f, line 2: the id in field 'id' must be"),
        ('{"words": "a"}', "f, line 2: no text field: expected text | contents | body"),
        ("{}", "found no field at all"),
    ],
)
def test_bad_json_line(line: str, message: str) -> None:
    with pytest.raises(SourceError) as error:
        read("jsonl", '{"text": "good"}\n' + line)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_named_fields() -> None:
    with pytest.raises(SourceError, match="no text field: expected 'answer', found 'text'"):
        read("jsonl", '{"text": "a"}', SourceOptions(text_field="answer"))
    with pytest.raises(SourceError, match="no field 'key'; it has 'text'"):
        read("jsonl", '{"text": "a"}', SourceOptions(id_field="key"))


def test_ms_marco_has_no_header_and_no_quotes() -> None:
    text = '0\tThe "Manhattan Project\n1\ta\tb\n'
    assert read("tsv", text) == [
        Document("0", 'The "Manhattan Project', {}),
        Document("1", "a\tb", {}),
    ]


def test_tsv_with_header() -> None:
    text = "id\ttitle\ttext\tlang\r\nx\tT\twords\ten\r\n"
    assert read("tsv", text) == [Document("x", "T\nwords", {"lang": "en"})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\tc\n", "f, line 1: 3 columns and no header; expected a header with a column named"),
        ("words\n", "f, line 1: 1 column and no header"),
        ("id\tsentence\n", "f, line 1: no text field"),
        ("id\ttext\nx\n", "f, line 2: 1 column, but the header has 2"),
        ("id\ttext\nx\ty\tz\n", "f, line 2: 3 columns, but the header has 2"),
        ("id\ttext\ttext\n", "f, line 1: the header names column 'text' twice"),
        ("0\ta\nwords\n", "f, line 2: expected an id, a tab and the text"),
    ],
)
def test_bad_tsv(text: str, message: str) -> None:
    with pytest.raises(SourceError) as error:
        read("tsv", text)
    assert str(error.value).startswith(message)


def test_csv_with_quotes_and_line_breaks() -> None:
    text = 'id, text,lang\na,"one, ""two""\nthree",en\n\nb,four,de\n'
    assert read("csv", text) == [
        Document("a", 'one, "two"\nthree', {"lang": "en"}),
        Document("b", "four", {"lang": "de"}),
    ]


def test_csv_of_a_european_spreadsheet() -> None:
    assert read("csv", "id;text\na;one, two\n") == [Document("a", "one, two", {})]


def test_csv_field_may_be_long() -> None:
    assert len(read("csv", f'text\n"{"x" * 1_000_000}"\n')[0].text or "") == 1_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "f, line 1: no text field: expected text | contents"),
        ('id,text\na,"open\n', "f, line 2: not CSV ("),
        ('id,text\na,"x\ny"\nb,"z"z\n', "f, line 4: not CSV ("),
        ("id,text\na,b,c\n", "f, line 2: 3 columns, but the header has 2"),
    ],
)
def test_bad_csv(text: str, message: str) -> None:
    with pytest.raises(SourceError) as error:
        read("csv", text)
    assert str(error.value).startswith(message)


@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans() | st.none(), max_size=4), TEXTS)
def test_json_lines_give_back_what_was_written(fields: dict[str, Any], text: str) -> None:
    used = {"metadata", "title", *tables.ID_FIELDS, *tables.TEXT_FIELDS}
    fields = {key: value for key, value in fields.items() if key.lower() not in used}
    line = json.dumps({"id": "i", "text": text, **fields}) + "\n"
    assert read("jsonl", line) == [Document("i", text.strip(), fields)]


@given(st.lists(TEXTS, min_size=1))
def test_csv_gives_back_what_was_written(texts: list[str]) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "text"])
    writer.writerows([i, text] for i, text in enumerate(texts))
    assert [d.text for d in read("csv", out.getvalue())] == [text.strip() for text in texts]
