"""Kills, threads, full disks, old schemas: what was committed stays, what was not is gone."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import gingham
from gingham import Collection, CollectionError, InputError, LockedError, TokenVectors
from gingham.index import migrations
from support import random_vectors

QUERY = random_vectors([3], seed=99)[0]

KILLED = """
import os, sys
import numpy as np
import gingham
from gingham.index import commit, writer

point, path = sys.argv[1:]
def die(*args, **kwargs):
    os.kill(os.getpid(), 9)
collection = gingham.open(path)
if point == "inside the transaction":
    from gingham.index.catalog import Catalog
    Catalog.insert_documents = die
elif point == "after the commit":
    commit.remove_folders = die
elif point == "while merging":
    writer.merging.merge = die
elif point == "before a merge is published":
    writer.merging.plan = lambda records: records
    real = writer.publish
    calls = []
    def second(*args, **kwargs):
        calls.append(1)
        return die() if len(calls) == 2 else real(*args, **kwargs)
    writer.publish = second
vectors = gingham.TokenVectors.from_arrays([np.ones((2, 16))])
if point in ("while merging", "after the commit"):
    collection.optimize()
else:
    collection.add(vectors, ids=["last"])
"""


@pytest.mark.parametrize(
    ("point", "committed"),
    [
        ("inside the transaction", False),
        ("after the commit", False),
        ("while merging", False),
        ("before a merge is published", True),
    ],
)
def test_killed_anywhere_it_is_before_or_after(
    collection: Collection, point: str, committed: bool
) -> None:
    collection.add(random_vectors([2], seed=5), ids=["second segment"])
    collection.delete(["d3"])
    before = collection.search(QUERY, k=60)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, point, str(collection.path)], check=False
    )
    assert killed.returncode == -9
    again = gingham.open(collection.path)
    hits = again.search(QUERY, k=60)
    assert [hit for hit in hits if hit.id != "last"] == before
    assert ("last" in again) == committed
    again.add(random_vectors([2], seed=6), ids=["next"])
    again.optimize()
    again.verify()
    assert len(again.search(QUERY, k=60)) == len(again) == 41 + committed
    listed = {f"{s.record.segment:08d}" for s in again._snapshot.segments}
    assert {entry.name for entry in (again.path / "segments").iterdir()} == listed


READER = """
import sys, time
import numpy as np
import gingham

end = time.time() + float(sys.argv[2])
checked = 0
while time.time() < end:
    reader = gingham.open(sys.argv[1], read_only=True)
    query = np.eye(16, dtype=np.float32)[:3]
    first = reader.search(query, k=500)
    assert len(first) == len(reader), (len(first), len(reader))
    assert len({hit.id for hit in first}) == len(first)
    even = reader.search(query, k=500, where={"even": True})
    odd = reader.search(query, k=500, where={"$not": {"even": True}})
    assert len(even) + len(odd) == len(first)
    time.sleep(0.02)
    assert reader.search(query, k=500) == first
    checked += 4
print(checked)
"""


def test_readers_in_other_processes_see_whole_commits(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c")
    collection.add(random_vectors([2]), ids=["0"], metadata=[{"even": True}])
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(collection.path), "3"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    i = 0
    while any(reader.poll() is None for reader in readers):
        i += 1
        ids = [str(j) for j in range(i, i + 3)]
        metadata = [{"even": j % 2 == 0} for j in range(i, i + 3)]
        collection.add(random_vectors([1, 2, 3], seed=i), ids=ids, metadata=metadata)
        if i % 3 == 0:
            collection.delete([str(i - 2), str(i)], missing_ok=True)
        if i % 7 == 0:
            collection.optimize()
    for reader in readers:
        out, err = reader.communicate()
        assert reader.returncode == 0, err
        assert int(out) > 0


def test_threads_of_one_collection_write_in_turn(collection: Collection) -> None:
    errors: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for i in range(6):
                collection.add(random_vectors([2], seed=name * 10 + i), ids=[f"t{name}-{i}"])
                assert f"t{name}-{i}" in collection
                assert len(collection.search(QUERY, k=10)) == 10
                if i % 2:
                    collection.delete([f"t{name}-{i}"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(collection) == 40 + 4 * 3


def test_a_write_inside_a_write_fails_at_once(collection: Collection) -> None:
    with pytest.raises(LockedError, match="inside another"):
        collection.add(
            random_vectors([2]), ids=["a"], progress=lambda progress: collection.optimize()
        )
    assert "a" in collection  # that commit was done
    collection.delete(["a"])


def test_a_failed_add_shows_nothing_of_other_writers(collection: Collection) -> None:
    other = gingham.open(collection.path)
    other.add(random_vectors([2]), ids=["new"])
    with pytest.raises(InputError):
        collection.add(random_vectors([2]), ids=[""])
    assert "new" not in collection
    collection.refresh()
    assert "new" in collection


def test_the_catalogs_log_stays_small(collection: Collection) -> None:
    wal = Path(f"{collection.path}/catalog.sqlite-wal")
    for i in range(400):
        collection.add(random_vectors([1]), ids=["same"], metadata=[{"text": "x" * 20_000, "i": i}])
    assert wal.stat().st_size < 24 << 20  # 400 commits of 40 kB and more would be twice that
    collection.close()
    assert not wal.exists()  # a closed collection is one complete file


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_refused_openings_leave_nothing_open(collection: Collection) -> None:
    collection.close()
    connection = sqlite3.connect(collection.path / "catalog.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = len(os.listdir("/proc/self/fd"))
    kept = []
    for _ in range(5):
        with pytest.raises(gingham.VersionError) as caught:
            gingham.open(collection.path, read_only=True)
        kept.append(caught)
    assert len(os.listdir("/proc/self/fd")) == before


FULL = """
import resource, sys
import numpy as np
import gingham

