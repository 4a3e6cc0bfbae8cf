"""`gingham check`: exit codes, lines, JSON, ids, repair."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import gingham
from gingham.index.catalog import content_digest
from gingham.index.writer import IndexWriter, NewDocument

from .conftest import Run, done, error_of, json_of

LOST = ["train", "cat"]  # by a byte at the end of the vectors


def damage(docs: str) -> Path:
    [file] = Path(docs).glob("segments/*/vectors.i8")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    return file


def test_whole(run: Run, docs: str) -> None:
    result = done(run("check", docs))
    line = r"docs\.gingham: whole: 5 documents, [0-9]+ tokens in 1 segment; every checksum holds\n"
    assert re.fullmatch(line, result.stdout)
    record = json_of(run("check", docs, "--json"))
    assert record["sound"] is True
    assert (record["findings"], record["documents"], record["segments"]) == ([], 5, 1)
    assert done(run("check", docs, "--repair")).stdout == (
        "docs.gingham: whole: nothing to repair\n"
    )


def test_damage(run: Run, docs: str) -> None:
    damage(docs)
    done(run("info", docs))
    result = run("check", docs, "--ids", "ids.txt")
    assert result.exit_code == 1
    finding, summary = result.stdout.splitlines()
    assert finding.startswith("damage    segments/00000000/vectors.i8: the checksum does not match")
    assert "of its 3 blocks of 4096 bytes 1 are damaged: 2" in finding
    assert "affects 2 documents: train, cat; gingham check --repair keeps all others" in finding
    assert summary.startswith("docs.gingham: 1 finding, 2 documents affected, of 5 documents")
    assert Path("ids.txt").read_text().split() == LOST
    result = run("check", docs, "--json")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert record["sound"] is False
    assert record["findings"][0]["documents"] == LOST


def test_repair_and_add_again(run: Run, docs: str) -> None:
    damage(docs)
    result = done(run("check", docs, "--repair", "--ids", "ids.txt"))
    lines = result.stdout.splitlines()
    assert lines[-1] == (
        "to add lost documents again: gingham add docs.gingham "
        "docs.gingham/damaged/0001/documents.jsonl"
    )
    assert "docs.gingham: whole again: 3 documents: 3 kept, 2 lost: train, cat" in lines
    assert Path("ids.txt").read_text().split() == LOST
    done(run(*lines[-1].partition("gingham ")[2].split()))
    assert json_of(run("check", docs, "--json"))["documents"] == 5
    with gingham.open(docs, read_only=True) as opened:
        assert opened.get("cat").metadata == {"letters": 3}


def test_repair_and_encode(run: Run, docs: str) -> None:
    before = [hit.score for hit in gingham.open(docs, read_only=True).search("cat", k=5)]
    damage(docs)
    result = done(run("check", docs, "--repair", "--encode", "--ids", "ids.txt"))
    lines = result.stdout.splitlines()
    assert "docs.gingham: whole again: 5 documents: 3 kept, 2 encoded again" in lines
    assert not any(line.startswith("to add") for line in lines)
    assert Path("ids.txt").read_text() == ""
    with gingham.open(docs, read_only=True) as opened:
        assert opened.get("cat").metadata == {"letters": 3}
        after = [hit.score for hit in opened.search("cat", k=5)]
    assert after == pytest.approx(before, abs=0.01)
    assert json_of(run("check", docs, "--json"))["sound"] is True
    record = json_of(run("check", docs, "--repair", "--encode", "--json"))
    assert (record["encoded"], record["dropped"], record["hindrance"]) == ([], [], None)


def test_a_model_that_is_gone_is_said(run: Run) -> None:
    """Documents whose vectors came from elsewhere: nobody knows how to make more of them."""
    vectors = gingham.TokenVectors.from_arrays([np.eye(4, dtype=np.float32)])
    document = NewDocument("a", "A text.", "{}", content_digest("A text.", "{}"), [(0, 7)])
    gingham.open("c").close()
    with IndexWriter(Path("c")) as writer:
        writer.add([document], [vectors], "int8")
    damage("c")
    result = done(run("check", "c", "--repair", "--encode"))
    assert "c: whole again: 0 documents: 0 kept, 1 lost: a" in result.stdout
    assert "could not be encoded again: c holds vectors that were made elsewhere" in result.stdout
    assert (
        "to add lost documents again: gingham add c c/damaged/0001/encoding.jsonl" in result.stdout
    )


def test_repair_as_json(run: Run, docs: str) -> None:
    damage(docs)
    record = json_of(run("check", docs, "--repair", "--json"))
    assert record["sound"] is True
    assert record["dropped"] == LOST
    assert (record["kept"], record["encoded"], record["hindrance"]) == (3, [], None)
    assert record["left"] == []
    assert Path(record["again"]).is_file()
    assert (Path(record["aside"]) / "segments/00000000/vectors.i8").is_file()


def test_one_that_cannot_be_opened(run: Run, docs: str) -> None:
    catalog = Path(docs) / "catalog.sqlite"
    content = catalog.read_bytes()
    catalog.write_bytes(b"no database" + content[11:])
    error_of(run("info", docs))
    result = run("check", docs)
    assert result.exit_code == 1
    assert "catalog.sqlite" in result.stdout
    done(run("check", docs, "--repair"))
    assert json_of(run("info", docs, "--json"))["documents"] == 5


def test_errors(run: Run, docs: str) -> None:
    assert "no collection here" in error_of(run("check", "none"))
    assert "no collection here" in error_of(run("check", "none", "--repair"))
    assert "give --repair too" in error_of(run("check", docs, "--encode"))
    assert "cannot write" in error_of(run("check", docs, "--ids", "none/ids.txt"))
    (Path(docs) / "catalog.sqlite").unlink()
    assert "restore a backup" in error_of(run("check", docs, "--repair"))


@pytest.mark.parametrize("strange", ["two\nlines", "\x1b[31mred", "🦉"])
def test_strange_ids(run: Run, strange: str) -> None:
    with gingham.open("docs.gingham") as opened:
        opened.add("A text.", ids=[strange])
    damage("docs.gingham")
    result = run("check", "docs.gingham", "--ids", "ids.txt")
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout
    assert len(result.stdout.splitlines()) == 2
    [line] = Path("ids.txt").read_text(encoding="utf-8").splitlines()
    assert strange in (line, json.loads(line) if line.startswith('"') else None)
