"""`optimize` says before it starts when the disk has no room, and needs no more than it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import gingham
from clustering import add, array_files
from damaging import files_of
from gingham import CollectionError
from gingham.index import writer
from gingham.kernels.codebook import Bits

CASES: list[Bits | None] = [None, 1, 2, 4, 8]


@pytest.mark.parametrize("dim", [32, 96])
@pytest.mark.parametrize("bits", CASES)
def test_no_more_is_written_than_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: Bits | None, dim: int
) -> None:
    """With many segments, of both kinds, and tombstones; counted as if nothing were freed."""
    said: list[int] = []
    monkeypatch.setattr(writer, "check_space", lambda _, needed, __: said.append(needed))
    with gingham.open(tmp_path / "c") as collection:
        for round in range(3):
            for start in range(6):
                first = 100 * (6 * round + start)
                add(collection, range(first, first + 60), dim=dim)
            collection.delete([f"d{600 * round + i}" for i in range(20)])
            kept = {name: len(data) for name, data in array_files(collection.path).items()}
            collection.optimize(bits=bits)
            after = array_files(collection.path)
            made = sum(len(data) for name, data in after.items() if name not in kept)
            assert made <= said[-1]
            assert said[-1] - (1 << 20) < 8 * made + 20_000  # and not wildly more


def test_too_little_room_is_said_before_anything_is_changed(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(fresh)
    files = files_of(fresh)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=500_000))
    with gingham.open(fresh) as collection:
        with pytest.raises(CollectionError) as caught:
            collection.optimize()
        assert str(caught.value) == (
            f"{fresh}: optimize needs up to 1.1 MB of free disk space, there are 0.5 MB: make "
            "room, or move the collection to a larger disk; nothing was changed"
        )
        assert len(collection) == 73
    assert files_of(fresh) == files


def test_nothing_to_do_needs_no_room(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gingham.open(fresh) as collection:
        collection.optimize(bits=4)
        usage = shutil.disk_usage(fresh)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=0))
        collection.optimize()