collection = gingham.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
vectors = gingham.TokenVectors.from_arrays([np.ones((40_000, 16)) * 0.1])
try:
    collection.add(vectors, ids=["large"], metadata=[{"text": "x" * 3_000_000}])
except gingham.CollectionError as error:
    assert not isinstance(error, gingham.CorruptionError), error
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits file sizes with setrlimit")
@pytest.mark.parametrize("limit", [100_000, 1_500_000])
def test_a_full_disk_costs_nothing_that_was_there(collection: Collection, limit: int) -> None:
    """The first limit stops the vectors, the second the catalog."""
    before = collection.search(QUERY, k=50)
    collection.close()
    full = subprocess.run(
        [sys.executable, "-c", FULL, str(collection.path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert full.stdout.count("\n") == 1, full.stdout
    again = gingham.open(collection.path)
    assert again.search(QUERY, k=50) == before
    again.add(random_vectors([2]), ids=["now"])
    assert len(list((again.path / "segments").iterdir())) == 2
    again.verify()


def m002_for_this_test(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE documents ADD COLUMN source TEXT")


def test_an_older_collection_is_upgraded_when_opened_for_writing(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = collection.search(QUERY, k=50)
    collection.close()
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, m002_for_this_test))
    with pytest.raises(CollectionError, match="gingham optimize upgrades it"):
        gingham.open(collection.path, read_only=True)
    assert gingham.open(collection.path).search(QUERY, k=50) == before
    assert gingham.open(collection.path, read_only=True).search(QUERY, k=50) == before


def test_merging_interleaved_segments_keeps_the_order(tmp_path: Path) -> None:
    """Segments whose document numbers overlap in range: each document keeps its own vectors."""
    collection = gingham.open(tmp_path / "c")
    texts = random_vectors([1 + i % 4 for i in range(90)], seed=3)
    for start in range(0, 90, 10):
        names = [str(i) for i in range(start, start + 10)]
        collection.add(texts[start : start + 10], ids=names)
        replaced = random_vectors([2], seed=1000 + start)
        collection.add(replaced, ids=[str(start)])
        collection.delete([str(start + 5)])
    collection.optimize()
    numbers = np.concatenate([s.numbers for s in collection._snapshot.segments])
    assert (np.diff(numbers) >= 0).all()
    for start in range(0, 90, 10):
        best = collection.search(random_vectors([2], seed=1000 + start)[0], k=1)[0]
        assert best.id == str(start)
        own = texts[start + 3]
        assert collection.search(own, k=1)[0].id == str(start + 3)
        assert str(start + 5) not in collection


@pytest.mark.parametrize("depth", [65, 5000])
def test_metadata_may_not_be_bottomless(collection: Collection, depth: int) -> None:
    nested: object = 1
    for _ in range(depth):
        nested = [nested]
    with pytest.raises(InputError, match="nested deeper"):
        collection.add(random_vectors([2]), ids=["deep"], metadata=[{"a": nested}])


def test_vectors_need_a_dimension() -> None:
    with pytest.raises(InputError, match="dimension"):
        TokenVectors(np.zeros((2, 0), dtype=np.float32), np.array([0, 1, 2]))
