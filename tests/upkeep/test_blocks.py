"""Damage costs the documents that have bytes in a damaged block, and no others."""

from __future__ import annotations

import errno
import random
import shutil
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gingham
from clustering import queries, topic_vectors
from damaging import EVERYTHING, copied, files_of, without
from gingham.codec import training
from gingham.index.blocks import BLOCK, BlockSums, UInt32, block_range, n_blocks
from gingham.index.catalog import content_digest
from gingham.index.layout import Component, MappedArray
from gingham.index.snapshot import Snapshot
from gingham.index.writer import IndexWriter, NewDocument
from gingham.upkeep import files, salvaging
from golden import make as golden

COUNTS = [1 + i % 3 for i in range(900)]  # passages a document
LENGTHS = [1 + i * 7 % 13 for i in range(sum(COUNTS))]  # tokens a passage
KINDS = {"int8": None, "fp16": None, "clustered": 4, "bits_8": 8}
# Whose damage never costs a document.
FREE = {"checksums.u32", "lists.i64", "postings.u16"}
_QUERIES = queries(2)
Answers = list[dict[str, float]]


@given(st.lists(st.binary(max_size=9000), max_size=6))
@settings(max_examples=60, deadline=None)
def test_checksums_do_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    sums = BlockSums()
    for piece in pieces:
        sums.update(piece)
    whole = b"".join(pieces)
    cut = [whole[slice(*block_range(i, len(whole)))] for i in range(n_blocks(len(whole)))]
    assert b"".join(cut) == whole
    assert sums.whole == zlib.crc32(whole)
    assert sums.blocks.tolist() == [zlib.crc32(block) for block in cut]


