"""Every kind of file damaged in every way: what is intact stays, and scores as it did."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import gingham
from clustering import add, topic_vectors
from damaging import EVERYTHING, KINDS, answers_at, copied, files_of, killed_at, tell, without
from gingham import CorruptionError, Document, LockedError
from gingham.index.writer import IndexWriter
from gingham.sources.reading import Sources

Damage = Callable[[Path], None]
ALL = {f"d{i}" for i in range(75)} - {"d3", "d71"}


def flip(at: int) -> Damage:
    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[at] ^= 0x10
        file.write_bytes(content)

    return damage


def cut(keep: int) -> Damage:
    def damage(file: Path) -> None:
        file.write_bytes(file.read_bytes()[:keep])

    return damage


def noise(file: Path) -> None:
    file.write_bytes(random.Random(file.name).randbytes(file.stat().st_size))


def link(file: Path) -> None:
    elsewhere = file.parents[3] / "elsewhere"
    shutil.copy(file, elsewhere)
    file.unlink()
    file.symlink_to(elsewhere)


DAMAGES: dict[str, Damage] = {
    "a flipped bit": flip(-1),
    "a flipped bit in the header": flip(17),
    "a flipped version": flip(9),
    "emptied": cut(0),
    "cut in the header": cut(40),
    "cut after the header": cut(64),
    "cut at the end": cut(-1),
    "noise": noise,
    "removed": Path.unlink,
    "a link": link,
}
QUICK = ("a flipped bit", "a flipped version", "removed", "a link")
# What can be told from other files costs no document.
REMADE = {"lists.i64", "postings.u16", "supers.i8", "children.i64", "levels.i64", "checksums.u32"}
# Nor does what leaves the array whole.
HEADERS = {"a flipped bit in the header", "a flipped version"}


def is_whole(path: Path, expected: list[dict[str, float]]) -> None:
    """Checked, searched, written to and compressed as if nothing had been."""
    assert gingham.check(path).sound
    assert answers_at(path) == expected
    with gingham.open(path) as collection:
        assert set(expected[0]) == {
            hit.id for hit in collection.search(add(collection, [99])[0], k=200)
        } - {"d99"}
        collection.optimize()
        collection.verify()
        assert len(collection) == len(expected[0]) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_costs_only_what_it_held(templates: Path, tmp_path: Path, kind: str) -> None:
    """Each file of each segment and codebook, in each way."""
    template = templates / kind
    before = answers_at(template)
    assert set(before[0]) == ALL
    names = [name for name in files_of(template) if "/" in name]
    assert len(names) >= {"flat": 12, "fp16": 9, "clustered": 20, "bits_8": 20}[kind]
    tried = 0
    for name in names:
        for what, damage in DAMAGES.items():
            quick = kind == "clustered" and what in QUICK
            no_centroids = kind == "bits_8" and what == "removed" and name.startswith("codebooks")
            if not EVERYTHING and not quick and not no_centroids and what != "noise":
                continue
            path = copied(template, tmp_path / f"{tried}")
            tried += 1
            content = (path / name).read_bytes()
            damage(path / name)
            untouched = what != "removed" and (path / name).read_bytes() == content
            if untouched and what != "a link":  # there was nothing but a header
                shutil.rmtree(path)
                continue
            found = gingham.check(path)
            assert any(name in finding.where for finding in found.findings), (name, what)
            done = gingham.repair(path)
            assert done.left == (), (name, what, done)
            lost = set(done.dropped)
            assert lost <= set().union(*(f.documents for f in found.findings)), (name, what)
            expected = without(before, lost)
            assert answers_at(path) == expected, (name, what)
            of_no_use = kind == "bits_8" and name.startswith("codebooks")
            if name.split("/")[-1] in REMADE or what in HEADERS or of_no_use:
                assert not lost, (name, what)
            else:
                assert lost, (name, what)
                assert done.documents == len(ALL - lost)
            if what == "noise":
                is_whole(path, expected)
            shutil.rmtree(path)
    tell(f"{kind}: {tried} damaged files")
    assert tried == len(names) * len(DAMAGES) or not EVERYTHING


def test_the_survivors_equal_a_collection_of_only_these(tmp_path: Path) -> None:
    """Flat: rebuilt from their vectors, to the byte of every score."""
    vectors = topic_vectors([1 + i % 9 for i in range(60)])
    ids = [f"d{i}" for i in range(60)]
    path = tmp_path / "c"
    with gingham.open(path) as collection:
        for start in range(0, 60, 20):
            collection.add(vectors[start : start + 20], ids=ids[start : start + 20])
    (path / "segments/00000001/vectors.i8").unlink()
    done = gingham.repair(path)
    assert done.dropped == tuple(ids[20:40])
    with gingham.open(tmp_path / "rebuilt") as rebuilt:
        for start in (0, 40):
            rebuilt.add(vectors[start : start + 20], ids=ids[start : start + 20])
    assert answers_at(path) == answers_at(tmp_path / "rebuilt")


def test_two_kinds_of_damage_at_once(templates: Path, tmp_path: Path) -> None:
    """A codebook that only reads, posting lists, a flat segment, tombstones, the first page."""
    before = answers_at(templates / "clustered")
    path = copied(templates / "clustered", tmp_path / "c")
    (path / "codebooks/00000001/supers.i8").unlink()
    (path / "segments/00000001/lists.i64").unlink()
    (path / "segments/00000002/scales.f32").unlink()
    content = bytearray((path / "catalog.sqlite").read_bytes())
    content[:4096] = bytes(4096)
    (path / "catalog.sqlite").write_bytes(content)
    done = gingham.repair(path)
    assert done.left == ()
    assert set(done.dropped) == {f"d{i}" for i in range(60, 70)}
    is_whole(path, without(before, set(done.dropped)))


def test_files_of_another_collection(templates: Path, tmp_path: Path) -> None:
    """Whole, of the same shape, but not ours: its documents are dropped, not given its vectors."""
    before = answers_at(templates / "flat")
    other = tmp_path / "other"
    with gingham.open(other) as collection:
        add(collection, range(60), seed=5)
    path = copied(templates / "flat", tmp_path / "c")
    shutil.copy(other / "segments/00000000/vectors.i8", path / "segments/00000000/vectors.i8")
    done = gingham.repair(path)
    assert len(done.dropped) == 59
    is_whole(path, without(before, set(done.dropped)))


# The catalog ------------------------------------------------------------------------------------


def sql(path: Path, *statements: str) -> None:
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


MENDED = {
    "filters": "DELETE FROM metadata WHERE number % 3 = 0",
    "a filter's value": "UPDATE metadata SET value = 77 WHERE key = 'n' AND number = 5",
    "filters of nobody": "INSERT INTO metadata VALUES ('n', 'n', 5, 1000)",
    "tombstones": "DELETE FROM tombstones",
    "a tombstone of a living one": "INSERT INTO tombstones VALUES (7)",
    "a tombstone of nobody": "INSERT INTO tombstones VALUES (7000)",
    "tokens": "UPDATE segments SET tokens = tokens + 1 WHERE segment = 2",
    "passages": "UPDATE segments SET passages = 3, bytes = 9 WHERE segment = 1",
    "a segment's row": "DELETE FROM segments WHERE segment = 2",
    "a clustered segment's row": "DELETE FROM segments WHERE segment = 1",
    "all segments' rows": "DELETE FROM segments",
    "a codebook's row": "DELETE FROM codebooks",
    "a codebook's bytes": "UPDATE codebooks SET bytes = 1",
    "a segment's codec": "UPDATE segments SET codec = 'x' WHERE segment = 2",
    "a segment's type": "UPDATE segments SET tokens = 'x' WHERE segment = 2",
    "a scale": "UPDATE codebooks SET scale = -1.0",
    "the dimension": "UPDATE settings SET value = '31' WHERE key = 'dim'",
    "no dimension": "DELETE FROM settings WHERE key = 'dim'",
    "a setting": "UPDATE settings SET value = '{' WHERE key = 'generation'",
    "all settings": "DELETE FROM settings",
    "counters": "UPDATE settings SET value = '-1' WHERE key LIKE 'next%'",
    "digests": "DELETE FROM settings WHERE key = 'digests'",
}


@pytest.mark.parametrize("what", MENDED)
def test_what_the_catalog_says_wrongly_is_mended_without_loss(
    templates: Path, fresh: Path, what: str
) -> None:
    before = answers_at(templates / "clustered")
    sql(fresh, MENDED[what])
    found = gingham.check(fresh)
    quiet = ("digests", "counters", "no dimension", "all settings")
    assert found.findings or what in quiet, found
    done = gingham.repair(fresh)
    assert (done.dropped, done.left) == ((), ())
    is_whole(fresh, before)
    with gingham.open(fresh, read_only=True) as opened:
        wanted = {f"d{i}" for i in range(75) if i % 10 == 4}
        query = topic_vectors([5])[0]
        assert {hit.id for hit in opened.search(query, k=99, where={"tenth": 4})} == wanted


DROPPED = {
    "a text": "UPDATE documents SET text = 'another' WHERE id = 'd7'",
    "metadata": "UPDATE documents SET metadata = '{\"n\": 8}' WHERE id = 'd7'",
    "metadata that is no JSON": "UPDATE documents SET metadata = '{' WHERE id = 'd7'",
    "a digest": "UPDATE documents SET digest = x'00' WHERE id = 'd7'",
}


@pytest.mark.parametrize("what", DROPPED)
def test_an_altered_document_is_dropped_and_kept_for_reading(
    templates: Path, fresh: Path, what: str
) -> None:
    before = answers_at(templates / "clustered")
    sql(fresh, DROPPED[what])
    [finding] = [f for f in gingham.check(fresh).findings if "written" in f.problem]
    assert finding.documents == ("d7",)
    done = gingham.repair(fresh)
    assert (done.dropped, done.left, done.again) == (("d7",), (), None)
    assert done.aside is not None
    [line] = (Path(done.aside) / "doubtful.jsonl").read_text().splitlines()
    assert json.loads(line)["_id"] == "d7"
    is_whole(fresh, without(before, {"d7"}))


def test_a_document_that_the_catalog_has_lost_is_not_found(templates: Path, fresh: Path) -> None:
    """Its id is nowhere else: its passages are marked as deleted."""
    before = answers_at(templates / "clustered")
    sql(fresh, "DELETE FROM documents WHERE id = 'd7'", "DELETE FROM metadata WHERE number = 7")
    done = gingham.repair(fresh)
    assert (done.dropped, done.left) == ((), ())
    is_whole(fresh, without(before, {"d7"}))


@pytest.mark.parametrize("kind", ["flat", "clustered"])
def test_every_page_of_the_catalog(templates: Path, tmp_path: Path, kind: str) -> None:
    """Zeroed or made noise: repaired to what can be read, every score right, or left as it was."""
    template = templates / kind
    before = answers_at(template)
    pages = (template / "catalog.sqlite").stat().st_size // 4096
    assert pages > 10
    kept, refused = [], 0
    for page in range(0, pages, 1 if EVERYTHING else 2):
        for content in (bytes(4096), random.Random(page).randbytes(4096)):
            path = copied(template, tmp_path / "c")
            catalog = bytearray((path / "catalog.sqlite").read_bytes())
            catalog[page * 4096 : (page + 1) * 4096] = content
            (path / "catalog.sqlite").write_bytes(catalog)
            found = gingham.check(path)
            files = files_of(path)
            try:
                done = gingham.repair(path)
            except CorruptionError:
                assert found.findings
                assert files_of(path) == files
                refused += 1
            else:
                assert done.left == (), page
                after = answers_at(path)
                assert set(after[0]) <= ALL
                assert after == without(before, ALL - set(after[0])), page
                kept.append(len(after[0]))
                if not found.findings:
                    assert after == before  # a page that nothing is on
            shutil.rmtree(path)
    tell(f"{kind}: {pages} pages, {len(kept)} times repaired, {refused} times refused")
    assert refused <= 2, refused
    assert sorted(kept)[len(kept) // 3] == len(ALL), kept


def test_a_catalog_cut_short(templates: Path, tmp_path: Path) -> None:
    """At each page: what could be read is right; where nothing could, nothing is changed."""
    template = templates / "clustered"
    before = answers_at(template)
    size = (template / "catalog.sqlite").stat().st_size
    for keep in [*range(0, size, 4096), 100, size - 1]:
        path = copied(template, tmp_path / "c")
        with (path / "catalog.sqlite").open("rb+") as file:
            file.truncate(keep)
        if not gingham.check(path).findings:
            assert answers_at(path) == before  # nothing was on the last page
            shutil.rmtree(path)
            continue
        files = files_of(path)
        try:
            done = gingham.repair(path)
        except CorruptionError:
            assert files_of(path) == files
        else:
            assert done.left == ()
            after = answers_at(path)
            assert after == without(before, ALL - set(after[0]))
        shutil.rmtree(path)


def test_a_lost_catalog_is_said_plainly(fresh: Path) -> None:
    (fresh / "catalog.sqlite").unlink()
    [finding] = gingham.check(fresh).findings
    assert "missing" in finding.problem
    assert "restore" in finding.remedy
    files = files_of(fresh)
    with pytest.raises(CorruptionError, match="ids and texts"):
        gingham.repair(fresh)
    assert files_of(fresh) == files


# What is set aside ------------------------------------------------------------------------------


def test_texts_of_dropped_documents_can_be_added_again(tmp_path: Path) -> None:
    path = tmp_path / "c"
    texts = {
        "tide": "The tide rises.",
        "bread": "Bread\nrises 🍞.",
        'q"\u2028\x85é': "A strange id.",
    }
    with gingham.open(path) as collection:
        collection.add([Document(id, text, {"n": len(id)}) for id, text in texts.items()])
    (path / "segments/00000000/offsets.i64").unlink()
    done = gingham.repair(path)
    assert set(done.dropped) == set(texts)
    assert done.again is not None
    with gingham.open(path) as collection:
        assert len(collection) == 0
        collection.add(Sources([done.again]))
        assert {id: collection.get(id).text for id in texts} == texts
        assert collection.get("tide").metadata["n"] == 4
        assert [hit.id for hit in collection.search("Why does bread rise?", k=1)] == ["bread"]
    assert gingham.check(path).sound


def test_nothing_is_deleted(fresh: Path) -> None:
    """Every byte that was there is still there, in place or under damaged/."""
    (fresh / "segments/00000001/codes.u8").write_bytes(b"damaged")
    (fresh / "segments/.writing-00000009").mkdir()
    (fresh / "segments/.writing-00000009/vectors.i8").write_bytes(b"left by a killed writer")
    (fresh / "segments/00000002/notes.txt").write_text("mine")
    before = [content for name, content in files_of(fresh).items() if "/" in name]
    done = gingham.repair(fresh)
    after = list(files_of(fresh).values())
    assert all(content in after for content in before)
    assert done.aside == str(fresh / "damaged" / "0001")
    gingham.repair(fresh)
    (fresh / "segments/00000002/vectors.i8").write_bytes(b"damaged again")
    assert gingham.repair(fresh).aside == str(fresh / "damaged" / "0002")
    assert gingham.check(fresh).sound


def test_a_whole_collection_is_left_alone(fresh: Path) -> None:
    files = files_of(fresh)
    done = gingham.repair(fresh)
    assert (done.findings, done.actions, done.aside) == ((), (), None)
    assert files_of(fresh) == files


def test_a_repair_is_a_writer(fresh: Path) -> None:
    with IndexWriter(fresh), pytest.raises(LockedError):
        gingham.repair(fresh)


def test_readers_keep_their_snapshot(fresh: Path) -> None:
    """Even when the catalog is exchanged under them; then they see the repaired one."""
    reader = gingham.open(fresh, read_only=True)
    before = answers_at(fresh)
    content = bytearray((fresh / "catalog.sqlite").read_bytes())
    content[0] ^= 1
    (fresh / "catalog.sqlite").write_bytes(content)
    (fresh / "segments/00000002/vectors.i8").write_bytes(b"")
    del reader  # it has mapped what was just overwritten in place
    done = gingham.repair(fresh)
    assert len(done.dropped) == 10
    reader = gingham.open(fresh, read_only=True)
    assert answers_at(fresh) == without(before, set(done.dropped))
    assert len(reader) == 63


# Killed -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are by fork")
@pytest.mark.parametrize("what", ["files", "catalog"])
def test_killed_at_any_point_the_next_repair_finishes(
    templates: Path, tmp_path: Path, what: str
) -> None:
    before = answers_at(templates / "clustered")
    damaged = copied(templates / "clustered", tmp_path / "damaged")
    (damaged / "segments/00000002/vectors.i8").write_bytes(b"")
    (damaged / "segments/00000001/lists.i64").unlink()
    if what == "catalog":
        content = bytearray((damaged / "catalog.sqlite").read_bytes())
        content[50:90] = bytes(40)
        content[100:200] = bytes(100)
        (damaged / "catalog.sqlite").write_bytes(content)
    lost = {f"d{i}" for i in range(60, 70)}
    n, step, exchanges = 0, 1 if EVERYTHING else 7, 0
    while True:
        n += step
        path = copied(damaged, tmp_path / "c")
        killed = killed_at(n, partial(gingham.repair, path))
        if killed and not (path / "catalog.sqlite").exists():
            with pytest.raises(CorruptionError, match="finishes it"):
                gingham.open(path)  # never a new, empty one
            assert "interrupted" in gingham.check(path).findings[0].remedy
            exchanges += 1
        if killed:
            gingham.repair(path)
        assert gingham.check(path).sound, n
        assert answers_at(path) == without(before, lost), n
        shutil.rmtree(path)
        if not killed:
            break
    tell(f"{what}: killed at each of {n - step} points")
    assert n > 25
    assert exchanges or what == "files" or not EVERYTHING
