"""What lost its vectors and has its text is encoded again; nothing is lost by interrupting that."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

import gingham
from damaging import EVERYTHING, copied, killed_at, tell
from gingham import Document, Encoder, UpkeepProgress
from gingham.index.catalog import content_digest
from gingham.index.writer import IndexWriter, NewDocument

WORDS = ("tides", "bread", "moons", "rivers", "owls", "trains", "clocks", "wool", "salt", "iron")
TEXTS = {
    f"t{i}": f"Passage number {i} speaks of {word}, and of little else."
    for i, word in enumerate(WORDS)
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(threads=1)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Path:
    """Ten documents in two segments, with a block of vectors for about two."""
    path = tmp_path_factory.mktemp("encode") / "template"
    documents = [Document(id, text, {"n": len(id)}) for id, text in TEXTS.items()]
    with gingham.open(path, encoder) as collection:
        collection.add(documents[:7])
        collection.add(documents[7:])
    return path


def scores(path: Path, encoder: Encoder) -> dict[str, float]:
    with gingham.open(path, encoder, read_only=True) as opened:
        return {hit.id: hit.score for hit in opened.search("What do owls and trains do?", k=99)}


def damage(path: Path) -> Path:
    """A byte in the middle of the first segment's vectors, and all of the second's."""
    for number, place in ((0, 9000), (1, 100)):
        file = path / f"segments/{number:08d}/vectors.i8"
        content = bytearray(file.read_bytes())
        content[place] ^= 0x40
        file.write_bytes(content)
    (path / "segments/00000001/offsets.i64").unlink()
    return path


def test_all_are_there_again(template: Path, tmp_path: Path, encoder: Encoder) -> None:
    before = scores(template, encoder)
    path = damage(copied(template, tmp_path / "c"))
    told: list[UpkeepProgress] = []
    done = gingham.repair(path, encode=True, encoder=encoder, progress=told.append)
    assert (done.dropped, done.left, done.again, done.hindrance) == ((), (), None, None)
    assert set(done.encoded) > {"t7", "t8", "t9"}
    assert len(done.encoded) < 8
    assert (done.documents, done.kept) == (10, 10 - len(done.encoded))
    assert scores(path, encoder) == pytest.approx(before, abs=1e-4)
    with gingham.open(path, encoder) as collection:
        assert {id: collection.get(id).text for id in TEXTS} == TEXTS
        assert collection.get("t8").metadata == {"n": 2}
        assert collection.add([Document(i, t, {"n": len(i)}) for i, t in TEXTS.items()]) == 10
    assert gingham.check(path).sound
    steps = [now for now in told if now.stage == "encoding"]
    assert (steps[0].done, steps[-1].done) == (0, len(done.encoded))
    assert {now.total for now in steps} == {len(done.encoded)}
    again = gingham.repair(path, encode=True, encoder=encoder)
    assert (again.encoded, again.actions) == ((), ())


def test_without_they_are_in_a_file(template: Path, tmp_path: Path, encoder: Encoder) -> None:
    path = damage(copied(template, tmp_path / "c"))
    done = gingham.repair(path)
    assert len(done.dropped) == 10 - done.kept > 3
    assert done.encoded == ()
    assert done.again is not None
    assert Path(done.again).name == "documents.jsonl"
    later = gingham.repair(path, encode=True, encoder=encoder)
    assert (later.documents, later.encoded) == (done.kept, ())  # the user may have chosen so


def test_a_text_that_is_damaged_too_is_lost(
    template: Path, tmp_path: Path, encoder: Encoder
) -> None:
    import sqlite3

    path = damage(copied(template, tmp_path / "c"))
    with sqlite3.connect(path / "catalog.sqlite") as connection:
        connection.execute("UPDATE documents SET text = 'forged' WHERE id = 't8'")
    connection.close()
    done = gingham.repair(path, encode=True, encoder=encoder)
    assert done.dropped == ("t8",)
    assert "t8" not in done.encoded
    assert (done.documents, done.left) == (9, ())


def test_another_model_is_refused_and_the_texts_wait(
    template: Path, tmp_path: Path, encoder: Encoder
) -> None:
    path = damage(copied(template, tmp_path / "c"))
    done = gingham.repair(path, encode=True, encoder=tmp_path / "none")
    assert done.hindrance is not None
    assert "none" in done.hindrance
    assert "\n" not in done.hindrance
    assert done.left == ()
    assert done.again is not None
    assert Path(done.again).name == "encoding.jsonl"
    later = gingham.repair(path, encode=True, encoder=encoder)
    assert set(later.encoded) == set(done.dropped)
    assert later.documents == 10
    assert not Path(done.again).exists()


def test_what_was_written_since_is_not_overwritten(
    template: Path, tmp_path: Path, encoder: Encoder
) -> None:
    path = damage(copied(template, tmp_path / "c"))
    gingham.repair(path, encode=True, encoder=tmp_path / "none")
    with gingham.open(path, encoder) as collection:
        collection.add("Newer.", ids=["t8"])
    done = gingham.repair(path, encode=True, encoder=encoder)
    assert "t8" not in done.encoded
    assert done.documents == 10
    with gingham.open(path, encoder, read_only=True) as opened:
        assert opened.get("t8").text == "Newer."


def test_vectors_without_texts_cannot_be_made_again(tmp_path: Path, encoder: Encoder) -> None:
    """The documents with texts are encoded all the same."""
    path = tmp_path / "c"
    documents = [
        NewDocument("bare", None, "{}", content_digest(None, "{}"), [(0, 0)]),
        NewDocument("told", "A text.", "{}", content_digest("A text.", "{}"), [(0, 7)]),
    ]
    with gingham.open(path, encoder) as collection:
        collection.add("Something else.", ids=["else"])
    with IndexWriter(path) as writer:
        vectors = encoder.encode_documents(["A text.", "A text."])
        writer.add(documents, [vectors], "int8")
    (path / "segments/00000001/vectors.i8").unlink()
    done = gingham.repair(path, encode=True, encoder=encoder)
    assert (done.dropped, done.encoded, done.kept, done.documents) == (("bare",), ("told",), 1, 2)


class Interrupted(BaseException):
    """As Ctrl-C is: no error of ours."""


def test_interrupted_it_goes_on(
    template: Path, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each commit of the encoding: what is there stays, the next repair does the rest."""
    monkeypatch.setattr("gingham.intake._BATCH_DOCUMENTS", 1)
    for stop in (0, 1, 3):
        path = damage(copied(template, tmp_path / f"{stop}"))

        def interrupt(now: UpkeepProgress, stop: int = stop) -> None:
            if now.stage == "encoding" and now.done == stop:
                raise Interrupted

        with pytest.raises(Interrupted):
            gingham.repair(path, encode=True, encoder=encoder, progress=interrupt)
        found = gingham.check(path)
        assert found.sound
        done = gingham.repair(path, encode=True, encoder=encoder)
        assert done.documents == 10
        assert len(done.encoded) == 10 - found.documents
        assert done.encoded
        assert {file.name for file in path.glob("damaged/*/*.jsonl")} == {"documents.jsonl"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are by fork")
def test_killed_anywhere_nothing_is_lost(template: Path, tmp_path: Path, encoder: Encoder) -> None:
    """Each change of the disk, of the repair and of the encoding."""
    n, step = 0, 1 if EVERYTHING else 11
    while True:
        n += step
        path = damage(copied(template, tmp_path / "c"))
        killed = killed_at(n, partial(gingham.repair, path, encode=True, encoder=encoder))
        done = gingham.repair(path, encode=True, encoder=encoder)
        assert (done.documents, done.dropped, done.left, done.hindrance) == (10, (), (), None), n
        with gingham.open(path, encoder, read_only=True) as opened:
            assert {id: opened.get(id).text for id in TEXTS} == TEXTS
        shutil.rmtree(path)
        if not killed:
            break
    tell(f"encoding: killed at each of {n - step} points")
    assert n > 40
