"""What a snapshot holds stays, in this process and in others; what none holds goes away."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gingham
from clustering import add, folders, listed
from concurrency.scripts import line, start, tell
from gingham import Collection, CorruptionError, LockedError
from gingham.index import snapshot as snapshots
from gingham.index.segments import open_all
from support import random_vectors

QUERY = random_vectors([3], seed=99)[0]
LINUX = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="reads /proc for what is mapped"
)


def held(collection: Path, process: int | str = "self") -> set[str]:
    """Folders of the collection that are gone, but of which a process maps files."""
    found = set()
    for text in Path(f"/proc/{process}/maps").read_text().splitlines():
        path = text[text.find("/") :]
        if path.startswith(f"{collection}/") and path.endswith(" (deleted)"):
            found.add(Path(path).parent.name)
    return found


def churn(collection: Collection, seed: int = 0) -> None:
    """Replace, delete and rewrite everything."""
    ids = [f"d{i}" for i in range(0, 40, 2)]
    collection.add(random_vectors([2] * 20, seed=seed + 1), ids=ids)
    collection.delete(["d1", "d2"])
    collection.add(random_vectors([2, 2], seed=seed + 2), ids=["d1", "d2"])
    collection.optimize(bits=4)


@LINUX
def test_a_snapshot_keeps_its_answers_and_its_files(collection: Collection) -> None:
    reader = gingham.open(collection.path, read_only=True)
    before = reader.search(QUERY, k=50)
    filtered = reader.search(QUERY, k=50, where={"parity": "odd"})
    first = folders(collection.path)
    for round in range(3):
        churn(collection, 10 * round)
        assert reader.search(QUERY, k=50) == before
        assert reader.search(QUERY, k=50, where={"parity": "odd"}) == filtered
    reader.verify()
    assert reader.get("d2").metadata == {"n": 2, "parity": "even"}
    assert not first & folders(collection.path)  # the names went at once
    assert held(collection.path) == {name.split("/")[1] for name in first}


@LINUX
def test_files_that_no_snapshot_holds_are_gone(collection: Collection) -> None:
    reader = gingham.open(collection.path, read_only=True)
    churn(collection)
    assert held(collection.path)
    reader.refresh()
    assert not held(collection.path)
    assert folders(collection.path) == listed(collection) == listed(reader)
    churn(collection)
    assert held(collection.path)
    reader.close()
    assert not held(collection.path)
    assert folders(collection.path) == listed(collection)


@LINUX
def test_a_search_under_way_keeps_its_snapshot(collection: Collection) -> None:
    """What it took stays until it is done, though its collection sees a later commit by then."""
    taken = collection._snapshot
    count = taken.n_documents
    churn(collection)
    collection.delete(["d0"])
    assert collection._snapshot is not taken
    assert taken.n_documents == count
    assert len(taken.documents(range(60))) == 40
    assert held(collection.path)
    del taken
    assert not held(collection.path)


READER = """
import numpy as np
import gingham

