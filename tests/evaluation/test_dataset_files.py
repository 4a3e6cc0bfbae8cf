"""Files of judgements and queries: every format, and the one line each error is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gingham.errors import SourceError
from gingham.evaluation.qrels_files import judgements, read_qrels
from gingham.evaluation.query_files import line_of_query, queries, read_queries

IDS = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=8)
GRADES = st.dictionaries(
    IDS,
    st.dictionaries(IDS, st.integers(-1_000_000, 1_000_000), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh working directory, so that errors name files as a user would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, content: str | bytes) -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def message(read: Callable[[], object]) -> str:
    with pytest.raises(SourceError) as error:
        read()
    text = str(error.value)
    assert "\n" not in text
    return text


# Judgements


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n2\ta\t-1\n",
        "Query-ID\tCorpus-ID\tScore\r\n1\ta\t2\r\n\r\n1\tb\t0\r\n2\ta\t-1",
        "1\ta\t2\n1\tb\t0\n2\ta\t-1\n",
        "\ufeff1\ta\t2\n1\tb\t0\n2\ta\t-1\n",
        "1 0 a 2\n1 Q0  b 0\n2\t0\ta\t-1\n",
        "\n1\t0\ta\t2\n1\t0\tb\t+0\n2\t0\ta\t-1\n",
    ],
    ids=["beir", "beir, crlf", "three columns", "byte order mark", "trec", "ms marco"],
)
def test_formats_of_judgements(here: Path, content: str) -> None:
    assert read_qrels(write("q.tsv", content)) == {"1": {"a": 2, "b": 0}, "2": {"a": -1}}


def test_the_order_of_the_file_is_kept_and_ids_may_hold_spaces(here: Path) -> None:
    qrels = read_qrels(write("q.tsv", "z\tdoc 2\t1\na\tx\t1\nz\tdoc 1\t1\n"))
    assert list(qrels) == ["z", "a"]
    assert list(qrels["z"]) == ["doc 2", "doc 1"]


@given(GRADES, st.sampled_from(["beir", "three", "trec"]))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, qrels: dict[str, dict[str, int]], kind: str
) -> None:
    separator = "\t0\t" if kind == "trec" else "\t"
    rows = [
        f"{query}{separator}{document}\t{grade}\n"
        for query, grades in qrels.items()
        for document, grade in grades.items()
    ]
    header = ["query-id\tcorpus-id\tscore\n"] if kind == "beir" else []
    path = tmp_path_factory.getbasetemp() / "round_trip.tsv"
    path.write_text("".join(header + rows), encoding="utf-8")
    assert read_qrels(path) == qrels
    assert [judgement.line for judgement in judgements(path)] == [
        number + len(header) for number in range(1, len(rows) + 1)
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1 a\n", "q.tsv, line 1: 2 columns; judgements are the header query-id, corpus-id, score"),
        ("1 a 1\n", "q.tsv, line 1: 3 columns; judgements are"),
        ("1 0 a 1 x\n", "q.tsv, line 1: 5 columns; judgements are"),
        ("1 0 a 1\n\n2 0 a\n", "q.tsv, line 3: 3 columns; as in the first line, expected 4: query"),
        (
            "query-id\tcorpus-id\tscore\n1\ta\n",
            "q.tsv, line 2: 2 columns; as in the first line, expected 3: query, document, relevanc",
        ),
        ("1\ta\t1\n1\tb\t1\t\n", "q.tsv, line 2: 4 columns; as in the first line, expected 3"),
        ("1 0 a 1.0\n", "q.tsv, line 1: the relevance '1.0' is no whole number; write 0 for not r"),
        ("1 0 a 1000001\n", "q.tsv, line 1: the relevance '1000001' is beyond 1,000,000, which"),
        ("1\ta\tyes\n", "q.tsv, line 1: the relevance 'yes' is no whole number"),
        ("1\ta\t\n", "q.tsv, line 1: the relevance '' is no whole number"),
        ("1\ta\t٣\n", "q.tsv, line 1: the relevance '٣' is no whole number"),
        (f"1\ta\t{'9' * 5000}\n", "q.tsv, line 1: the relevance '999"),
        ("1\ta\t1\n\ta\t1\n", "q.tsv, line 2: the query id is empty; every judgement names both"),
        ("1\ta\t1\n2\t \t1\n", "q.tsv, line 2: the document id is empty"),
        (
            "query-id\tcorpus-id\tscore\n1\ta\t1\n1\tb\t1\n1\ta\t1\n",
            "q.tsv, line 4: document 'a' was already judged for query '1' in line 2; a document is"
            " judged once for a query: remove one of the two lines",
        ),
        ("", "q.tsv: there is no judgement in it; expected the header query-id, corpus-id, score"),
        ("query-id\tcorpus-id\tscore\n", "q.tsv: there is no judgement in it"),
        (
            b"1\ta\t1\n1\t\xe9\t1\n",
            "q.tsv, line 2: not UTF-8 (byte 0xe9 at position 8); save the file as UTF-8",
        ),
    ],
)
def test_errors_in_judgements(here: Path, content: str | bytes, expected: str) -> None:
    path = write("q.tsv", content)
    found = message(lambda: read_qrels(path))
    assert found.startswith(expected)
    assert len(found) < 400


def test_files_that_cannot_be_opened(here: Path) -> None:
    assert message(lambda: read_qrels(Path("no.tsv"))) == "no.tsv: no such file or directory"
    assert message(lambda: read_queries(Path("no.tsv"))) == "no.tsv: no such file or directory"
    (here / "folder").mkdir()
    assert message(lambda: read_qrels(Path("folder"))).startswith("folder: ")


# Queries

TEXTS = {"1": "first words", "b": "more words"}


@pytest.mark.parametrize("id_field", ["_id", "id", "query_id", "qid"])
@pytest.mark.parametrize("text_field", ["text", "query", "question"])
def test_json_lines(here: Path, id_field: str, text_field: str) -> None:
    records = [
        {id_field: 1, text_field: " first words "},
        {id_field: "b", text_field: "more words"},
    ]
    path = write("q.jsonl", "\n\n".join(json.dumps(record) for record in records))
    assert read_queries(path) == TEXTS
    assert [query.line for query in queries(path)] == [1, 3]


@pytest.mark.parametrize(
    "content", ["1\tfirst words\nb\tmore words\n", "qid\tquery\n1\tfirst words\r\nb\t more words"]
)
def test_tab_separated(here: Path, content: str) -> None:
    assert read_queries(write("q.tsv", content)) == TEXTS


def test_a_field_of_json_lines(here: Path) -> None:
    path = write("q.jsonl", '{"id": 1, "title": "t", "narrative": "n"}\n')
    assert read_queries(path) == {"1": "t"}
    assert read_queries(path, "narrative") == {"1": "n"}


def test_half_characters_do_not_get_through(here: Path) -> None:
    path = write("q.jsonl", '{"id": "1", "text": "a \\ud800 \\ud83d\\ude00"}\n')
    assert read_queries(path) == {"1": "a \ufffd \U0001f600"}


SGML = """
<!-- <top> a comment -->
<top>
<head> Tipster Topic Description
<num> Number: 301
<title> Topic: International
 Organized Crime &amp; R&D, x < y

