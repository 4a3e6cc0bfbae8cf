"""The conductor: several sources as one stream, what is counted, and what is refused."""

from __future__ import annotations

import importlib.util
import io
import json
import tracemalloc
from pathlib import Path

import pytest

from gingham.errors import MissingDependencyError, SourceError
from gingham.sources import SourceOptions, Sources
from gingham.sources import seen_ids as seen_ids_module
from gingham.sources.seen_ids import SeenIds

from .conftest import Write


def ids(*sources: str, options: SourceOptions | None = None) -> list[str]:
    return [document.id for document in Sources(sources, options)]


def test_beir_folder_and_files_in_one_call(write: Write) -> None:
    write("scifact/corpus.jsonl", '{"_id": "1", "text": "a"}\n{"_id": "2", "text": ""}\n')
    write("scifact/queries.jsonl", '{"_id": "1", "text": "q"}\n')
    write("more/collection.tsv", "7\tseven\n")
    write("a.txt", "x")
    sources = Sources(["scifact", "more", "a.txt"])
    assert [d.id for d in sources] == ["1", "7", "a.txt"]
    report = sources.report
    assert (report.files, report.documents, report.empty) == (3, 3, 1)
    assert report.bytes_read == report.bytes_total == 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}', [("a", "x"), ("b", "y")]),
        ("a\tx\nb\ty\n", [("a", "x"), ("b", "y")]),
        ("one\ntwo\n", [("stdin", "one\ntwo")]),
    ],
)
def test_standard_input_is_known_by_its_first_line(
    text: str, expected: list[tuple[str, str]]
) -> None:
    sources = Sources(["-"], stdin=io.BytesIO(text.encode()))
    assert [(d.id, d.text) for d in sources] == expected
    assert sources.report.bytes_total is None


def test_an_id_that_comes_twice_names_both_lines(write: Write) -> None:
    write("a.jsonl", '{"id": 1, "text": "a"}\n\n{"id": 2, "text": "b"}\n{"id": "1", "text": "c"}\n')
    with pytest.raises(SourceError) as error:
        ids("a.jsonl")
    assert str(error.value) == (
        "a.jsonl, line 4: the id '1' was already in a.jsonl, line 1; "
        "ids that are added together must differ"
    )


def test_an_id_that_comes_twice_in_two_files_names_both(write: Write) -> None:
    write("a.tsv", "id\ttext\nx\tone\n")
    write("b.csv", "id,text\nx,two\n")
    with pytest.raises(SourceError, match=r"b\.csv, line 2: the id 'x' was already in a\.tsv, l"):
        ids("a.tsv", "b.csv")


def test_an_id_that_comes_twice_on_standard_input(write: Write) -> None:
    sources = Sources(["-"], stdin=io.BytesIO(b"a\tx\na\ty\n"))
    with pytest.raises(SourceError, match="stdin, line 2: the id 'a' was already seen earlier"):
        list(sources)


def test_seen_ids_over_many_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_ids_module, "_RECENT", 64)
    seen = SeenIds()
    assert all(seen.add(str(i)) for i in range(1000))
    assert not any(seen.add(str(i)) for i in range(1000))
    assert seen.add("new")
    assert all(id in seen for id in ["0", "500", "999", "new"])
    assert "other" not in seen
    assert 7 not in seen
    assert "x" not in SeenIds()


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.jsonl", "a.tsv", "a.csv", "a.html"])
@pytest.mark.parametrize("content", ["", " \n\n"])
def test_empty_file(write: Write, name: str, content: str) -> None:
    write(f"notes/{name}", content)
    with pytest.raises(SourceError, match=rf"notes/{name}: there is no text in it"):
        ids(f"notes/{name}")


def test_empty_files_of_a_folder_are_counted(write: Write) -> None:
    write("notes/a.txt", "")
    write("notes/b.txt", "x")
    sources = Sources(["notes"])
    assert [d.id for d in sources] == ["notes/b.txt"]
    assert sources.report.empty == 1


def test_keep_empty_gives_out_what_holds_no_text(write: Write) -> None:
    write("a.jsonl", '{"id": 1, "text": ""}\n{"id": 2, "text": "b"}\n{"id": 3, "text": null}\n')
    sources = Sources(["a.jsonl"], SourceOptions(keep_empty=True))
    assert [(d.id, d.text) for d in sources] == [("1", ""), ("2", "b"), ("3", "")]
    assert (sources.report.documents, sources.report.empty) == (3, 0)


def test_keep_empty_refuses_an_id_that_comes_twice_without_text(write: Write) -> None:
    write("a.jsonl", '{"id": 1, "text": ""}\n{"id": 1, "text": ""}\n')
    with pytest.raises(SourceError, match=r"line 2: the id '1' was already in a\.jsonl, line 1"):
        ids("a.jsonl", options=SourceOptions(keep_empty=True))


def test_keep_empty_still_refuses_a_file_without_a_record(write: Write) -> None:
    write("a.jsonl", "\n")
    with pytest.raises(SourceError, match=r"a\.jsonl: there is no text in it"):
        ids("a.jsonl", options=SourceOptions(keep_empty=True))


def test_binary_file_with_the_name_of_a_text(write: Write) -> None:
    write("a.txt", b"a\0b")
    with pytest.raises(SourceError, match=r"a\.txt: a binary file, whatever its name says"):
        ids("a.txt")


def test_keep_going_lists_what_cannot_be_read(write: Write) -> None:
    write("notes/a.txt", b"\xff")
    write("notes/b.pdf", "no pdf")
    write("notes/c.jsonl", '{"id": 1, "text": "a"}\n{\n')
    write("notes/d.txt", "x")
    with pytest.raises(SourceError, match=r"notes/a\.txt, line 1: .* \(--keep-going skips such"):
        ids("notes")
    sources = Sources(["notes"], SourceOptions(keep_going=True))
    assert [d.id for d in sources] == ["1", "notes/d.txt"]
    assert [line.split(":")[0] for line in sources.report.unreadable] == [
        "notes/a.txt, line 1",
        "notes/b.pdf",
        "notes/c.jsonl, line 2",
    ]


@pytest.mark.parametrize(("name", "extra"), [("a.pdf", "pdf"), ("a.html", "html")])
def test_missing_extra(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, extra: str
) -> None:
    write(name, "x")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'gingham\[{extra}\]'"):
        Sources([name])


def test_unreadable_file(write: Write) -> None:
    path = write("a.txt", "x")
    sources = Sources([path])
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.txt: No such file or directory"):
        list(sources)


def test_half_characters_do_not_get_through(write: Write) -> None:
    write("a.jsonl", '{"id": "\\ud800", "text": "a \\udfff"}\n')
    (document,) = Sources(["a.jsonl"])
    assert (document.id, document.text) == ("\ufffd", "a \ufffd")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    with path.open("w") as file:
        for i in range(60_000):
            file.write(json.dumps({"id": i, "text": "word " * 60}) + "\n")
    tracemalloc.start()
    count = sum(1 for _ in Sources([path]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 60_000
    assert path.stat().st_size > 18_000_000
    assert peak < 9_000_000
