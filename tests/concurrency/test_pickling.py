"""Pickled, a collection is its path and how it was opened."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import gingham
from gingham import Collection, CollectionError, CollectionNotFoundError, LockedError, ReadOnlyError
from gingham.index.writer import IndexWriter
from support import random_vectors

QUERY = random_vectors([3], seed=99)[0]


def again(collection: Collection, protocol: int = pickle.HIGHEST_PROTOCOL) -> Collection:
    return loaded(pickle.dumps(collection, protocol))


def loaded(pickled: bytes) -> Collection:
    """What was pickled; this test made it."""
    collection: Collection = pickle.loads(pickled)  # noqa: S301
    return collection


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_collection_is_opened_where_it_is_loaded(
    collection: Collection, protocol: int
) -> None:
    other = again(collection, protocol)
    assert other.search(QUERY, k=50) == collection.search(QUERY, k=50)
    other.add(random_vectors([2]), ids=["new"])
    assert "new" not in collection
    collection.refresh()
    assert "new" in collection
    other.close()
    assert len(collection.search(QUERY)) == 10


def test_no_data_is_pickled(collection: Collection) -> None:
    small = len(pickle.dumps(collection))
    collection.add(random_vectors([5] * 200, seed=3), ids=[f"more{i}" for i in range(200)])
    assert len(pickle.dumps(collection)) == small < 1000


def test_it_sees_the_latest_commit(collection: Collection) -> None:
    pickled = pickle.dumps(collection)
    gingham.open(collection.path).add(random_vectors([2]), ids=["later"])
    assert "later" in loaded(pickled)


def test_how_it_was_opened_is_kept(collection: Collection) -> None:
    reader = again(gingham.open(collection.path, read_only=True))
    assert reader.read_only
    with pytest.raises(ReadOnlyError):
        reader.delete(["d1"])
    patient = again(gingham.open(collection.path, timeout=0.1))
    with IndexWriter(collection.path), pytest.raises(LockedError, match=r"waited 0\.1 s"):
        patient.delete(["d1"])


def test_what_a_new_collection_was_to_be_is_kept(tmp_path: Path) -> None:
    new = again(gingham.open(tmp_path / "c", codec="fp16", bits=2))
    new.add(random_vectors([2]), ids=["a"])
    assert (new.info().codec, new.info().bits) == ("fp16", 2)


def test_a_closed_collection_stays_closed(collection: Collection) -> None:
    collection.close()
    closed = again(collection)
    assert repr(closed) == f"Collection({str(collection.path)!r}, closed)"
    with pytest.raises(CollectionError, match="was closed; open it again"):
        closed.search(QUERY)


def test_a_collection_that_is_gone_is_not_made_anew(collection: Collection, tmp_path: Path) -> None:
    pickled = pickle.dumps(collection)
    collection.close()
    collection.path.rename(tmp_path / "elsewhere")
    with pytest.raises(CollectionNotFoundError):
        loaded(pickled)
    assert not collection.path.exists()


def test_a_relative_path_leads_there_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    collection = gingham.open("c")
    pickled = pickle.dumps(collection)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert loaded(pickled).path == tmp_path / "c"
    assert os.listdir(".") == []


def test_a_deep_copy_is_a_collection_of_its_own(collection: Collection) -> None:
    other = copy.deepcopy(collection)
    other.close()
    with pytest.raises(CollectionError, match="was closed"):
        len(other)
    assert len(collection) == 40


SPAWN = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import numpy as np
import gingham
from concurrency.asking import ask, ask_text

if __name__ == "__main__":
    collection = gingham.open(sys.argv[1])
    reader = gingham.open(sys.argv[1], read_only=True)
    texts = gingham.open(sys.argv[2], encoder=gingham.Encoder())
    query = np.eye(16, dtype=np.float32)[:3]
    expected = [(hit.id, hit.score) for hit in collection.search(query, k=50)]
    context = multiprocessing.get_context(sys.argv[3])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for answer in pool.map(ask, [collection, reader] * 2, [query] * 4):
            assert answer == expected
        print(pool.submit(ask_text, texts, "the sea").result())
"""


@pytest.mark.parametrize("how", ["spawn", "forkserver"])
def test_processes_that_are_spawned_may_be_handed_one(
    collection: Collection, tmp_path: Path, how: str
) -> None:
    if how == "forkserver" and not hasattr(os, "fork"):
        pytest.skip("cannot fork")
    with gingham.open(tmp_path / "texts") as docs:
        docs.add(["The moon pulls at the sea."], ids=["tide"])
    script = tmp_path / "spawn.py"
    start = f"import sys; sys.path.insert(0, {str(Path(__file__).parent.parent)!r})\n"
    script.write_text(start + SPAWN)
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore::DeprecationWarning", script),
            *(collection.path, tmp_path / "texts", how),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("tide\n", "", 0)