<desc> Description:
Identify organizations.

<narr> Narrative:
A relevant document must.
</top>

<TOP><NUM>Number: 302</NUM><TITLE>Poliomyelitis</TITLE><DESC>Is it <= over?</DESC></TOP>
<top>
<num> 303
<title> Hubble
<desc> d
"""


def test_topics_in_sgml(here: Path) -> None:
    path = write("topics.301-350", SGML)
    assert read_queries(path) == {
        "301": "International Organized Crime & R&D, x < y",
        "302": "Poliomyelitis",
        "303": "Hubble",
    }
    assert read_queries(path, "description")["301"] == "Identify organizations."
    assert read_queries(path, "desc")["302"] == "Is it <= over?"
    assert [query.line for query in queries(path)] == [3, 16, 17]
    assert line_of_query(path, "303") == 17
    assert message(lambda: read_queries(path, "narr")) == (
        "topics.301-350, line 16: topic '302' has no field 'narr'; it has 'title', 'desc': choose "
        "one of them with --topic-field (topic_field=)"
    )


XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<topics task="COVIDSearch">
  <topic number="1">
    <query>origin &lt;b&gt;</query>
    <question>what is
      the <i>origin</i>?</question>
    <narrative>n</narrative>
  </topic>
  <topic number="2"><query>weather é</query><question>q2</question><text>t</text></topic>
</topics>
"""


def test_topics_in_xml(here: Path) -> None:
    path = write("topics.xml", XML)
    assert read_queries(path) == {"1": "origin <b>", "2": "weather é"}
    assert read_queries(path, "question") == {"1": "what is the origin?", "2": "q2"}
    assert [query.line for query in queries(path)] == [3, 9]
    assert message(lambda: read_queries(path, "narr")) == (
        "topics.xml, line 9: topic '2' has no field 'narr'; it has 'query', 'question', 'text': "
        "choose one of them with --topic-field (topic_field=)"
    )


