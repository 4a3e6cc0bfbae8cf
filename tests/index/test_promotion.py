"""When flat segments are compressed, with which codebook, and what a failure in between leaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gingham
from clustering import (
    add,
    array_files,
    codebooks,
    folders,
    listed,
    made,
    queries,
    topic_vectors,
)
from gingham import Collection, InputError, OptimizeProgress, TokenVectors
from gingham.codec import training
from gingham.index import promotion, writer
from gingham.index.catalog import Catalog
from gingham.index.clustered_segment import ClusteredWriter
from gingham.index.promotion import due, outgrown
from gingham.index.segment_writer import SegmentRecord
from gingham.kernels.codebook import BITS, MOST_DIMENSIONS

QUERY = queries(1)[0]


def flat(tokens: int, dim: int = 32) -> SegmentRecord:
    return SegmentRecord(tokens, "int8", dim, 1, tokens, 1)


def coded(tokens: int) -> SegmentRecord:
    return SegmentRecord(tokens, "residual", 32, 1, tokens, 1, codebook=3)


@pytest.mark.parametrize(
    ("records", "within", "at_end"),
    [
        ([], False, False),
        ([flat(promotion.FIRST - 1)], False, False),
        ([flat(promotion.FIRST - 9), flat(9)], False, True),
        ([coded(5), flat(promotion.NEXT - 1)], False, False),
        ([flat(promotion.NEXT - 4), coded(5), flat(4)], False, True),
        ([coded(promotion.AT_ONCE)], False, False),
        ([flat(promotion.AT_ONCE - 1)], False, True),
        ([flat(promotion.AT_ONCE)], True, True),
        ([coded(5), flat(promotion.AT_ONCE)], True, True),
        ([flat(promotion.AT_ONCE, dim=MOST_DIMENSIONS)], True, True),
        ([flat(promotion.AT_ONCE, dim=MOST_DIMENSIONS + 1)], False, False),
    ],
)
def test_when_it_is_due(records: list[SegmentRecord], within: bool, at_end: bool) -> None:
    assert due(records, at_end=False) == within
    assert due(records, at_end=True) == at_end


def test_when_a_codebook_is_outgrown() -> None:
    assert outgrown([], 0)
    assert not outgrown([100], 800)
    assert outgrown([100], 801)
    assert not outgrown([100, 1000], 8000)
    assert outgrown([100, 1000], 8001)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tokens are enough: 400 for the first time, then 100; a codebook serves up to twice."""
    monkeypatch.setattr(promotion, "FIRST", 400)
    monkeypatch.setattr(promotion, "NEXT", 100)
    monkeypatch.setattr(promotion, "_GROWTH", 2)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each codebook was trained on."""
    counts: list[int] = []
    real = promotion.train

    def train(segments: Any, *rest: Any) -> Any:
        counts.append(sum(segment.record.tokens for segment in segments))
        return real(segments, *rest)

    monkeypatch.setattr(promotion, "train", train)
    return counts


def clustered_tokens(collection: Collection) -> tuple[int, int]:
    info = collection.info()
    return info.clustered, info.tokens - info.clustered


def test_a_growing_collection(tmp_path: Path, small: None, trainings: list[int]) -> None:
    collection = gingham.open(tmp_path / "c")
    add(collection, range(39), tokens=10)
    assert (clustered_tokens(collection), trainings) == ((0, 390), [])
    collection.optimize()  # too small: nothing to compress
    assert clustered_tokens(collection) == (0, 390)
    add(collection, range(39, 41), tokens=10)
    assert (clustered_tokens(collection), trainings) == ((410, 0), [410])

    add(collection, range(41, 50), tokens=10)  # flat again, and quick
    assert (clustered_tokens(collection), trainings) == ((410, 90), [410])
    add(collection, range(50, 52), tokens=10)  # the same codebook
    assert (clustered_tokens(collection), trainings) == ((520, 0), [410])
    assert len(codebooks(collection)) == 1

    add(collection, range(52, 81), tokens=10)  # 810 are not yet more than twice 410
    assert (clustered_tokens(collection), trainings) == ((810, 0), [410])
    add(collection, range(81, 92), tokens=10)  # now it is outgrown
    assert (clustered_tokens(collection), trainings) == ((920, 0), [410, 920])
    assert len(codebooks(collection)) == 2
    assert [book.tokens for book in collection._snapshot._catalog.codebooks()] == [410, 920]

    add(collection, range(92, 103), tokens=10)  # the latest codebook
    assert trainings == [410, 920]
    for parameters in (None, gingham.SearchParameters(2, 2, 5, 3)):
        hits = collection.search(QUERY, k=200, parameters=parameters)
        assert {hit.id for hit in hits} == {f"d{i}" for i in range(103)}
        best = collection.search(topic_vectors([10] * 11, seed=92000)[0], parameters=parameters)
        assert best[0].id == "d92"
    collection.verify()
    assert folders(collection.path) == listed(collection)

    # What the first codebook coded goes away, and with it the codebook.
    first = codebooks(collection)[0]
    collection.delete([f"d{i}" for i in range(81)])
    collection.optimize()
    assert first not in codebooks(collection)
    assert folders(collection.path) == listed(collection)
    assert len(collection._snapshot._catalog.codebooks()) == 1
    assert len(collection.search(QUERY, k=200)) == 22


def test_a_shrunken_collection_stays_compressed(
    tmp_path: Path, small: None, trainings: list[int]
) -> None:
    collection = gingham.open(tmp_path / "c")
    add(collection, range(50), tokens=10)
    collection.delete([f"d{i}" for i in range(1, 50)])
    collection.optimize()
    assert clustered_tokens(collection) == (10, 0)
    add(collection, range(1, 10), tokens=10)
    assert clustered_tokens(collection) == (10, 90)
    add(collection, range(10, 12), tokens=10)
    assert (clustered_tokens(collection), trainings) == ((120, 0), [500])
    assert len(collection.search(QUERY, k=50)) == 12


def test_many_additions_keep_few_segments(tmp_path: Path, small: None) -> None:
    collection = gingham.open(tmp_path / "c")
    for i in range(0, 330, 11):
        add(collection, range(i, i + 11), tokens=10)
    assert clustered_tokens(collection)[1] < 100
    assert collection.info().segments <= 8 * len(codebooks(collection))
    assert len(collection.search(QUERY, k=500)) == 330
    collection.verify()


def test_within_a_long_add_it_is_coded_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainings: list[int]
) -> None:
    """The codebook is made with what is there by then."""
    monkeypatch.setattr("gingham.intake._BATCH_DOCUMENTS", 10)
    monkeypatch.setattr(promotion, "AT_ONCE", 300)
    seen: list[tuple[int, int]] = []
    collection = gingham.open(tmp_path / "c")
    collection.add(
        topic_vectors([10] * 75),
        ids=[str(i) for i in range(75)],
        progress=lambda progress: seen.append(clustered_tokens(collection)),
    )
    assert seen == [
        (0, 100),
        (0, 200),
        (300, 0),
        (300, 100),
        (300, 200),
        (600, 0),
        (600, 100),
        (600, 150),
    ]
    assert trainings == [300]
    assert len(collection.search(QUERY, k=100)) == 75


def test_the_stages_are_told_in_order(tmp_path: Path, small: None) -> None:
    collection = gingham.open(tmp_path / "c")
    for i in range(0, 38, 2):
        add(collection, range(i, i + 2), tokens=10)

    def check(reports: list[OptimizeProgress], stages: list[str]) -> None:
        assert list(dict.fromkeys(report.stage for report in reports)) == stages
        order = [(stages.index(report.stage), report.done) for report in reports]
        assert order == sorted(order)
        assert all(0 <= report.done <= report.total for report in reports)
        assert all(report.total > 0 for report in reports)

    told: list[OptimizeProgress] = []
    vectors = topic_vectors([10] * 5, seed=4)
    collection.add(vectors, ids=list("abcde"), coding=told.append)
    check(told, ["sampling", "clustering", "coding", "listing"])

    told.clear()
    add(collection, range(50, 55))
    collection.delete(["d51", "d3"])
    collection.optimize(progress=told.append)
    check(told, ["coding", "listing", "merging"])
    told.clear()
    collection.optimize(progress=told.append)
    assert told == []


@pytest.mark.parametrize("bits", BITS)
def test_the_same_documents_give_the_same_bytes(
    tmp_path: Path, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "_GROWTH", 2)
    made_alike = []
    for name, threads in (("one", 1), ("two", 2), ("again", 1)):
        collection = made(tmp_path / name, 60, bits, threads=threads)
        add(collection, range(60, 200))
        collection.optimize()  # with a second codebook
        collection.delete(["d7", "d77"])
        collection.optimize()
        made_alike.append(array_files(collection.path))
    assert len(codebooks(collection)) == 2
    assert made_alike[0] == made_alike[1] == made_alike[2]


# Vectors that cannot be compressed --------------------------------------------------------------


def long_vectors(n: int) -> TokenVectors:
    """The last text has one vector that is too long."""
    vectors = topic_vectors([10] * n, seed=3)
    vectors.values[-1] *= 1.1
    return vectors


def test_other_lengths_keep_it_flat(tmp_path: Path, small: None, trainings: list[int]) -> None:
    collection = gingham.open(tmp_path / "c")
    collection.add(long_vectors(50), ids=[f"d{i}" for i in range(50)])
    assert (clustered_tokens(collection), trainings) == ((0, 500), [500])
    assert folders(collection.path) == listed(collection)
    before = collection.search(QUERY, k=60)
    for i in range(50, 90, 20):  # never tried again by an add
        add(collection, range(i, i + 20), tokens=10)
    assert (clustered_tokens(collection), trainings) == ((0, 900), [500])

    with pytest.raises(InputError, match="not of unit length") as caught:
        collection.optimize(bits=4)
    assert "\n" not in str(caught.value)
    collection.optimize()  # no error: nobody asked for it
    assert folders(collection.path) == listed(collection)
    assert clustered_tokens(collection) == (0, 900)
    assert len(collection.search(QUERY, k=100)) == 90
    assert [h for h in collection.search(QUERY, k=100) if int(h.id[1:]) < 50] == before
    collection.verify()

    collection.delete(["d49"])
    collection.optimize(bits=4)  # the rest can be
    assert clustered_tokens(collection) == (890, 0)
    tried = len(trainings)
    add(collection, range(100, 112), tokens=10)  # and from now on is
    assert clustered_tokens(collection) == (1010, 0)
    assert len(trainings) == tried


def test_a_compressed_collection_keeps_other_lengths_flat(tmp_path: Path) -> None:
    collection = made(tmp_path / "c", 40)
    coded = collection.info().clustered
    collection.add(long_vectors(3), ids=list("abc"))
    with pytest.raises(InputError, match="unit length"):
        collection.optimize(bits=4)
    assert clustered_tokens(collection) == (coded, 30)
    assert len(collection.search(QUERY, k=50)) == 43
    collection.optimize()
    assert clustered_tokens(collection) == (coded, 30)
    assert folders(collection.path) == listed(collection)
    collection.verify()


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.9, 1.1, 60000.0])
def test_any_wrong_length_is_noticed(tmp_path: Path, factor: float) -> None:
    collection = gingham.open(tmp_path / "c")
    vectors = topic_vectors([2] * 9)
    vectors.values[7] *= factor
    collection.add(vectors, ids=list("abcdefghi"))
    with pytest.raises(InputError, match="unit length"):
        collection.optimize(bits=8)
    assert len(collection.search(QUERY)) == 9


def test_more_dimensions_than_codebooks_have(tmp_path: Path, small: None) -> None:
    collection = gingham.open(tmp_path / "c")
    dim = MOST_DIMENSIONS + 1
    vectors = np.eye(dim, dtype=np.float32)[:450]
    collection.add(TokenVectors.from_arrays([vectors]), ids=["wide"])
    assert clustered_tokens(collection) == (0, 450)
    with pytest.raises(InputError, match="4096 dimensions"):
        collection.optimize(bits=8)
    assert folders(collection.path) == listed(collection)
    assert collection.search(vectors[:1])[0].score == pytest.approx(1)


# Failures and kills -----------------------------------------------------------------------------


class Fault(Exception):
    pass


def fail(*_: Any, **__: Any) -> Any:
    raise Fault


def full_disk(*_: Any, **__: Any) -> Any:
    raise OSError(28, "No space left on device")


FAULTS: dict[str, Callable[[pytest.MonkeyPatch, Callable[..., Any]], None]] = {
    "train": lambda patch, fault: patch.setattr(training, "train", fault),
    "write_codebook": lambda patch, fault: patch.setattr(writer, "write_codebook", fault),
    "open_codebook": lambda patch, fault: patch.setattr(writer, "open_codebook", fault),
    "append": lambda patch, fault: patch.setattr(ClusteredWriter, "append", fault),
    "postings": lambda patch, fault: patch.setattr(
        "gingham.index.clustered_segment.postings", fault
    ),
    "finish": lambda patch, fault: patch.setattr(ClusteredWriter, "finish", fault),
    "publish": lambda patch, fault: patch.setattr(writer, "publish", fault),
    "in the transaction": lambda patch, fault: patch.setattr(Catalog, "add_codebook", fault),
}


@pytest.mark.parametrize("point", FAULTS)
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = made(tmp_path / "c", 30)
    add(collection, range(30, 60))
    collection.delete(["d2", "d33"])
    before = collection.search(QUERY, k=100)
    there, files = folders(collection.path), array_files(collection.path)
    with monkeypatch.context() as patch:
        FAULTS[point](patch, fail)
        with pytest.raises(Fault):
            collection.optimize(bits=8)
        assert collection.search(QUERY, k=100) == before
        collection.verify()
        assert gingham.open(collection.path, read_only=True).search(QUERY, k=100) == before
    assert there <= folders(collection.path)
    collection.delete(["nobody"], missing_ok=True)  # the next writer tidies up
    assert array_files(collection.path) == files
    collection.optimize(bits=8)
    assert clustered_tokens(collection)[1] == 0
    assert folders(collection.path) == listed(collection)
    assert {hit.id for hit in collection.search(QUERY, k=100)} == {hit.id for hit in before}
    collection.verify()


@pytest.mark.parametrize("point", ["write_codebook", "append", "finish"])
def test_a_full_disk_is_our_error(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = made(tmp_path / "c", 30, None)
    before = collection.search(QUERY, k=100)
    with monkeypatch.context() as patch:
        FAULTS[point](patch, full_disk)
        with pytest.raises(gingham.CollectionError, match="No space left") as caught:
            collection.optimize(bits=4)
    assert not isinstance(caught.value, gingham.CorruptionError)
    assert collection.search(QUERY, k=100) == before
    collection.optimize(bits=4)
    assert folders(collection.path) == listed(collection)


def test_an_add_whose_coding_fails_has_stored_all(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = gingham.open(tmp_path / "c")
    with monkeypatch.context() as patch:
        FAULTS["finish"](patch, fail)
        with pytest.raises(Fault):
            add(collection, range(50), tokens=10)
    assert len(collection.search(QUERY, k=100)) == 50
    add(collection, range(50), tokens=10)  # all unchanged; now it is coded
    assert clustered_tokens(collection) == (500, 0)
    assert folders(collection.path) == listed(collection)


KILLED = """
import os, sys
import gingham
from gingham.index import clustered_segment, codebook_files, commit, promotion, writer
from gingham.index.catalog import Catalog

