"""`gingham backup` and `gingham restore`."""

from __future__ import annotations

import shutil
from pathlib import Path

from .conftest import Run, done, error_of, json_lines, json_of


def test_there_and_back(run: Run, docs: str) -> None:
    text = done(run("backup", docs, "b")).stdout
    assert text.startswith(f"docs.gingham → {Path('b').absolute()}: 5 documents, ")
    assert text.endswith("in 5 files, 5 of them shared; every checksum holds\n")
    assert len(json_lines(run("search", "b", "why does the sea rise?", "--json"))) == 5
    record = json_of(run("backup", docs, "copied", "--copy", "--json"))
    assert (record["documents"], record["files"], record["linked"]) == (5, 5, 0)
    shutil.rmtree(docs)
    record = json_of(run("restore", "b", docs, "--json"))
    assert (record["documents"], record["files"], record["linked"]) == (5, 5, 0)
    assert json_of(run("check", docs, "--json"))["sound"] is True
    done(run("restore", "copied", "again"))


def test_refusals(run: Run, docs: str) -> None:
    done(run("backup", docs, "b"))
    assert "nothing is overwritten" in error_of(run("backup", docs, "b"))
    assert "nothing is overwritten" in error_of(run("restore", "b", docs))
    assert "no collection here" in error_of(run("backup", "none", "c"))
    assert "no collection here" in error_of(run("restore", "none", "c"))
    assert sorted(path.name for path in Path().iterdir()) == ["b", "corpus.jsonl", docs]
