"""Descriptors: how many a collection keeps open, and that none is left open."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest

import gingham
from clustering import add
from concurrency.scripts import run
from gingham import Collection
from gingham.index import merge
from gingham.index.catalog import Catalog
from gingham.index.mapping import map_file
from support import random_vectors

QUERY = random_vectors([3], seed=99)[0]
# For each snapshot that is held the catalog and its log; once a process their shared memory, and
# the lock and a connection of a write.
A_SNAPSHOT = 2
A_PROCESS = 4

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc"
)


def count() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_openings_leave_nothing_open(collection: Collection) -> None:
    collection.close()
    before = count()
    for i in range(250):
        with gingham.open(collection.path, read_only=i % 3 > 0, threads=1) as opened:
            if i % 10 == 0:
                assert len(opened.search(QUERY, k=50)) == 40
            opened.refresh()
            opened.refresh()
    assert count() == before


def test_searches_and_refreshes_leave_nothing_open(collection: Collection) -> None:
    writer = gingham.open(collection.path)
    writer.add(random_vectors([2]), ids=["x"])
    collection.refresh()
    before = count()
    most = 0
    for i in range(500):
        collection.refresh()
        collection.search(QUERY, k=5)
        if i % 50 == 0:
            writer.add(random_vectors([2], seed=i), ids=["x"])
            writer.delete(["x"])
            most = max(most, count())
    assert most <= before + A_SNAPSHOT
    assert count() == before


def test_refused_openings_and_failed_writes_leave_nothing_open(collection: Collection) -> None:
    before = count()
    for _ in range(50):
        with pytest.raises(gingham.InputError):
            collection.add(random_vectors([2]), ids=[""])
        with pytest.raises(gingham.DimensionError):
            collection.add(random_vectors([2], dim=9), ids=["a"])
        with pytest.raises(gingham.CollectionNotFoundError):
            gingham.open(collection.path / "segments", read_only=True)
    assert count() == before


def test_how_many_are_open_does_not_depend_on_the_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred segments, flat and clustered: a process has as many open as with one."""
    monkeypatch.setattr(merge, "_FACTOR", 1000)
    collection = gingham.open(tmp_path / "c")
    add(collection, range(30))
    collection.optimize(bits=4)
    before = count()
    for i in range(100):
        add(collection, range(100 + 2 * i, 102 + 2 * i))
    reader = gingham.open(tmp_path / "c", read_only=True)
    assert len(reader._snapshot.segments) == 101
    assert count() <= before + A_SNAPSHOT
    assert len(reader.search(random_vectors([3], dim=32)[0], k=500)) == 230
    reader.close()
    assert count() <= before


def test_each_snapshot_that_is_held_keeps_two_open(collection: Collection) -> None:
    collection.close()
    before = count()
    readers = [gingham.open(collection.path, read_only=True) for _ in range(20)]
    assert count() <= before + 20 * A_SNAPSHOT + A_PROCESS
    for reader in readers:
        reader.close()
    assert count() == before


LIMITED = """
import resource
import numpy as np
import gingham
from gingham.index import merge

resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
merge._FACTOR = 1000
collection = gingham.open(sys.argv[1])
for i in range(60):
    collection.add(gingham.TokenVectors.from_arrays([np.eye(16)[:3]]), ids=[f"d{i}"])
assert len(collection._snapshot.segments) == 60
collection.optimize(bits=4)
collection.verify()
print(len(collection.search(np.eye(16, dtype=np.float32)[:3], k=100)))
"""


def test_forty_eight_descriptors_are_enough_for_everything(tmp_path: Path) -> None:
    assert run(LIMITED, tmp_path / "c") == "60\n"


def test_threads_that_search_and_refresh_at_once_leave_nothing_open(
    collection: Collection,
) -> None:
    collection.refresh()
    before = count()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(100):
                collection.refresh()
                collection.search(QUERY, k=5)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    # SQLite keeps the descriptors of closed connections for the next ones, while any is open.
    assert count() <= before + 6 * A_SNAPSHOT
    collection.close()
    assert count() < before


def test_a_mapping_lives_as_long_as_its_last_view_and_keeps_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 64)

    def mapped() -> bool:
        return str(path) in Path("/proc/self/maps").read_text()

    before = count()
    descriptor = os.open(path, os.O_RDONLY)
    view = map_file(descriptor, 256 * 64)
    os.close(descriptor)
    assert count() == before
    assert mapped()
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 1
    part = view[256:512]
    path.unlink()
    del view
    assert bytes(part) == bytes(range(256))
    assert mapped()
    del part
    gc.collect()
    assert not mapped()


def locks(path: Path) -> list[str]:
    """The kinds of the locks that this process has on a file, by what Linux says."""
    inode, own = f":{path.stat().st_ino}", str(os.getpid())
    rows = [row.split() for row in Path("/proc/locks").read_text().splitlines()]
    return [row[3] for row in rows if row[4] == own and row[5].endswith(inode)]


def test_sqlites_locks_outlast_all_that_is_done_beside(
    collection: Collection, tmp_path: Path
) -> None:
    """A process that opens and closes a file loses its locks on it: nobody may but SQLite.

    Without its lock a snapshot would see its pages change, or the log go away.
    """
    files = [Path(f"{collection.path}/catalog.sqlite{suffix}") for suffix in ("", "-shm")]
    writer = gingham.open(collection.path)
    writer.add(random_vectors([2]), ids=["log"])
    collection.refresh()
    if not locks(files[0]):
        pytest.skip("/proc/locks does not say who holds what here")
    doing = [
        lambda: gingham.open(collection.path).close(),
        lambda: gingham.open(collection.path, read_only=True).close(),
        lambda: Catalog(collection.path, writable=True).database.close(),
        collection.info,
        collection.verify,
        lambda: gingham.check(collection.path),
        lambda: writer.backup(tmp_path / "backup"),
        writer.optimize,
        lambda: writer.delete(["d1"]),
        lambda: writer.search(QUERY),
        writer.close,
    ]
    for one in doing:
        one()
        assert "READ" in locks(files[0]), one
        assert "READ" in locks(files[1]), one
    assert "d1" in collection


def test_a_repair_beside_open_collections_leaves_sqlites_locks(
    collection: Collection, tmp_path: Path
) -> None:
    """It copies the catalog: by way of another process, where this one has it open."""
    from gingham.index.salvage import copy_catalog

    catalog = collection.path / "catalog.sqlite"
    if not locks(catalog):
        pytest.skip("/proc/locks does not say who holds what here")
    copy_catalog(collection.path, tmp_path)
    assert "READ" in locks(catalog)
    assert (tmp_path / "catalog.sqlite").read_bytes()[:15] == b"SQLite format 3"
    collection.close()
    copy_catalog(collection.path, tmp_path)  # nobody to disturb: without one
    assert not (collection.path / "catalog.sqlite-wal").exists()
