"""Every error is one line on stderr and exit code 2; a closed pipe is none."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

import gingham
from gingham.cli.main import guarded
from gingham.index.writer import IndexWriter

from .conftest import Run, done, error_of, json_of

FILES: dict[str, bytes] = {
    "latin.txt": "Zoë".encode("latin-1"),
    "bad.jsonl": b'{"id": 1, "text": "a"}\n{"id": 2,\n',
    "columns.csv": b"a,b\n1,2\n",
    "short.tsv": b"id\ttext\nx\n",
    "twice.tsv": b"x\ta\nx\tb\n",
    "empty.txt": b"",
    "binary.bin": b"\0\1",
    "binary.txt": b"a\0",
    "broken.pdf": b"%PDF-1.4 nothing",
    "array.json": b"[]",
}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("latin.txt", "latin.txt, line 1: not UTF-8 (byte 0xeb at position 2); convert the file"),
        ("bad.jsonl", "bad.jsonl, line 2: not JSON ("),
        ("columns.csv", "columns.csv, line 1: no text field"),
        ("short.tsv", "short.tsv, line 2: 1 column, but the header has 2"),
        ("twice.tsv", "twice.tsv, line 2: the id 'x' was already in twice.tsv, line 1"),
        ("empty.txt", "empty.txt: there is no text in it"),
        ("binary.bin", "binary.bin: a binary file of no known kind"),
        ("binary.txt", "binary.txt: a binary file, whatever its name says"),
        ("broken.pdf", "broken.pdf: not a PDF that can be read ("),
        ("array.json", "array.json: .json files cannot be read; write one JSON object a line"),
        ("nowhere", "nowhere: no such file or folder"),
    ],
)
def test_files_that_cannot_be_added(run: Run, file: str, message: str) -> None:
    if file in FILES:
        Path(file).write_bytes(FILES[file])
    assert error_of(run("add", "docs.gingham", file)).startswith(message)


def test_no_collection_is_made_for_a_file_that_is_not_there(run: Run) -> None:
    error_of(run("add", "docs.gingham", "nowhere"))
    assert not Path("docs.gingham").exists()


def test_unknown_encoding(run: Run) -> None:
    Path("a.txt").write_text("x")
    line = error_of(run("add", "docs.gingham", "a.txt", "--encoding", "klingon"))
    assert line.startswith("unknown encoding 'klingon'")


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "nowhere", "query"],
        ["explain", "nowhere", "query", "id"],
        ["delete", "nowhere", "id"],
        ["info", "nowhere"],
        ["optimize", "nowhere"],
    ],
)
def test_missing_collection(run: Run, arguments: list[str]) -> None:
    assert "nowhere" in error_of(run(*arguments))
    assert not Path("nowhere").exists()


def test_folder_that_is_no_collection(run: Run) -> None:
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("x")
    assert "notes" in error_of(run("info", "notes"))


@pytest.mark.parametrize("where", ["{", "[]", "7", '{"a": {"$no": 1}}', "[" * 100_000])
def test_bad_condition(run: Run, docs: str, where: str) -> None:
    error_of(run("search", docs, "query", "--where", where))


def test_blank_queries(run: Run, docs: str) -> None:
    assert "query" in error_of(run("search", docs, " "))
    assert "no query" in error_of(run("search", docs, input="\n\n"))


def test_explain_of_a_missing_document(run: Run, docs: str) -> None:
    assert "'dog'" in error_of(run("explain", docs, "query", "dog"))


def test_demo_keeps_off_folders_that_are_not_its_own(run: Run) -> None:
    Path("mine").mkdir()
    Path("mine/precious").write_text("x")
    assert "not empty and not the demo's" in error_of(run("demo", "--path", "mine"))
    assert "it is not deleted" in error_of(run("demo", "--path", "mine", "--fresh"))
    assert Path("mine/precious").exists()


def damage(docs: str, kind: str) -> None:
    """Make a collection one that cannot be used."""
    catalog = Path(docs) / "catalog.sqlite"
    [vectors] = Path(docs).glob("segments/*/vectors.i8")
    if kind == "newer":
        connection = sqlite3.connect(catalog)
        connection.execute("PRAGMA user_version = 9")
        connection.close()
    elif kind == "truncated":
        vectors.write_bytes(vectors.read_bytes()[:-1])
    elif kind == "unreadable":
        catalog.write_bytes(b"not a database" * 100)
    else:
        vectors.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("newer", "pip install --upgrade gingham"),
        ("truncated", "truncated"),
        ("unreadable", "catalog.sqlite"),
        ("missing", "missing"),
    ],
)
def test_damaged_collections(run: Run, docs: str, kind: str, message: str) -> None:
    damage(docs, kind)
    Path("new.txt").write_text("A new text.")
    for arguments in (
        ["search", docs, "tide"],
        ["info", docs],
        ["add", docs, "new.txt"],
        ["delete", docs, "moon"],
    ):
        assert message in error_of(run(*arguments)), arguments


def test_unknown_model(run: Run) -> None:
    Path("new.txt").write_text("A new text.")
    for model in ("no-such-folder", "./no-such-folder"):
        line = error_of(run("add", "docs.gingham", "new.txt", "--model", model))
        assert "no-such-folder" in line
    assert json_of(run("info", "docs.gingham", "--json"))["documents"] == 0


def test_vectors_of_another_dimension(run: Run) -> None:
    vectors = gingham.TokenVectors.from_arrays([np.eye(8)])
    gingham.open("docs.gingham", gingham.Encoder()).add(vectors, ids=["eight"])
    Path("new.txt").write_text("A new text.")
    model = str(Path(gingham.__file__).parent / "models" / "gingham-mini")
    line = error_of(run("add", "docs.gingham", "new.txt", "--model", model))
    assert "128 dimensions, the collection 8" in line
    assert json_of(run("info", "docs.gingham", "--json"))["documents"] == 1


def test_another_writer(run: Run, docs: str) -> None:
    Path("new.txt").write_text("A new text.")
    with IndexWriter(Path(docs)):
        line = error_of(run("add", docs, "new.txt"))
        done(run("search", docs, "tide"))  # readers do not wait
    assert "another writer" in line
    done(run("add", docs, "new.txt"))


def test_errors_of_the_system_are_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "docs.gingham")

    with pytest.raises(typer.Exit) as stopped:
        guarded(fail)()
    assert stopped.value.exit_code == 2


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as stopped:
        guarded(interrupt)()
    assert stopped.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_closed_pipe_is_quiet(docs: str) -> None:
    queries = Path("queries.txt")
    queries.write_text("tide\n" * 4000)
    command = [sys.executable, "-m", "gingham.cli.main", "search", docs, "-", "--json"]
    with (
        queries.open() as asked,
        subprocess.Popen(
            command, stdin=asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
