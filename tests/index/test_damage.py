"""Damaged, foreign, newer and locked collections: our error, one line, nothing lost."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import gingham
from gingham import (
    Collection,
    CollectionError,
    CollectionNotFoundError,
    CorruptionError,
    DimensionError,
    LockedError,
    ReadOnlyError,
    VersionError,
)
from support import random_vectors

QUERY = random_vectors([3], seed=99)[0]


def segment_files(collection: Collection) -> list[Path]:
    """What opening looks at: all but the checksums of blocks."""
    [folder] = (collection.path / "segments").iterdir()
    return sorted(file for file in folder.iterdir() if file.name != "checksums.u32")


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_missing_collection_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFoundError) as caught:
        gingham.open(tmp_path / "none", read_only=True)
    assert "gingham.open" in one_line(caught)
    assert not (tmp_path / "none").exists()


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CollectionError, match=r"thesis\.txt"):
        gingham.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_collection(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CollectionError):
        gingham.open(tmp_path / "file")


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("keep", [0, 10, 63, 64, 65, -1])
def test_a_truncated_file_is_reported(collection: Collection, index: int, keep: int) -> None:
    file = segment_files(collection)[index]
    content = file.read_bytes()
    file.write_bytes(content[:keep])
    with pytest.raises(CorruptionError) as caught:
        gingham.open(collection.path, read_only=True)
    assert file.name in one_line(caught)
    file.write_bytes(content)
    assert len(gingham.open(collection.path, read_only=True).search(QUERY, k=50)) == 40


@pytest.mark.parametrize("index", range(4))
def test_a_grown_file_is_reported(collection: Collection, index: int) -> None:
    file = segment_files(collection)[index]
    with file.open("ab") as opened:
        opened.write(b"\0" * 8)
    with pytest.raises(CorruptionError):
        gingham.open(collection.path, read_only=True)


@pytest.mark.parametrize("index", range(4))
def test_every_flipped_header_byte_is_noticed(collection: Collection, index: int) -> None:
    file = segment_files(collection)[index]
    content = file.read_bytes()
    for position in range(64):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        file.write_bytes(damaged)
        with pytest.raises((CorruptionError, VersionError)):
            gingham.open(collection.path, read_only=True)


@pytest.mark.parametrize("index", range(4))
def test_a_flipped_payload_byte_is_noticed(collection: Collection, index: int) -> None:
    """At once in what the kernels rely on, by `verify` in the vectors, which are not all read."""
    file = segment_files(collection)[index]
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(CorruptionError, match="checksum"):
        gingham.open(collection.path, read_only=True).verify()


def forge(file: Path, rows: np.ndarray, number: int, columns: int, version: int = 1) -> None:
    """Write an array file with valid checksums and whatever contents."""
    payload = rows.tobytes()
    body = struct.pack(
        "<8sIIQQI24x", b"GINGHAM\n", version, number, len(rows), columns, zlib.crc32(payload)
    )
    file.write_bytes(body + struct.pack("<I", zlib.crc32(body)) + payload)


@pytest.mark.parametrize("attack", ["beyond", "negative", "descending", "start"])
def test_hostile_offsets_with_right_checksums(collection: Collection, attack: str) -> None:
    [file] = [file for file in segment_files(collection) if file.name == "offsets.i64"]
    offsets = np.frombuffer(file.read_bytes()[64:], dtype="<i8").copy()
    if attack == "beyond":
        offsets[-1] = 2**40
    elif attack == "negative":
        offsets[1] = -5
    elif attack == "descending":
        offsets[5] = offsets[-1]
    else:
        offsets[0] = 1
    forge(file, offsets, 4, 1)
    with pytest.raises(CorruptionError):
        gingham.open(collection.path, read_only=True)


def test_hostile_passages_with_right_checksums(collection: Collection) -> None:
    [file] = [file for file in segment_files(collection) if file.name == "passages.i64"]
    rows = np.frombuffer(file.read_bytes()[64:], dtype="<i8").reshape(-1, 3).copy()
    rows[0, 0] = 2**50
    forge(file, rows, 5, 3)
    with pytest.raises(CorruptionError):
        gingham.open(collection.path, read_only=True)


def test_a_newer_array_file_says_so(collection: Collection) -> None:
    file = segment_files(collection)[0]
    forge(file, np.zeros(1, dtype="<i8"), 4, 1, version=7)
    with pytest.raises(VersionError) as caught:
        gingham.open(collection.path, read_only=True)
    assert "format 7" in one_line(caught)


def test_a_newer_catalog_says_so_and_is_not_touched(collection: Collection) -> None:
    collection.close()
    connection = sqlite3.connect(collection.path / "catalog.sqlite")
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    for read_only in (True, False):
        with pytest.raises(VersionError, match="pip install --upgrade gingham"):
            gingham.open(collection.path, read_only=read_only)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + b"\0" * 100, b"\xff" * 5000])
def test_a_broken_catalog_is_reported(collection: Collection, content: bytes) -> None:
    collection.close()
    for name in ("catalog.sqlite-wal", "catalog.sqlite-shm"):
        (collection.path / name).unlink(missing_ok=True)
    (collection.path / "catalog.sqlite").write_bytes(content)
    for read_only in (True, False):
        with pytest.raises(CorruptionError) as caught:
            gingham.open(collection.path, read_only=read_only)
        assert "catalog.sqlite" in one_line(caught)


def test_another_sqlite_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    connection = sqlite3.connect(tmp_path / "c" / "catalog.sqlite")
    connection.execute("CREATE TABLE documents (x)")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptionError, match="not gingham's"):
        gingham.open(tmp_path / "c")


def test_a_missing_segment_is_reported(collection: Collection) -> None:
    shutil.rmtree(segment_files(collection)[0].parent)
    with pytest.raises(CorruptionError, match="missing"):
        gingham.open(collection.path, read_only=True)


def test_another_dimension_is_refused(collection: Collection) -> None:
    with pytest.raises(DimensionError) as caught:
        collection.add(random_vectors([2], dim=8), ids=["x"])
    assert "8" in one_line(caught)
    assert "16" in one_line(caught)
    with pytest.raises(DimensionError):
        collection.search(random_vectors([2], dim=8)[0])
    assert len(collection) == 40


def test_a_read_only_collection_refuses_to_write(collection: Collection) -> None:
    reader = gingham.open(collection.path, read_only=True)
    for write in (
        lambda: reader.add(random_vectors([2]), ids=["x"]),
        lambda: reader.delete("d0"),
        reader.optimize,
    ):
        with pytest.raises(ReadOnlyError, match="read_only"):
            write()


def test_a_closed_collection_says_so(collection: Collection) -> None:
    collection.close()
    with pytest.raises(CollectionError, match="closed"):
        collection.search(QUERY)


HOLD_THE_LOCK = """
import sys, time
from pathlib import Path
from gingham.index.writer import IndexWriter
with IndexWriter(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_and_a_dead_one_is_forgotten(collection: Collection) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(collection.path)], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError) as caught:
            collection.add(random_vectors([2]), ids=["x"])
        assert "another writer" in one_line(caught)
        assert len(collection.search(QUERY, k=50)) == 40  # readers do not wait
    finally:
        holder.kill()
        holder.communicate()
    collection.add(random_vectors([2]), ids=["x"])
    assert "x" in collection


