"""Small collections to damage, two of each kind alike in shape, and what healthy ones answer."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import gingham
from clustering import queries, topic_vectors
from gingham import Collection, GinghamError, SearchParameters
from gingham.search import staged

# Kind → codec and bits; None stays flat.
KINDS: dict[str, tuple[str, int | None]] = {
    "int8": ("int8", None),
    "fp16": ("fp16", None),
    "bits 1": ("int8", 1),
    "bits 2": ("int8", 2),
    "bits 4": ("int8", 4),
    "bits 8": ("int8", 8),
}
LOG = "log"  # a flat collection whose writer was killed: catalog.sqlite-wal holds commits
TIME_LIMIT = 20.0  # seconds for all that is asked of one collection
MEMORY_LIMIT = 2 << 30  # bytes of address space beyond what the process has

Answer = tuple[str, str, str]  # what was asked; "ok", "error" or "other"; what came
_QUERY, _LONG = queries(1)[0], queries(1, length=40, seed=3)[0]
_NEW = range(90, 95)


@dataclass(frozen=True, slots=True)
class Specimen:
    """A collection that is closed, and another of the same shape with other contents.

    Attributes:
        kind: a key of `KINDS`, or `LOG`.
        path: its folder; the other's is beside it.
        states: answers of a healthy copy; for a log one for each commit, the later two in it.
    """

    kind: str
    path: Path
    states: tuple[list[Answer], ...]

    @property
    def other(self) -> Path:
        """The folder of the other collection."""
        return self.path.with_name("other")


def make(kind: str, folder: Path) -> Specimen:
    """Make the two collections of a kind, and ask a copy of the healthy one."""
    states: list[list[Answer]] = []
    for name, seed in (("mine", 1), ("other", 2)):
        commits = (_make_log if kind == LOG else _make)(folder / name, kind, seed)
        for number, commit in enumerate(commits):
            if name == "mine":
                copy = folder / f"asked {number}"
                shutil.copytree(commit, copy)
                states.append(in_a_child(reading if kind == LOG else examined, copy).answers)
                shutil.rmtree(copy)
    for state in states:
        assert state, f"{kind}: a healthy collection could not be read"
        assert all(answer[1] == "ok" for answer in state), state
    return Specimen(kind, folder / "mine", tuple(states))


def _make(path: Path, kind: str, seed: int) -> list[Path]:
    codec, bits = KINDS[kind]
    with gingham.open(path, threads=1, codec=codec) as collection:  # type: ignore[arg-type]
        _add(collection, range(40), seed)
        if bits is not None:
            collection.optimize(bits=bits)
        _add(collection, range(40, 50), seed)
        collection.delete(["d4", "d42"])
    return [path]


def _make_log(path: Path, kind: str, seed: int) -> list[Path]:
    """Copies after each of three commits, the later two in the log; `path` is like the last."""
    growing = path.with_name(f"{path.name} growing")
    commits = [path.with_name(f"{path.name} {number}") for number in range(3)]
    with gingham.open(growing, threads=1) as collection:
        _add(collection, range(30), seed)
    shutil.copytree(growing, commits[0])
    with gingham.open(growing, threads=1) as collection:
        _add(collection, range(30, 40), seed)
        shutil.copytree(growing, commits[1])
        collection.delete(["d4", "d25"])
        shutil.copytree(growing, commits[2])
    shutil.copytree(commits[2], path)
    assert (path / "catalog.sqlite-wal").stat().st_size > 0
    return commits


def _add(collection: Collection, numbers: range, seed: int) -> None:
    vectors = topic_vectors([1 + i % 9 for i in numbers], 32, 1000 * seed + numbers[0])
    records = [{"n": i, "parity": "odd" if i % 2 else "even"} for i in numbers]
    collection.add(vectors, ids=[f"d{i}" for i in numbers], metadata=records)


# What is asked ----------------------------------------------------------------------------------


def _hits(hits: list[gingham.Hit]) -> list[Any]:
    return [(hit.id, round(hit.score, 4), hit.span, dict(hit.metadata)) for hit in hits]


def _info(collection: Collection) -> dict[str, Any]:
    info = collection.info()
    names = ("documents", "passages", "tokens", "dim", "codec", "bits", "clustered", "segments")
    return {name: getattr(info, name) for name in names}


def _explained(collection: Collection, id: str) -> list[Any]:
    explanation = collection.explain(_QUERY, id)
    return [(match.document_index, round(match.score, 4)) for match in explanation.matches]


READS: dict[str, Callable[[Collection], Any]] = {
    "info": _info,
    "len": len,
    "staged": lambda c: _hits(c.search(_LONG, 9, parameters=SearchParameters(2, 9, 30, 12))),
    "deep": lambda c: _hits(c.search(_QUERY, 99, group=False, texts=False)),
    "exact": lambda c: _hits(c.search(_QUERY, 60, exact=True)),
    "where": lambda c: _hits(c.search(_QUERY, 4, where={"parity": "odd", "n": {"$gte": 5}})),
    "not": lambda c: _hits(c.search(_QUERY, 4, where={"$not": {"n": 3}})),
    "ids": lambda c: _hits(c.search(_QUERY, 4, ids=["d2", "d3", "d19"])),
    "get": lambda c: [dict(c.get(id).metadata) for id in ("d0", "d9", "d19")],
    "explain": lambda c: [_explained(c, id) for id in ("d0", "d8", "d19")],
    "verify": lambda c: c.verify(),
}
WRITES: dict[str, Callable[[Collection], Any]] = {
    "add": lambda c: _add(c, _NEW, 7),
    "delete": lambda c: c.delete(["d90", "d9"]),
    "optimize": lambda c: c.optimize(),
    "search again": lambda c: _hits(c.search(_QUERY, 99, exact=True)),
    "verify again": lambda c: c.verify(),
}


def reading(path: Path) -> list[Answer]:
    """Open to read and ask all that can be asked."""
    return _asked(path, READS, read_only=True)


def examined(path: Path) -> list[Answer]:
    """Read, then open a copy to write, and write."""
    with contextlib.ExitStack() as stack:
        copy = path.with_name(f"{path.name} written")
        stack.callback(shutil.rmtree, copy, ignore_errors=True)
        answers = reading(path)
        shutil.copytree(path, copy, symlinks=True, copy_function=_copy)
        answers += _asked(copy, WRITES, read_only=False)
    return answers


def _copy(source: str, target: str) -> None:
    if os.path.isfile(source):
        shutil.copyfile(source, target, follow_symlinks=False)
    else:
        os.mkfifo(target)


def _asked(
    path: Path, questions: dict[str, Callable[[Collection], Any]], *, read_only: bool
) -> list[Answer]:
    answers: list[Answer] = []
    opened: list[Collection] = []

    def ask(name: str, question: Callable[[], Any]) -> None:
        try:
            answers.append((name, "ok", repr(question())))
        except GinghamError as error:
            kind = "error" if "\n" not in str(error) and len(str(error)) > 10 else "other"
            answers.append((name, kind, f"{type(error).__name__}: {error}"))
        except BaseException as error:
            answers.append((name, "other", f"{type(error).__name__}: {error}"))

    ask("open" if read_only else "open to write", lambda: opened.append(_open(path, read_only)))
    for collection in opened:
        for name, question in questions.items():
            ask(name, partial(question, collection))
        if not read_only:
            ask("close", collection.close)
    return answers


def _open(path: Path, read_only: bool) -> Collection:
    return gingham.open(path, read_only=read_only, threads=1)


# In a child process -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the child: its answers, or "crash" or "hang" with the signal or operation."""

    answers: list[Answer]
    end: str = ""


def in_a_child(work: Callable[[Path], list[Answer]], path: Path) -> Fate:
    """Ask in a forked child that has a limit of time and of memory."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _child(work, path, send)
    os.close(send)
    content, deadline = b"", time.monotonic() + TIME_LIMIT
    while True:
        ready, _, _ = select.select([receive], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(receive, 1 << 16) if ready else b""
        content += part
        if not part:
            break
    os.close(receive)
    if not ready:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return Fate([], "hang")
    _, status = os.waitpid(child, 0)
    if status != 0 or not content:
        return Fate([], f"crash (status {status})")
    return Fate([(a, b, c) for a, b, c in json.loads(content)])


def _child(work: Callable[[Path], list[Answer]], path: Path, send: int) -> None:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        limit = used + MEMORY_LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        staged._FEW_ARE_SCORED_WHOLE = False  # so small a collection would be scored whole
        np.seterr(all="ignore")  # of forged float16 vectors
        with os.fdopen(send, "wb") as file:
            file.write(json.dumps(work(path)).encode())
    except BaseException:
        os._exit(9)
    os._exit(0)
