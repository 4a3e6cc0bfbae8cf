"""Backups made while others write, killed, refused, restored."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

import gingham
from clustering import add, queries
from damaging import EVERYTHING, answers_at, files_of, tell
from gingham import Collection, CollectionError, CollectionNotFoundError, CorruptionError


def array_inodes(path: Path) -> set[int]:
    return {file.stat().st_ino for file in path.glob("*/*/*")}


@pytest.mark.parametrize("link", [True, False])
def test_a_backup_is_the_collection(fresh: Path, tmp_path: Path, link: bool) -> None:
    before = answers_at(fresh)
    with gingham.open(fresh) as collection:
        done = collection.backup(tmp_path / "b", link=link)
    assert (done.documents, done.files) == (73, 24)
    assert done.linked == (24 if link else 0)
    assert array_inodes(tmp_path / "b") & array_inodes(fresh) == (
        array_inodes(fresh) if link else set()
    )
    assert sorted(os.listdir(tmp_path / "b")) == sorted(
        ["catalog.sqlite", "codebooks", "segments", "write.lock"]
    )
    assert answers_at(tmp_path / "b") == before
    assert gingham.check(tmp_path / "b").sound


def test_a_backup_and_its_collection_go_their_own_ways(fresh: Path, tmp_path: Path) -> None:
    before = answers_at(fresh)
    with gingham.open(fresh) as collection:
        collection.backup(tmp_path / "b")
        collection.delete([f"d{i}" for i in range(4, 60)])
        collection.optimize(bits=2)
    assert answers_at(tmp_path / "b") == before
    with gingham.open(tmp_path / "b") as copy:
        add(copy, range(80, 90))
        copy.optimize()
    assert gingham.check(tmp_path / "b").sound
    assert gingham.check(fresh).sound
    assert len(gingham.open(fresh, read_only=True)) == 17


def test_restoring_copies_and_never_overwrites(fresh: Path, tmp_path: Path) -> None:
    before = answers_at(fresh)
    with gingham.open(fresh) as collection:
        collection.backup(tmp_path / "b")
    files = files_of(fresh)
    with pytest.raises(CollectionError, match="nothing is overwritten"):
        gingham.restore(tmp_path / "b", fresh)
    assert files_of(fresh) == files
    shutil.rmtree(fresh)
    done = gingham.restore(tmp_path / "b", fresh)
    assert (done.documents, done.linked) == (73, 0)
    assert answers_at(fresh) == before
    assert not array_inodes(fresh) & array_inodes(tmp_path / "b")


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_a_target_that_exists_is_refused(fresh: Path, tmp_path: Path, what: str) -> None:
    target = tmp_path / "b"
    if what == "file":
        target.write_text("mine")
    elif what == "folder":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    with gingham.open(fresh) as collection:
        with pytest.raises(CollectionError, match="exists: nothing is overwritten"):
            collection.backup(target)
        with pytest.raises(CollectionError, match="make it first"):
            collection.backup(tmp_path / "none" / "b")
    assert {path.name for path in tmp_path.iterdir()} == {"c", "b"}


def test_nothing_to_restore(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFoundError):
        gingham.restore(tmp_path / "none", tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_damage_is_not_backed_up(fresh: Path, tmp_path: Path) -> None:
    file = fresh / "segments/00000001/residuals.u8"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with (
        gingham.open(fresh) as collection,
        pytest.raises(CorruptionError, match=r"residuals.*gingham check"),
    ):
        collection.backup(tmp_path / "b")
    assert {path.name for path in tmp_path.iterdir()} == {"c"}


def test_no_room(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    with (
        gingham.open(fresh) as collection,
        pytest.raises(CollectionError, match=r"the copy needs .* MB .* 0\.0 MB"),
    ):
        collection.backup(tmp_path / "b", link=False)
    assert {path.name for path in tmp_path.iterdir()} == {"c"}


def test_where_links_are_not_possible(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    with gingham.open(fresh) as collection:
        assert collection.backup(tmp_path / "b").linked == 0
    assert answers_at(tmp_path / "b") == answers_at(fresh)


def test_backups_while_a_writer_works(tmp_path: Path) -> None:
    """Each is whole, and of one commit: the documents are the first of those that were added."""
    path = tmp_path / "c"
    gingham.open(path).close()
    done = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with gingham.open(path) as collection:
                for start in range(0, 240, 4):
                    add(collection, range(start, start + 4))
                    if start % 40 == 36:
                        collection.optimize(bits=4)
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    sizes: list[int] = []
    while not done.is_set():
        made = gingham.open(path, read_only=True).backup(tmp_path / f"b{len(sizes)}")
        sizes.append(made.documents)
    writer.join()
    assert failures == []
    assert sizes == sorted(sizes)
    assert len(sizes) > 3
    for i, size in enumerate(sizes):
        with gingham.open(tmp_path / f"b{i}", read_only=True) as copy:
            found = {hit.id for hit in copy.search(queries(1)[0], k=999, exact=True)}
            assert found == {f"d{j}" for j in range(size)}
            assert size % 4 == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are by fork")
def test_a_killed_backup_leaves_one_folder_that_the_next_removes(
    fresh: Path, tmp_path: Path
) -> None:
    target, left = tmp_path / "b", tmp_path / ".b.partial"
    n = 0
    while True:
        n += 1 if EVERYTHING else 7
        child = os.fork()
        if child == 0:
            try:
                _die_at(n)
                gingham.open(fresh, read_only=True).backup(target)
            except BaseException:
                os._exit(3)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 9)
        assert {path.name for path in tmp_path.iterdir()} <= {"c", "b", ".b.partial"}
        if target.exists():  # whole, or not there
            assert gingham.check(target).sound
            assert not left.exists()
        else:
            gingham.open(fresh, read_only=True).backup(target)
            assert not left.exists()
        if code == 0:
            break
        shutil.rmtree(target)
    tell(f"backup: killed at each of {n - 1} points")
    assert n > 20
    assert answers_at(target) == answers_at(fresh)


def _die_at(n: int) -> None:
    calls = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal calls
        opens = (
            event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
        )
        if opens or event in ("os.rename", "os.remove", "os.mkdir", "os.link", "sqlite3.connect"):
            calls += 1
            if calls == n:
                os._exit(9)

    sys.addaudithook(count)


def test_two_backups_to_one_place(fresh: Path, tmp_path: Path) -> None:
    """One is made; the other is told, and does not disturb it."""
    inner: list[BaseException] = []
    collection = gingham.open(fresh, read_only=True)

    def progress(_: object) -> None:
        if not inner:
            with pytest.raises(CollectionError) as caught:
                Collection.backup(collection, tmp_path / "b")
            inner.append(caught.value)

    collection.backup(tmp_path / "b", progress=progress)
    assert "another backup" in str(inner[0])
    assert gingham.check(tmp_path / "b").sound
