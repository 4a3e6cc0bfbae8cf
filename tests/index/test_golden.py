"""Collections that earlier code wrote: still read, still answered alike, still made alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import gingham
from clustering import array_files
from gingham import Collection, CollectionError
from golden import make

FLAT, CLUSTERED = make.FLAT, sorted(make.CLUSTERED.items())
CHECKSUMS = "/checksums.u32"


def copied(name: str, tmp_path: Path) -> Path:
    folder = tmp_path / name
    shutil.copytree(make.HERE / name, folder)
    (folder / make.EXPECTED).unlink()
    return folder


def check_answers(collection: Collection, name: str) -> None:
    expected = json.loads((make.HERE / name / make.EXPECTED).read_text(encoding="utf-8"))
    for found, recorded in zip(make.answers(collection), expected, strict=True):
        assert found["way"] == recorded["way"]
        assert [hit[:-1] for hit in found["hits"]] == [hit[:-1] for hit in recorded["hits"]]
        scores = [hit[-1] for hit in recorded["hits"]]
        assert [hit[-1] for hit in found["hits"]] == pytest.approx(scores, abs=3e-5)


@pytest.mark.parametrize(("bits", "name"), CLUSTERED)
def test_what_was_written_is_read(bits: int, name: str, tmp_path: Path) -> None:
    collection = gingham.open(copied(name, tmp_path), read_only=True)
    check_answers(collection, name)
    collection.verify()
    assert collection.get("7").text == "passage 0 of 7. passage 1 of 7."
    info = collection.info()
    assert (info.documents, info.segments, info.bits) == (25, 3, bits)
    assert 0 < info.clustered < info.tokens


@pytest.mark.parametrize(("bits", "name"), CLUSTERED)
def test_the_same_documents_give_the_same_bytes(bits: int, name: str, tmp_path: Path) -> None:
    """Checksums of blocks were added beside what was there."""
    again = make.make_clustered(tmp_path / "again", bits)
    expected = array_files(make.HERE / name)
    assert len(expected) == 7 + 5 + 2 * 4
    found = array_files(again.path)
    assert sum(path.endswith(CHECKSUMS) for path in found) == 4
    assert {path: c for path, c in found.items() if not path.endswith(CHECKSUMS)} == expected


@pytest.mark.parametrize(("name", "bits"), make.PROTECTED.items())
def test_with_checksums_of_blocks(name: str, bits: int | None, tmp_path: Path) -> None:
    """They are read, whole, and made alike; and a reader that knows none answers the same."""
    folder = copied(name, tmp_path)
    expected = array_files(folder)
    assert sum(path.endswith(CHECKSUMS) for path in expected) == (3 if bits is None else 4)
    assert array_files(make.make_protected(tmp_path / "again", bits).path) == expected
    for file in folder.glob("*/*/checksums.u32") if bits is None else ():
        file.unlink()
    with gingham.open(folder, read_only=True) as collection:
        check_answers(collection, name)
    if bits is not None:
        assert gingham.check(folder).sound


@pytest.mark.parametrize("name", [name for _, name in CLUSTERED])
def test_what_was_written_can_be_written_on(name: str, tmp_path: Path) -> None:
    collection = gingham.open(copied(name, tmp_path))
    make.add(collection, ["100", "4"], " changed")
    collection.delete(["8"])
    collection.optimize()
    collection.verify()
    assert collection.info().segments == 1
    assert len(collection) == 25
    hits = collection.search(make.unit_vectors("100 changed 0", 3), k=30)
    assert hits[0].id == "100"
    assert sorted(hit.id for hit in hits) == sorted(
        {*(str(i) for i in range(27)), "100"} - {"3", "25", "8"}
    )


def test_format_1_is_upgraded_when_it_is_opened_for_writing(tmp_path: Path) -> None:
    folder = copied(FLAT, tmp_path)
    before = array_files(folder)
    with pytest.raises(CollectionError, match="gingham optimize upgrades it"):
        gingham.open(folder, read_only=True)
    with gingham.open(folder) as collection:
        check_answers(collection, FLAT)
        collection.verify()
        assert collection.info().clustered == 0
    assert array_files(folder) == before
    with gingham.open(folder, read_only=True) as reader:
        check_answers(reader, FLAT)


def test_format_1_can_be_compressed(tmp_path: Path) -> None:
    collection = gingham.open(copied(FLAT, tmp_path))
    query = make.unit_vectors("query", 20)
    before = {hit.id: hit.score for hit in collection.search(query, k=30)}
    make.add(collection, ["100"])
    collection.optimize(bits=8)
    collection.verify()
    assert collection.info().clustered == collection.info().tokens
    after = {hit.id: hit.score for hit in collection.search(query, k=30) if hit.id != "100"}
    assert after == pytest.approx(before, abs=0.1)


def test_flat_segments_differ_in_their_version_only(tmp_path: Path) -> None:
    def payloads(folder: Path) -> dict[str, bytes]:
        files = array_files(folder).items()
        return {name: content[64:] for name, content in files if not name.endswith(CHECKSUMS)}

    again = make.make_flat(tmp_path / "again")
    assert payloads(again.path) == payloads(make.HERE / FLAT)