@pytest.mark.parametrize(
    "content",
    [
        "<topics><topic><num> Number: 7 </num><title>words</title></topic></topics>",
        '<topics><topic number="7">\n words \n</topic></topics>',
        '<x><y><Topic NUMBER="7"><Title>words</Title><title>other</title></Topic></y></x>',
        "<xml><top><num>Number: 7</num><title>words</title></top></xml>",
        '<queries><query id="7">words</query></queries>',
    ],
)
def test_other_shapes_of_xml(here: Path, content: str) -> None:
    assert read_queries(write("topics.xml", content)) == {"7": "words"}


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("q.tsv", "1 words\n", "q.tsv, line 1: 1 column; expected 2, separated by a tab: query id"),
        ("q.tsv", "1\ta\n2\tb\tc\n", "q.tsv, line 2: 3 columns; expected 2"),
        ("q.tsv", "1\ta\n\tb\n", "q.tsv, line 2: the query id is empty; every query needs one"),
        (
            "q.tsv",
            "1\ta\n2\tb\n1\tc\n",
            "q.tsv, line 3: the query id '1' was already in line 1; query ids must differ: rename",
        ),
        ("q.tsv", b"1\ta\n2\t\xff\n", "q.tsv, line 2: not UTF-8 (byte 0xff at position 6); save"),
        ("q.tsv", "", "q.tsv: there is no query in it; expected JSON lines, lines of an id, a tab"),
        (
            "q.jsonl",
            '{"_id": "1", "text": "a"}\n{"_id": 1, "text": "b"}\n',
            "q.jsonl, line 2: the query id '1' was already in line 1",
        ),
        ("q.jsonl", '{"_id": "1"', "q.jsonl, line 1: not JSON (expecting ',' delimiter at column "),
        ("q.jsonl", "words\n", "q.jsonl, line 1: not JSON (expecting value at column 1); each"),
        ("q.jsonl", '{"_id": NaN}', "q.jsonl, line 1: not JSON (NaN is no JSON value); each line"),
        ("q.jsonl", "[" * 100_000, "q.jsonl, line 1: not JSON ("),
        ("q.jsonl", '["a"]', "q.jsonl, line 1: got a list; each line must be one JSON object"),
        ("q.jsonl", '{"text": "a"}', "q.jsonl, line 1: no query id: expected _id | id | query_id"),
        ("q.jsonl", '{"_id": " ", "text": "a"}', "q.jsonl, line 1: the query id in field '_id' "),
        ("q.jsonl", '{"_id": 1.5, "text": "a"}', "q.jsonl, line 1: the query id in field '_id' "),
        ("q.jsonl", '{"id": true, "text": "a"}', "q.jsonl, line 1: the query id in field 'id' "),
        (
            "q.jsonl",
            '{"_id": 1, "text": ["a"]}',
            "q.jsonl, line 1: the query text in field 'text' must be a string, got a list",
        ),
        (
            "q.jsonl",
            '{"_id": 1, "text": "a"}\n\n{"_id": 2, "text": 7}',
            "q.jsonl, line 3: the query text in field 'text' must be a string, got a number",
        ),
        (
            "q.jsonl",
            '{"_id": 1, "body": "a"}',
            "q.jsonl, line 1: no query text: expected text | query | question | title, found '_id'",
        ),
        ("t.xml", "<topics>\n<topic>\n", "t.xml, line 2: not XML (no element found); topics are"),
        ("t.xml", "<topics><topic><title>x</title></topic></topics>", "t.xml, line 1: a topic"),
        ("t.xml", "<topics></topics>", "t.xml: there is no query in it"),
        ("t.xml", f"\n{BOMB}<x>&b;</x>", "t.xml, line 2: a DOCTYPE, which could declare entities"),
        ("t.txt", "\n<top>\n<title> x\n</top>", "t.txt, line 2: a topic without a number; each"),
        (
            "t.txt",
            "<top><num>1<title>a</top>\n<top><num>1<title>b</top>",
            "t.txt, line 2: the query id '1' was already in line 1",
        ),
    ],
)
def test_errors_in_queries(here: Path, name: str, content: str | bytes, expected: str) -> None:
    path = write(name, content)
    assert message(lambda: read_queries(path)).startswith(expected)


def test_a_field_that_a_format_does_not_have(here: Path) -> None:
    assert message(lambda: read_queries(write("q.tsv", "1\ta\n"), "desc")).startswith(
        "q.tsv, line 1: a tab-separated file has one text a query and no field 'desc'; leave"
    )
    assert message(lambda: read_queries(write("q.jsonl", '{"id": 1, "text": "a"}'), "desc")) == (
        "q.jsonl, line 1: no query text: expected desc, found 'id', 'text'"
    )


@given(st.text(max_size=200))
def test_whatever_a_file_holds_the_error_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    for start in ("", "<", "{", "<top><num>", "<topics><topic "):
        path.write_bytes((start + content).encode("utf-8", "surrogatepass"))
        for read in (read_qrels, read_queries):
            try:
                read(path)
            except SourceError as error:
                lines = str(error).splitlines()
            else:
                lines = [""]
            assert len(lines) == 1
