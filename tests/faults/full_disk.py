"""The workload on a disk that is full, and on one that has a little room, a little more, …

    PYTHONPATH=tests python -m faults.full_disk FOLDER     # FOLDER: an empty file system of its own

A filler leaves so many bytes; the operation is refused with an error of ours or done. In between
the collection must hold what was acknowledged. At last there is room, and it is done. The same for
the real command. Prints what was refused as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from faults import checks, workload
from gingham import CorruptionError, GinghamError

FREE = (0, 4 << 10, 16 << 10, 40 << 10, 80 << 10, 160 << 10)
_BLOCK = 4096


class Disk:
    """A file system of its own, and a file that takes its room."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"

    def leave(self, free: int) -> None:
        """Fill it up to so many free bytes."""
        self.make_room()
        with open(self._filler, "wb") as file:
            status = os.statvfs(self._folder)
            size = status.f_bavail * status.f_frsize - free
            if size > 0:
                os.posix_fallocate(file.fileno(), 0, size // _BLOCK * _BLOCK)

    def make_room(self) -> None:
        """Take the filler away."""
        self._filler.unlink(missing_ok=True)


def run(folder: Path) -> dict[str, Any]:
    """Each operation of the workload with ever more room; what was refused."""
    workload.lower_thresholds()
    disk = Disk(folder)
    session = workload.Session(folder / "collection.gingham")
    moments = workload.timeline()
    refused = 0
    for number, operation in enumerate(workload.WORKLOAD):
        first = next(i for i, moment in enumerate(moments) if moment.operation == number)
        own = [moment.state for moment in moments if moment.operation == number]
        possible = [moments[first - 1].state, *own]
        for free in FREE:
            disk.leave(free)
            told: list[None] = []
            try:
                session.do(operation, lambda told=told: told.append(None))  # type: ignore[misc]
                break
            except GinghamError as error:
                if isinstance(error, CorruptionError) or "\n" in str(error):
                    raise AssertionError(f"not what a full disk is: {error}") from error
                refused += 1
            if session.is_open:
                found = checks.held(session.collection)
                assert found in possible[len(told) :], (number, free, len(found))
                checks.check_search(session.collection, found)
        disk.make_room()
        session.do(operation, lambda: None)
        if number:
            session.collection.delete("nobody", missing_ok=True)
        assert checks.held(session.collection) == own[-1]
        checks.check_files(session.collection)
        session.collection.verify()
    session.close()
    return {"operations": len(workload.WORKLOAD), "refused": refused, **run_command(folder, disk)}


def run_command(folder: Path, disk: Disk) -> dict[str, Any]:
    """`gingham add` on a full disk says so in one line; with room it does the rest."""
    source = folder / "corpus.jsonl"
    records = [{"id": str(i), "text": f"Passage {i} is about the number {i}."} for i in range(300)]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    path = folder / "docs.gingham"
    command = [sys.executable, "-m", "gingham.cli.main", "add", str(path), str(source), "--json"]
    said = []
    for free in (0, 120 << 10):
        disk.leave(free)
        full = subprocess.run(command, capture_output=True, text=True, check=False)
        assert full.returncode == 2, full
        said.append(full.stderr.strip())
        assert said[-1].count("\n") == 0, full.stderr
        assert said[-1].startswith(("error:", '{"error"')), full.stderr
    disk.make_room()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["documents"] == len(records)
    return {"command_said": said}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]).resolve())))  # noqa: T201
