"""What the fuzzer calls: bytes in; our errors are caught, anything else is a finding.

Each target is a plain function, so that kept findings can be replayed without the fuzzer.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import gingham
from gingham import GinghamError, SearchParameters, TokenVectors, intake
from gingham.search import filters
from gingham.sources import tables
from gingham.sources.decoding import decoded_lines
from gingham.sources.options import SourceOptions
from hostile.attacks import HEADER, files_of, forget_digests, put, sealed

GOLDEN = Path(__file__).parent.parent / "golden"
KINDS = ("flat_format_1", "bits_1", "bits_2", "bits_4", "bits_8")
QUERY = np.eye(4, 32, dtype=np.float32)
SMALL = SearchParameters(2, 3, 12, 6)


@cache
def room() -> Path:
    """Copies of the golden collections that may be damaged, in memory where that can be."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder = Path(tempfile.mkdtemp(prefix="gingham-fuzz-", dir=memory))
    for kind in KINDS:
        shutil.copytree(GOLDEN / kind, folder / kind)
        with gingham.open(folder / kind, threads=1) as collection:  # upgrades the first format
            collection.verify()
    return folder


@contextmanager
def replaced(kind: str, file: str, content: bytes) -> Iterator[Path]:
    """A golden collection with another file, until the end."""
    collection = room() / kind
    path = collection / file
    before = path.read_bytes()
    put(path, content)
    try:
        yield collection
    finally:
        put(path, before)
        for suffix in ("-wal", "-shm"):
            (collection / f"catalog.sqlite{suffix}").unlink(missing_ok=True)


def read_all(path: Path) -> None:
    """Open to read, and do what reads; each may fail on its own."""
    opened: list[gingham.Collection] = []
    with suppress(GinghamError):
        opened.append(gingham.open(path, read_only=True, threads=1))
    for collection in opened:
        works: tuple[Callable[[], object], ...] = (
            partial(collection.search, QUERY, 5, parameters=SMALL),
            partial(collection.search, QUERY, 40, exact=True, group=False),
            partial(collection.search, QUERY, 4, where={"parity": "odd"}, texts=False),
            partial(collection.explain, QUERY, "7"),
            collection.info,
            collection.verify,
        )
        for work in works:
            with suppress(GinghamError):
                work()
        collection.close()


def arrays(data: bytes) -> None:
    """An array file: its kind and name in two bytes; the third says whether checksums are made."""
    if len(data) < 3 + HEADER:
        return
    kind = KINDS[data[0] % len(KINDS)]
    names = [name for name in files_of(room() / kind) if name.endswith(("8", "16", "32", "64"))]
    name, content = names[data[1] % len(names)], data[3:]
    if data[2] % 4:
        number, rows, columns = struct.unpack("<IQQ", content[12:32])
        content = sealed(content[HEADER:], number, rows, columns)
    with replaced(kind, name, content) as collection:
        read_all(collection)


def catalog(data: bytes) -> None:
    """Bytes of a catalog: its kind, then a place (2 bytes) and a value each."""
    if len(data) < 4:
        return
    kind = KINDS[data[0] % len(KINDS)]
    content = bytearray((room() / kind / "catalog.sqlite").read_bytes())
    for place, value in struct.iter_unpack("<HB", data[1 : 1 + (len(data) - 1) // 3 * 3]):
        content[place % len(content)] = value
    with replaced(kind, "catalog.sqlite", bytes(content)) as collection:
        read_all(collection)


def _json(data: bytes) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(data)
    return None


@cache
def _healthy() -> gingham.Collection:
    return gingham.open(room() / "bits_4", read_only=True, threads=1)


def where(data: bytes) -> None:
    """A filter as JSON."""
    condition = _json(data)
    with suppress(GinghamError):
        filters.parse(condition)
        _healthy().search(QUERY, 3, where=condition)


def parameters(data: bytes) -> None:
    """Search parameters as JSON."""
    values = _json(data)
    with suppress(GinghamError):
        _healthy().search(QUERY, 3, parameters=SearchParameters.from_json(values))


_TYPES = ("f4", "f8", "f2", "i4", "i8", "u4", "U1", "O", ">f4", "c8", "?", "u1")


def vectors(data: bytes) -> None:
    """Arrays of any type and shape as token vectors, then as a query."""
    if len(data) < 8:
        return

    def array(kind: int, shape: int, payload: bytes) -> np.ndarray[Any, Any]:
        dtype = np.dtype(_TYPES[kind % len(_TYPES)])
        if dtype.hasobject or dtype.kind == "U":
            return np.array(["x", None, 1][: shape % 4], dtype=dtype)
        values = np.frombuffer(payload[: len(payload) // dtype.itemsize * dtype.itemsize], dtype)
        width = (0, 32, 1, 32, 2, 32, 32, 7)[shape % 8]
        if width and len(values) >= width:
            return values[: len(values) // width * width].reshape(-1, width)
        return values.reshape((-1, 1, 1)) if width == 7 else values

    half = 6 + (len(data) - 6) * data[4] // 255
    values, offsets = array(data[0], data[1], data[6:half]), array(data[2], data[3], data[half:])
    with suppress(GinghamError), np.errstate(all="ignore"):
        made = TokenVectors(values, offsets)
        assert sum(len(text) for text in made) == made.n_tokens
        _healthy().search_many(made, 2)
    with suppress(GinghamError), np.errstate(all="ignore"):
        TokenVectors.from_arrays([values, offsets] if data[5] % 2 else [values])


def _records(read: Any, data: bytes) -> None:
    lines = decoded_lines(io.BytesIO(data), "fuzz", None, lambda count: None)
    with suppress(GinghamError):
        for _, document in read(lines, "fuzz", SourceOptions()):
            with suppress(GinghamError):
                stored = intake.prepare(intake.check(document))
                assert json.loads(stored.metadata) is not None


def jsonl(data: bytes) -> None:
    """JSON lines, as `gingham add` reads them."""
    _records(tables.json_lines, data)


def csv(data: bytes) -> None:
    """CSV, as `gingham add` reads it."""
    _records(tables.comma_separated, data)


def tsv(data: bytes) -> None:
    """TSV, as `gingham add` reads it."""
    _records(tables.tab_separated, data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (arrays, catalog, where, parameters, vectors, jsonl, csv, tsv)
}


def made_seeds(name: str) -> Iterator[bytes]:
    """Seeds that are made of the golden collections, beside those that are kept."""
    if name == "arrays":
        for kind in range(len(KINDS)):
            folder = room() / KINDS[kind]
            names = [n for n in files_of(folder) if n.endswith(("8", "16", "32", "64"))]
            for number, file in enumerate(names):
                content = (folder / file).read_bytes()
                if len(content) <= 2048:
                    yield bytes([kind, number, 1]) + content
    elif name == "catalog":
        for kind in range(len(KINDS)):
            for place in (0, 18, 28, 96, 1100, 2048, 5000, 9000):
                yield bytes([kind]) + struct.pack("<HB", place, 255)


def forget_all_digests() -> None:
    """So that sealed files of the golden collections are read, as older ones are."""
    for kind in KINDS:
        forget_digests(room() / kind / "segments" / "0" / "x")