reader = gingham.open(sys.argv[1], read_only=True)
query = np.eye(16, dtype=np.float32)[:3]
before = reader.search(query, k=50)
print("holding", flush=True)
sys.stdin.readline()
assert reader.search(query, k=50) == before
reader.verify()
print("the same", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def reader(collection: Collection) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a snapshot."""
    process = start(READER, collection.path)
    assert line(process) == "holding"
    yield process
    process.kill()
    process.communicate()


@LINUX
def test_a_snapshot_of_another_process_keeps_its_answers_and_its_files(
    collection: Collection, reader: subprocess.Popen[str]
) -> None:
    churn(collection)
    churn(collection, seed=10)
    assert held(collection.path, reader.pid)
    tell(reader)
    assert line(reader) == "the same"
    assert folders(collection.path) == listed(collection)


def test_a_killed_reader_holds_nothing(
    collection: Collection, reader: subprocess.Popen[str]
) -> None:
    """Neither files nor the catalog's log, which cannot be emptied while a snapshot needs it."""
    log = Path(f"{collection.path}/catalog.sqlite-wal")
    note = "x" * 500_000

    def write(times: int) -> int:
        for i in range(times):
            collection.add(random_vectors([1]), ids=["same"], metadata=[{"note": note, "i": i}])
        return log.stat().st_size

    grown = write(50)
    assert grown > 25 << 20  # the snapshot needs what was in the catalog before
    assert write(5) > grown + (2 << 20)
    reader.kill()
    reader.wait()
    grown = write(5)
    assert write(20) < grown + (2 << 20)  # the log begins anew
    churn(collection)
    assert folders(collection.path) == listed(collection)
    collection.close()
    assert not log.exists()
    again = gingham.open(collection.path)
    again.verify()
    assert len(again) == 41


def test_opening_while_segments_go_away_finds_a_later_snapshot(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as that happens: here the writer is faster than the reader ten times in a row."""
    rounds = 10

    def slowly(*arguments: object) -> object:
        nonlocal rounds
        if rounds:
            rounds -= 1
            with monkeypatch.context() as inner:
                inner.setattr(snapshots, "open_all", open_all)
                churn(collection, seed=rounds)
        return open_all(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshots, "open_all", slowly)
    reader = gingham.open(collection.path, read_only=True)
    assert rounds == 0
    assert reader.search(QUERY, k=50) == collection.search(QUERY, k=50)


def test_a_missing_segment_is_damage_where_nobody_writes(collection: Collection) -> None:
    [folder] = (collection.path / "segments").iterdir()
    folder.rename(collection.path / "elsewhere")
    with pytest.raises(CorruptionError, match="missing, though the catalog lists it"):
        gingham.open(collection.path, read_only=True)
    (collection.path / "elsewhere").rename(folder)
    assert len(gingham.open(collection.path, read_only=True)) == 40


def test_a_reader_sees_a_commit_when_it_refreshes_and_not_before(collection: Collection) -> None:
    reader = gingham.open(collection.path, read_only=True)
    collection.add(random_vectors([2]), ids=["new"])
    collection.delete(["d1"])
    assert ("new" in reader, "d1" in reader, len(reader)) == (False, True, 40)
    assert reader.info().generation == 1
    reader.refresh()
    assert ("new" in reader, "d1" in reader, len(reader)) == (True, False, 40)
    assert reader.info().generation == 3
    assert "new" in collection  # a writer sees its own at once


def test_a_reader_never_waits_for_a_writer(collection: Collection) -> None:
    """Not for its turn, and not for a transaction that it is in the middle of."""
    from gingham.index.catalog import Catalog

    catalog = Catalog(collection.path, writable=True)
    with catalog.database.transaction():
        catalog.delete_documents(["d0"])
        reader = gingham.open(collection.path, read_only=True)
        assert len(reader) == len(reader.search(QUERY, k=50)) == 40
        reader.refresh()
        assert "d0" in reader
    catalog.database.close()
    reader.refresh()
    assert "d0" not in reader


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_reader_needs_no_right_to_write_data(collection: Collection) -> None:
    """Only SQLite's own files; see `read_only` of `gingham.open`."""
    collection.path.joinpath("segments").chmod(0o555)
    try:
        assert len(gingham.open(collection.path, read_only=True).search(QUERY, k=50)) == 40
    finally:
        collection.path.joinpath("segments").chmod(0o755)


def test_clustered_segments_and_codebooks_outlive_their_removal(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c")
    add(collection, range(60), tokens=6)
    collection.optimize(bits=4)
    reader = gingham.open(tmp_path / "c", read_only=True)
    query = random_vectors([4], dim=32, seed=5)[0]
    before = [reader.search(query, k=60), reader.search(query, k=60, exact=True)]
    first = folders(tmp_path / "c")
    assert any(name.startswith("codebooks") for name in first)
    collection.delete([f"d{i}" for i in range(60)])
    collection.optimize()
    assert folders(tmp_path / "c") == set()
    assert [reader.search(query, k=60), reader.search(query, k=60, exact=True)] == before
    reader.verify()
    reader.refresh()
    assert reader.search(query) == []


def test_a_check_beside_a_writer_that_is_always_faster_finds_no_damage(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was about to read is gone each time, until the writer has to wait for it."""
    from gingham.upkeep.examining import Examiner

    rounds = 0
    real = Examiner.examine

    def slowly(self: Examiner, *arguments: Any) -> Any:
        nonlocal rounds
        rounds += 1
        with contextlib.suppress(LockedError):
            churn(writer, seed=rounds)
        return real(self, *arguments)

    writer = gingham.open(collection.path, timeout=0)
    monkeypatch.setattr(Examiner, "examine", slowly)
    assert gingham.check(collection.path).findings == ()
    assert rounds == 6