point, path = sys.argv[1:]
def die(*args, **kwargs):
    os.kill(os.getpid(), 9)
if point == "codebook":
    codebook_files.sync_folder = die
elif point == "coding":
    clustered_segment.ClusteredWriter.append = die
elif point == "segment":
    clustered_segment.sync_folder = die
elif point == "transaction":
    Catalog.drop_unused_codebooks = die
elif point == "committed":
    commit.remove_folders = lambda folders: die() if list(folders) else None
gingham.open(path).optimize(bits=8)
"""


@pytest.mark.parametrize(
    ("point", "committed"),
    [
        ("codebook", False),
        ("coding", False),
        ("segment", False),
        ("transaction", False),
        ("committed", True),
    ],
)
def test_killed_anywhere_it_is_before_or_after(tmp_path: Path, point: str, committed: bool) -> None:
    collection = made(tmp_path / "c", 30, None)
    before = collection.search(QUERY, k=100)
    collection.close()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, point, str(collection.path)], check=False
    )
    assert killed.returncode == -9
    reader = gingham.open(collection.path, read_only=True)
    assert folders(reader.path) > listed(reader)  # garbage
    assert (reader.info().clustered > 0) == committed
    scores = {hit.id: hit.score for hit in reader.search(QUERY, k=100)}
    assert scores == pytest.approx({hit.id: hit.score for hit in before}, abs=0.05)
    if not committed:
        assert reader.search(QUERY, k=100) == before
    reader.verify()

    again = gingham.open(collection.path)
    again.delete(["nobody"], missing_ok=True)
    assert folders(again.path) == listed(again)
    again.optimize(bits=8)
    assert clustered_tokens(again)[1] == 0
    again.verify()
    assert {hit.id for hit in again.search(QUERY, k=100)} == {hit.id for hit in before}
    assert reader.search(QUERY, k=100, texts=False)  # still what it saw


def test_bits_are_chosen_when_a_collection_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "FIRST", 400)
    vectors = topic_vectors([5] * 100)
    ids = [f"d{i}" for i in range(100)]
    for bits in (2, None):
        with gingham.open(tmp_path / str(bits), bits=bits) as collection:
            collection.add(vectors, ids=ids)
            collection.optimize()
        with gingham.open(tmp_path / str(bits), bits=8) as collection:  # it has its own already
            collection.add(vectors[:50], ids=[f"e{i}" for i in range(50)])
            info = collection.info()
            assert info.clustered == (0 if bits is None else 500)
            assert bits is None or info.bits == bits
            if bits is None:
                collection.optimize(bits=4)  # asked for by name
                assert collection.info().clustered == 750
    for wrong in (3, 0, True, "4"):
        with pytest.raises(InputError, match="bits must be one of 1, 2, 4, 8"):
            gingham.open(tmp_path / "new", bits=wrong)  # type: ignore[arg-type]
