"""The demo on a corpus of a few modules: first run, second run, interrupted run, fresh run."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gingham
from gingham import Document
from gingham.cli import demo
from gingham.sources import stdlib_docs

from .conftest import Run, done, json_lines

TEXTS = [
    ("csv.DictReader", "csv.DictReader(f, fieldnames=None) reads each row into a dictionary"),
    ("atexit.register", "atexit.register(func) run a function when the program exits"),
    ("timeit.timeit", "timeit.timeit(stmt) measures how long code takes"),
    ("tempfile.TemporaryDirectory", "a temporary directory that deletes itself"),
]


class FewDocuments:
    modules = 4
    reads = 0

    def __init__(self) -> None:
        self.done = 0
        FewDocuments.reads += 1

    def __iter__(self) -> Iterator[Document]:
        for id, text in TEXTS:
            yield Document(id, text, {"kind": "class"})
            self.done += 1


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdlib_docs, "StandardLibrary", FewDocuments)
    FewDocuments.reads = 0


def test_first_and_second_run(run: Run) -> None:
    first = done(run("demo", "--path", "d.gingham")).stdout
    assert "Indexed 4 documents" in first
    assert all(f'"{question}"' in first for question in demo.QUESTIONS)
    assert "gingham explain d.gingham" in first
    second = done(run("demo", "--path", "d.gingham")).stdout
    assert "Indexed" not in second
    assert FewDocuments.reads == 1
    done(run("demo", "--path", "d.gingham", "--fresh"))
    assert FewDocuments.reads == 2


def test_interrupted_run_is_continued(run: Run) -> None:
    done(run("demo", "--path", "d.gingham"))
    with gingham.open("d.gingham") as opened:
        opened.delete(["timeit.timeit"])
    assert "Indexed 4 documents" in done(run("demo", "--path", "d.gingham")).stdout


def test_another_models_demo_is_made_again_in_the_cache_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "default_path", lambda: tmp_path / "cached.gingham")
    for arguments in ([], ["--path", "d.gingham"]):
        done(run("demo", *arguments))
    for path in (tmp_path / "cached.gingham", Path("d.gingham")):
        catalog = sqlite3.connect(path / "catalog.sqlite")
        catalog.execute(
            "UPDATE settings SET value = json_set(value, '$.fingerprint', 'feed')"
            " WHERE key = 'model'"
        )
        catalog.commit()
        catalog.close()
    again = run("demo")
    assert "another model made it: indexing again" in again.stderr
    assert "Indexed 4 documents" in done(again).stdout
    refused = run("demo", "--path", "d.gingham")
    assert refused.exit_code != 0
    assert "gingham demo --fresh" in refused.stderr


@pytest.mark.parametrize("content", ["", "[]", "no json", '{"documents": null}'])
def test_damaged_marker_says_nothing(tmp_path: Path, content: str) -> None:
    marker = tmp_path / "d.gingham.json"
    marker.write_text(content)
    assert demo._expected(marker) is None


def test_json(run: Run) -> None:
    hits = json_lines(run("demo", "--path", "d.gingham", "--json"))
    assert len(hits) == 3 * len(demo.QUESTIONS)
    assert list(hits[0]) == [
        *("query", "rank", "id", "score", "text", "span", "metadata", "seconds"),
    ]
    assert json.dumps(hits[0]["metadata"]) == '{"kind": "class"}'


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="other rules there")
def test_default_path_follows_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = demo.default_path()
    assert path.parent == tmp_path / "gingham"
    assert gingham.__version__ in path.name