def test_a_lost_catalog_does_not_cost_the_segments(collection: Collection) -> None:
    before = [file.read_bytes() for file in segment_files(collection)]
    collection.close()
    catalog = collection.path / "catalog.sqlite"
    saved = catalog.read_bytes()
    catalog.unlink()
    with pytest.raises(CorruptionError) as caught:
        gingham.open(collection.path)
    assert "missing" in one_line(caught)
    assert [file.read_bytes() for file in segment_files(collection)] == before
    catalog.write_bytes(saved)
    assert len(gingham.open(collection.path)) == 40


def edit_catalog(collection: Collection, statement: str) -> None:
    collection.close()
    connection = sqlite3.connect(collection.path / "catalog.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE settings SET value = '\"many\"' WHERE key = 'next_document'",
        "UPDATE settings SET value = '31' WHERE key = 'passage_length'",
        "UPDATE settings SET value = 'true' WHERE key = 'passage_length'",
        "UPDATE settings SET value = '1' WHERE key = 'titles'",
        "UPDATE settings SET value = '{' WHERE key = 'generation'",
        "INSERT INTO settings VALUES ('model', '[1]')",
        "INSERT INTO settings VALUES ('model', '{}')",
        "UPDATE segments SET tokens = 'many'",
        "UPDATE segments SET codec = 'zip'",
        "UPDATE segments SET dim = 17",
        "UPDATE documents SET metadata = '{' WHERE id = 'd0'",
        "UPDATE documents SET text = 'forged' WHERE id = 'd0'",
        "UPDATE metadata SET number = 'x' WHERE key = 'n'",
        "DROP TABLE tombstones",
        "DELETE FROM documents WHERE id = 'd0'",
    ],
)
def test_an_edited_catalog_gives_our_errors(collection: Collection, statement: str) -> None:
    edit_catalog(collection, statement)

    def use() -> None:
        opened = gingham.open(collection.path)
        opened.search(QUERY, k=50, where={"n": {"$gte": 0}})
        opened.verify()

    with pytest.raises(CorruptionError) as caught:
        use()
    one_line(caught)


@pytest.mark.parametrize("key", ["next_segment", "next_document"])
def test_a_lost_counter_never_costs_a_segment_or_a_document(
    collection: Collection, key: str
) -> None:
    edit_catalog(collection, f"DELETE FROM settings WHERE key = '{key}'")  # noqa: S608
    again = gingham.open(collection.path)
    again.add(random_vectors([2]), ids=["new"])
    assert len(again.search(QUERY, k=50)) == 41


def test_verify_reads_texts_and_metadata(collection: Collection) -> None:
    collection.verify()
    collection.close()
    path = collection.path / "catalog.sqlite"
    path.write_bytes(path.read_bytes().replace(b'"parity": "even"', b'"parity": "evil"', 1))
    with pytest.raises(CorruptionError, match="not as they were"):
        gingham.open(collection.path).verify()


KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from gingham.index import writer
import gingham, numpy as np
point = sys.argv[2]
real = getattr(writer, point, None)
def die(*args, **kwargs):
    os.kill(os.getpid(), 9)
if point == "publish":
    writer.publish = die
else:
    from gingham.index import segment_writer
    segment_writer.sync_folder = die
vectors = gingham.TokenVectors.from_arrays([np.ones((2, 16))])
gingham.open(sys.argv[1]).add(vectors, ids=["unlucky"])
"""


@pytest.mark.parametrize("point", ["publish", "sync_folder"])
def test_what_a_killed_writer_leaves_is_cleaned_up(collection: Collection, point: str) -> None:
    before = collection.search(QUERY, k=50)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(collection.path), point], check=False
    )
    assert killed.returncode == -9
    assert len(list((collection.path / "segments").iterdir())) == 2  # one is an orphan
    again = gingham.open(collection.path)
    assert again.search(QUERY, k=50) == before
    again.add(random_vectors([2]), ids=["next"])
    assert len(again) == 41
    listed = {f"{s.record.segment:08d}" for s in again._snapshot.segments}
    assert {entry.name for entry in (again.path / "segments").iterdir()} == listed