@pytest.mark.parametrize("size", [0, 1, 4031, 4032, 4033, 8128, 5 << 20, (5 << 20) + 1])
def test_blocks_are_those_of_the_file(size: int) -> None:
    """The header is in the first, so that each is where a disk has a block."""
    sums = BlockSums()
    content = random.Random(size).randbytes(size)
    sums.update(content)
    assert len(sums.blocks) == n_blocks(size) == (-(-(64 + size) // BLOCK) if size else 0)
    assert sums.whole == zlib.crc32(content)
    if size > BLOCK:
        assert sums.blocks[1] == zlib.crc32((bytes(64) + content)[BLOCK : 2 * BLOCK])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Collections of some blocks a file, one of each kind."""
    folder = tmp_path_factory.mktemp("large")
    for kind in KINDS:
        make(folder / kind, kind)
    return folder


def make(path: Path, kind: str, seed: int = 0) -> None:
    """One segment of 900 documents of 1 to 3 passages."""
    digest = content_digest(None, "{}")
    documents = [
        NewDocument(f"p{i}", None, "{}", digest, [(10 * j, 10 * j + 9) for j in range(count)])
        for i, count in enumerate(COUNTS)
    ]
    with gingham.open(path, threads=1) as collection:
        with IndexWriter(path) as writer:
            vectors = topic_vectors(LENGTHS, seed=seed, topics=200)
            writer.add(documents, [vectors], "fp16" if kind == "fp16" else "int8")
        few = dict.fromkeys(training.TOKENS_PER_CENTROID, 16)  # more centroids than so little has
        with mock.patch.dict(training.TOKENS_PER_CENTROID, few):
            collection.optimize(bits=KINDS[kind])


def answers_at(path: Path) -> Answers:
    with gingham.open(path, read_only=True, threads=1) as opened:
        return [
            {h.id: h.score for h in opened.search(query, k=1000, exact=True, texts=False)}
            for query in _QUERIES
        ]


def owners(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """For a file of the one segment: the document numbers of each row, first and last."""
    [segment] = Snapshot(path).segments
    numbers = np.asarray(segment.numbers)
    component = next(c for c in Component if c.filename == name)
    if component in (Component.NUMBERS, Component.PASSAGES):
        before = np.concatenate([numbers[:1], numbers[:-1]])
        return before, np.concatenate([numbers[1:], numbers[-1:]])
    if component is Component.SPANS:
        return numbers, numbers
    if component is Component.OFFSETS:
        return np.concatenate([numbers[:1], numbers]), np.concatenate([numbers, numbers[-1:]])
    of_tokens = np.repeat(numbers, np.diff(segment.offsets))
    return of_tokens, of_tokens


def touched(path: Path, name: str, blocks: set[int]) -> set[str]:
    """Ids of the documents that have bytes in these blocks of a file, or may have had."""
    first, last = owners(path, name)
    [file] = path.glob(f"segments/*/{name}")
    width = (file.stat().st_size - 64) // len(first)
    found: set[int] = set()
    for row in range(len(first)):
        start, stop = 64 + row * width, 64 + (row + 1) * width - 1
        if any(block in blocks for block in range(start // BLOCK, stop // BLOCK + 1)):
            found.update(range(int(first[row]), int(last[row]) + 1))
    return {f"p{number}" for number in found}


def flip(content: bytearray, dice: random.Random) -> set[int]:
    places = [dice.randrange(64, len(content)) for _ in range(dice.randint(1, 2))]
    for at in places:
        content[at] ^= 1 << dice.randrange(8)
    return {at // BLOCK for at in places}


def blank(content: bytearray, dice: random.Random) -> set[int]:
    """A stretch that a disk gave back as zeros."""
    start = dice.randrange(64, len(content))
    stop = min(start + dice.randrange(1, 3 * BLOCK), len(content))
    before = bytes(content)
    content[start:stop] = bytes(stop - start)
    size = len(content)
    return {
        block
        for block in range(-(-size // BLOCK))
        if content[block * BLOCK : (block + 1) * BLOCK]
        != before[block * BLOCK : (block + 1) * BLOCK]
    }


def cut(content: bytearray, dice: random.Random) -> set[int]:
    keep, size = dice.randrange(64, len(content)), len(content)
    del content[keep:]
    return set(range(keep // BLOCK, -(-size // BLOCK)))


DAMAGES: tuple[Callable[[bytearray, random.Random], set[int]], ...] = (flip, blank, cut)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_costs_exactly_what_has_bytes_in_damaged_blocks(
    large: Path, tmp_path: Path, kind: str
) -> None:
    template = large / kind
    before = answers_at(template)
    assert len(before[0]) == len(COUNTS)
    names = sorted(file.name for file in template.glob("segments/*/*"))
    assert "checksums.u32" in names
    kept_some = 0
    for position, name in enumerate(names):
        for turn, damage in enumerate(DAMAGES):
            if not EVERYTHING and turn != position % len(DAMAGES):
                continue
            for seed in range(8 if EVERYTHING else 1):
                path = copied(template, tmp_path / "c")
                [file] = path.glob(f"segments/*/{name}")
                content = bytearray(file.read_bytes())
                blocks = damage(content, random.Random(f"{kind} {name} {turn} {seed}"))
                file.write_bytes(content)
                if not blocks:
                    shutil.rmtree(path)
                    continue
                expected = set() if name in FREE else touched(template, name, blocks)
                found = gingham.check(path).findings
                if name not in FREE:
                    told = {id for finding in found for id in finding.documents}
                    assert told == expected, (name, damage)
                done = gingham.repair(path)
                assert (set(done.dropped), done.left) == (expected, ()), (name, damage)
                assert answers_at(path) == without(before, expected), (name, damage)
                assert done.kept == done.documents == len(COUNTS) - len(expected)
                kept_some += 0 < len(expected) < len(COUNTS)
                shutil.rmtree(path)
    assert kept_some >= {"int8": 3, "fp16": 2, "clustered": 3, "bits_8": 3}[kind]


def test_the_blocks_are_named(large: Path, tmp_path: Path) -> None:
    path = copied(large / "int8", tmp_path / "c")
    [file] = path.glob("segments/*/vectors.i8")
    content = bytearray(file.read_bytes())
    for at in (64, 5 * BLOCK, 6 * BLOCK, 9 * BLOCK + 1):
        content[at] ^= 1
    file.write_bytes(content)
    [finding] = gingham.check(path).findings
    total = -(-len(content) // BLOCK)
    assert finding.problem.endswith(f"of its {total} blocks of 4096 bytes 4 are damaged: 0, 5–6, 9")
    assert "keeps all others" in finding.remedy


def test_several_files_at_once(large: Path, tmp_path: Path) -> None:
    """Also the checksums themselves, elsewhere; and a header."""
    for kind in ("int8", "clustered"):
        path = copied(large / kind, tmp_path / kind)
        before, expected = answers_at(path), set()
        names = {"int8": ("vectors.i8", "scales.f32"), "clustered": ("codes.u8", "residuals.u8")}
        for name in names[kind]:
            [file] = path.glob(f"segments/*/{name}")
            content = bytearray(file.read_bytes())
            content[17] ^= 1  # of the header: all that it says is in the checksums too
            content[2 * BLOCK] ^= 1
            file.write_bytes(content)
            expected |= touched(large / kind, name, {2})
        [file] = path.glob("segments/*/checksums.u32")
        content = bytearray(file.read_bytes())
        content[-1] ^= 1  # of a block that is intact: a file that is whole needs none
        file.write_bytes(content)
        done = gingham.repair(path)
        assert (set(done.dropped), done.left) == (expected, ())
        assert answers_at(path) == without(before, expected)


def test_a_disk_that_cannot_read_some_blocks(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read around, never looked at through a mapping, where that would end the process."""
    path = copied(large / "clustered", tmp_path / "c")
    before = answers_at(path)
    [file] = path.glob("segments/*/residuals.u8")
    expected = touched(path, file.name, {3, 4})
    compare, read = files._compare, salvaging._read

    def failing(mapped: MappedArray, tell: files.Tell) -> UInt32:
        if mapped.path == file:
            raise OSError(errno.EIO, "Input/output error")
        return compare(mapped, tell)

    def some(opened: Any, start: int, stop: int) -> bytes:
        unread = opened.name == str(file) and start // BLOCK in (2, 3)
        return b"" if unread else read(opened, start, stop)

    monkeypatch.setattr(files, "_compare", failing)
    monkeypatch.setattr(salvaging, "_read", some)
    [finding] = gingham.check(path).findings
    assert finding.problem.startswith("cannot be read: Input/output error; of its")
    assert finding.problem.endswith("2 are damaged: 3–4")
    done = gingham.repair(path)
    assert (set(done.dropped), done.left) == (expected, ())
    assert answers_at(path) == without(before, expected)


@pytest.mark.parametrize("kind", ["clustered", "bits_8"])
def test_damaged_centroids_cost_the_passages_that_were_coded_with_them(
    large: Path, tmp_path: Path, kind: str
) -> None:
    """With 8 bits none: a residual is the vector."""
    path = copied(large / kind, tmp_path / "c")
    before = answers_at(path)
    [segment] = Snapshot(path).segments
    [file] = path.glob("codebooks/*/centroids.i8")
    content = bytearray(file.read_bytes())
    assert len(content) > 2 * BLOCK
    content[BLOCK + 77] ^= 4
    file.write_bytes(content)
    first, last = (BLOCK - 64) // 32, (2 * BLOCK - 64) // 32
    codes = np.asarray(segment.passages.codes).astype(np.int64)  # type: ignore[union-attr]
    centroids = (codes[:, 0] | codes[:, 1] << 8 | codes[:, 2] << 16) & (1 << 20) - 1
    bad = (centroids >= first) & (centroids < last)
    of_tokens = np.repeat(segment.numbers, np.diff(segment.offsets))
    expected = set() if kind == "bits_8" else {f"p{n}" for n in np.unique(of_tokens[bad])}
    assert len(expected) < len(COUNTS)
    done = gingham.repair(path)
    assert (set(done.dropped), done.left) == (expected, ())
    after = answers_at(path)
    for found, wanted in zip(after, without(before, expected), strict=True):
        assert found == pytest.approx(wanted, abs=1e-5)
    with gingham.open(path) as collection:
        assert collection.info().clustered == 0  # kept, uncompressed
        collection.optimize(bits=4)
        collection.verify()


# Their own file -----------------------------------------------------------------------------------


def test_checksums_take_a_thousandth(large: Path) -> None:
    for kind in KINDS:
        found = files_of(large / kind)
        own = sum(len(c) for name, c in found.items() if name.endswith("checksums.u32"))
        rest = sum(len(c) for name, c in found.items() if "/" in name) - own
        folders = {name.rpartition("/")[0] for name in found if "/" in name}
        assert own <= rest / 1024 + 4 * len(found) + 64 * 9 * len(folders)


def test_opening_and_searching_read_none(large: Path, tmp_path: Path) -> None:
    """They may be missing or anything: only a check minds."""
    path = copied(large / "clustered", tmp_path / "c")
    before = answers_at(path)
    for file in path.glob("*/*/checksums.u32"):
        file.unlink()
        file.mkdir()
    assert answers_at(path) == before
    with gingham.open(path) as collection:
        collection.delete(["p1"])
    found = gingham.check(path).findings
    assert {f.where.rpartition("/")[2] for f in found} == {"checksums.u32"}
    done = gingham.repair(path)
    assert (done.dropped, done.left) == ((), ())
    assert answers_at(path) == without(before, {"p1"})


def test_made_again_they_are_the_same(large: Path, tmp_path: Path) -> None:
    path = copied(large / "clustered", tmp_path / "c")
    before = {name: c for name, c in files_of(path).items() if "/" in name}
    for file in path.glob("*/*/checksums.u32"):
        file.unlink()
    found = gingham.check(path).findings
    assert [f.problem for f in found] == ["missing", "missing"]
    gingham.repair(path)
    assert {name: c for name, c in files_of(path).items() if "/" in name} == before


@pytest.mark.parametrize("name", [golden.FLAT, *golden.CLUSTERED.values()])
def test_older_collections_get_them_by_optimize(name: str, tmp_path: Path) -> None:
    """Until then they are searched, written to, checked and repaired as they always were."""
    path = copied(golden.HERE / name, tmp_path / "c")
    (path / golden.EXPECTED).unlink()
    gingham.open(path).close()
    assert not list(path.glob("*/*/checksums.u32"))
    assert gingham.check(path).sound
    with gingham.open(path) as collection:
        before = golden.answers(collection)
        collection.optimize()
        if name == golden.FLAT:  # else what is still flat is compressed
            assert golden.answers(collection) == before
    folders = {file.parent for file in path.glob("*/*/*")}
    assert {file.parent for file in path.glob("*/*/checksums.u32")} == folders
    assert gingham.check(path).sound
    generation = gingham.check(path).generation
    with gingham.open(path) as collection:
        collection.optimize()
    assert gingham.check(path).generation == generation  # once


def test_damage_is_never_sealed(tmp_path: Path) -> None:
    """Checksums that are made later are made of files that are whole."""
    path = copied(golden.HERE / "bits_4", tmp_path / "c")
    (path / golden.EXPECTED).unlink()
    with gingham.open(path) as collection:
        collection.optimize()
    for file in path.glob("*/*/checksums.u32"):
        file.unlink()
    [file] = path.glob("segments/*/residuals.u8")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.execute("DELETE FROM settings WHERE key = 'digests'")
    connection.close()
    with (
        gingham.open(path) as collection,
        pytest.raises(gingham.CorruptionError, match="residuals"),
    ):
        collection.optimize()
    assert not list(path.glob("segments/*/checksums.u32"))
    assert not list(path.glob("segments/.writing-*"))


def test_a_folder_that_is_swapped_after_a_repair_is_noticed(large: Path, tmp_path: Path) -> None:
    """A repair keeps, for what stays, the digests that tell it from another's."""
    for kind, catalog in (("int8", False), ("clustered", False), ("int8", True)):
        path = copied(large / kind, tmp_path / f"{kind} {catalog}")
        other = tmp_path / f"{kind} {catalog} other"
        make(other, kind, seed=9)
        if catalog:  # the new one is made of what the damaged one held
            content = bytearray((path / "catalog.sqlite").read_bytes())
            content[20:60] = bytes(40)
            (path / "catalog.sqlite").write_bytes(content)
        else:
            [file] = path.glob("segments/*/checksums.u32")
            file.unlink()
        done = gingham.repair(path)
        assert (done.dropped, done.left) == ((), ())
        assert done.actions
        [mine], [theirs] = path.glob("segments/*"), other.glob("segments/*")
        shutil.rmtree(mine)
        shutil.copytree(theirs, mine)
        assert any("catalog lists" in f.problem for f in gingham.check(path).findings)
        with pytest.raises(gingham.CorruptionError):
            gingham.open(path)
