"""Small collections to damage: flat ones, a clustered one, and what their searches answer."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import gingham
from clustering import add, made, queries
from gingham import Collection
from gingham.index.database import Database

QUERIES = queries(4)
KINDS = ("flat", "clustered", "fp16", "bits_8")
# All cases of the longer loops, some minutes: `make repairs`. Else a sample of each.
EVERYTHING = bool(os.environ.get("GINGHAM_ALL_REPAIRS"))
Answers = list[dict[str, float]]


def make(path: Path, kind: str) -> None:
    """Seventy-five documents in three segments, two of them deleted; texts for the last five."""
    if kind == "fp16":
        collection = gingham.open(path, codec="fp16")
        add(collection, range(60))
    else:
        bits = {"flat": None, "clustered": 4, "bits_8": 8}[kind]
        collection = made(path, 60, bits)
    add(collection, range(60, 70))
    add(collection, range(70, 75))
    collection.delete(["d3", "d71"])
    collection.close()


def tell(what: str) -> None:
    """A count, where all cases are run and somebody wants to know how many they were."""
    if EVERYTHING:
        sys.stderr.write(f"{what}\n")


def copied(template: Path, path: Path) -> Path:
    shutil.copytree(template, path)
    return path


def answers(collection: Collection) -> Answers:
    """All documents with their exact scores, for each query."""
    return [
        {hit.id: hit.score for hit in collection.search(query, k=200, exact=True)}
        for query in QUERIES
    ]


def answers_at(path: Path) -> Answers:
    with gingham.open(path, read_only=True) as opened:
        return answers(opened)


def without(answers: Answers, ids: set[str]) -> Answers:
    return [{id: s for id, s in scores.items() if id not in ids} for scores in answers]


def files_of(path: Path) -> dict[str, bytes]:
    """Every file, by its name, but for what SQLite and the lock leave there."""
    passing = ("-wal", "-shm", "write.lock")
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.endswith(passing)
    }


def killed_at(n: int, work: Callable[[], object]) -> bool:
    """Work in a child that dies at its n-th change of the disk; whether it came to that."""
    child = os.fork()
    if child == 0:
        try:
            _die_at(n)
            work()
        except BaseException:
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 9


def _die_at(n: int) -> None:
    calls = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal calls
        changes = event in (
            "os.rename",
            "os.remove",
            "os.rmdir",
            "os.mkdir",
            "os.link",
            "os.truncate",
        )
        opens = (
            event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
        )
        commits = event == "sqlite3.connect"
        if changes or opens or commits:
            calls += 1
            if calls == n:
                os._exit(9)

    sys.addaudithook(count)
    transaction = Database.transaction

    def around(self: Database) -> object:
        count("os.mkdir", ())
        return transaction(self)

    Database.transaction = around  # type: ignore[method-assign, assignment]
