"""What a check says: each line names the place, the documents and the remedy."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import struct
import threading
import zlib
from pathlib import Path

import pytest

import gingham
from clustering import add
from damaging import answers_at, copied, files_of
from gingham import CollectionNotFoundError, CorruptionError, Finding, UpkeepProgress
from gingham.index.writer import IndexWriter
from gingham.upkeep import checking


def test_a_whole_collection(fresh: Path) -> None:
    files = files_of(fresh)
    found = gingham.check(fresh)
    assert found.sound
    assert (found.documents, found.passages, found.segments, found.codebooks) == (73, 75, 3, 1)
    arrays = [content for name, content in files.items() if "/" in name]
    assert found.bytes == sum(len(content) - 64 for content in arrays)
    assert files_of(fresh) == files
    with gingham.open(fresh) as opened:
        assert opened.check() == dataclasses.replace(found, path=str(opened.path))
        opened.verify()


def test_an_empty_collection(tmp_path: Path) -> None:
    gingham.open(tmp_path / "c").close()
    assert gingham.check(tmp_path / "c").sound
    assert gingham.repair(tmp_path / "c").actions == ()


def test_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for work in (gingham.check, gingham.repair):
        with pytest.raises(CollectionNotFoundError):
            work(tmp_path)
        with pytest.raises(CollectionNotFoundError):
            work(tmp_path / "none")


def test_a_damaged_file_is_one_line_with_documents_and_remedy(fresh: Path) -> None:
    (fresh / "segments/00000002/scales.f32").write_bytes(b"short")
    [finding] = gingham.check(fresh).findings
    assert finding.where == "segments/00000002/scales.f32"
    assert "truncated: 5 bytes" in finding.problem
    assert finding.documents == tuple(f"d{i}" for i in range(60, 70))
    assert "gingham check --repair" in finding.remedy
    assert "\n" not in "".join((finding.where, finding.problem, finding.remedy))
    with pytest.raises(CorruptionError, match=r"scales\.f32: truncated"):
        checking.verify(fresh)


def test_all_damage_is_found_at_once(fresh: Path) -> None:
    for name in ("segments/00000002/scales.f32", "segments/00000003/offsets.i64"):
        (fresh / name).unlink()
    (fresh / "codebooks/00000001/levels.i64").unlink()
    with sqlite3.connect(fresh / "catalog.sqlite") as connection:
        connection.execute("DELETE FROM metadata WHERE number = 9")
        connection.execute("UPDATE documents SET text = 'x' WHERE number = 11")
    connection.close()
    found = {finding.where for finding in gingham.check(fresh).findings}
    assert found == {
        "segments/00000002/scales.f32",
        "segments/00000003/offsets.i64",
        "codebooks/00000001/levels.i64",
        "catalog.sqlite: metadata",
        "catalog.sqlite: documents",
    }


def test_leftovers_are_no_damage(fresh: Path) -> None:
    (fresh / "segments/00000099").mkdir()
    (fresh / "segments/.writing-00000100").mkdir()
    (fresh / "codebooks/00000007").mkdir()
    (fresh / "segments/00000002/notes.txt").write_text("mine")
    found = gingham.check(fresh).findings
    assert {f.where for f in found} == {
        "segments/00000099",
        "segments/.writing-00000100",
        "codebooks/00000007",
        "segments/00000002/notes.txt",
    }
    assert {f.kind for f in found} == {"leftover"}
    gingham.open(fresh).verify()
    assert gingham.repair(fresh).left == ()


def test_what_a_writer_is_writing_is_no_leftover(fresh: Path) -> None:
    with IndexWriter(fresh):
        (fresh / "segments/.writing-00000100").mkdir()
        assert gingham.check(fresh).sound
    assert not gingham.check(fresh).sound


def test_a_document_in_two_segments(templates: Path, tmp_path: Path) -> None:
    """A segment that was merged away and is listed again: the later one keeps its documents."""
    path = copied(templates / "flat", tmp_path / "c")
    before = answers_at(path)
    keep = tmp_path / "keep"
    shutil.copytree(path / "segments/00000001", keep)
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        row = connection.execute("SELECT * FROM segments WHERE segment = 1").fetchone()
    connection.close()
    with gingham.open(path) as collection:
        collection.optimize()
    shutil.copytree(keep, path / "segments/00000001")
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.close()
    [finding] = gingham.check(path).findings
    assert "a later segment holds too" in finding.problem
    assert len(finding.documents) == 10
    assert gingham.repair(path).left == ()
    assert answers_at(path) == before


def test_posting_lists_are_compared_with_codes(fresh: Path) -> None:
    """Even with right checksums: a list that lacks a passage would hide it from searches."""
    file = fresh / "segments/00000001/postings.u16"
    content = bytearray(file.read_bytes())
    content[64 + 4 : 64 + 6] = content[64 + 6 : 64 + 8]
    content[32:36] = struct.pack("<I", zlib.crc32(content[64:]))
    content[60:64] = struct.pack("<I", zlib.crc32(content[:60]))
    file.write_bytes(content)
    file.with_name("checksums.u32").unlink()
    with sqlite3.connect(fresh / "catalog.sqlite") as connection:
        connection.execute("DELETE FROM settings WHERE key = 'digests'")
    connection.close()
    [finding] = gingham.check(fresh).findings
    assert "do not name what the codes do" in finding.problem
    assert gingham.repair(fresh).left == ()


@pytest.mark.parametrize("name", ["segments", "codebooks", "write.lock"])
def test_a_link_in_place_of_ours(fresh: Path, tmp_path: Path, name: str) -> None:
    """What it leads to is neither read nor changed."""
    (fresh / name).rename(tmp_path / "elsewhere")
    (fresh / name).symlink_to(tmp_path / "elsewhere")
    [finding] = gingham.check(fresh).findings
    assert (finding.where, finding.kind) == (name, "damage")
    with pytest.raises(CorruptionError, match="nothing was changed"):
        gingham.repair(fresh)
    assert (fresh / name).is_symlink()


def test_checks_while_a_writer_works(tmp_path: Path) -> None:
    """Nothing is found, though segments come and go; and nobody is kept from writing."""
    path = tmp_path / "c"
    gingham.open(path).close()
    done = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with gingham.open(path) as collection:
                for start in range(0, 160, 4):
                    add(collection, range(start, start + 4))
                    if start % 40 == 36:
                        collection.optimize(bits=4)
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    findings: list[Finding] = []
    checks = 0
    while not done.is_set():
        findings += gingham.check(path).findings
        checks += 1
    writer.join()
    assert (failures, findings) == ([], [])
    assert checks > 3
    assert gingham.check(path).documents == 160


def test_progress_ends_where_it_should(fresh: Path) -> None:
    told: list[UpkeepProgress] = []
    gingham.check(fresh, progress=told.append)
    assert {now.stage for now in told} == {"catalog", "documents", "vectors"}
    assert all(0 <= now.done <= now.total for now in told)
