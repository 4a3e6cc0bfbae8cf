"""Makes the collections of this folder again: `python tests/golden/make.py`.

Small ones, clustered at each number of bits; with flat documents beside, replaced and deleted ones.
They are what the present format promises to read, so a change here is a change of the format.
`flat_format_1` was made by the last code that wrote format 1, with `make_flat`, and stays; so do
those of `CLUSTERED`, made by the last code that wrote no checksums of blocks.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import gingham
from gingham import Collection, TokenVectors
from gingham.index.catalog import content_digest
from gingham.index.writer import IndexWriter, NewDocument

HERE = Path(__file__).parent
DIM = 32
TOPICS = 12
EXPECTED = "expected.json"
FLAT = "flat_format_1"
CLUSTERED = {1: "bits_1", 2: "bits_2", 4: "bits_4", 8: "bits_8"}
PROTECTED = {"blocks_flat": None, "blocks_4": 4}  # with checksums of blocks
STAGED = {"supers": 3, "probes": 2, "candidates": 12, "refined": 6}


def numbers(name: str, *shape: int) -> np.ndarray:
    """Whole numbers of -128 to 127 that are the same for ever."""
    content = hashlib.shake_256(name.encode()).digest(int(np.prod(shape)))
    return np.frombuffer(content, dtype=np.int8).reshape(shape).astype(np.int64)


def unit_vectors(name: str, n: int) -> np.ndarray:
    """Vectors around a few directions, the same on every machine: squares and sums are exact."""
    topics = numbers("topics", TOPICS, DIM)[numbers(f"{name} topics", n) % TOPICS]
    values = (2 * topics + numbers(name, n, DIM)).astype(np.float64)
    values /= np.sqrt((values**2).sum(axis=1, keepdims=True))
    vectors: np.ndarray = values.astype(np.float32)
    return vectors


def add(collection: Collection, names: list[str], version: str = "") -> None:
    """Documents of 1 to 3 passages of 1 to 9 tokens."""
    documents: list[NewDocument] = []
    parts: list[np.ndarray] = []
    for name in names:
        lengths = [1 + size % 9 for size in numbers(f"{name}{version}", 1 + int(name) % 3).tolist()]
        text = " ".join(f"passage {i} of {name}{version}." for i in range(len(lengths)))
        starts = [text.index(f"passage {i} ") for i in range(len(lengths))]
        ends = [start - 1 for start in starts[1:]] + [len(text)]
        metadata = json.dumps({"n": int(name), "parity": "odd" if int(name) % 2 else "even"})
        spans = list(zip(starts, ends, strict=True))
        documents.append(NewDocument(name, text, metadata, content_digest(text, metadata), spans))
        parts.extend(
            unit_vectors(f"{name}{version} {i}", length) for i, length in enumerate(lengths)
        )
    with IndexWriter(collection.path) as writer:
        writer.add(documents, [TokenVectors.from_arrays(parts)], "int8")
    collection.refresh()


def make_flat(path: Path) -> Collection:
    """Three flat segments, a replaced and two deleted documents."""
    collection = gingham.open(path)
    add(collection, [str(i) for i in range(22)])
    add(collection, [str(i) for i in range(22, 27)])
    add(collection, ["5"], " again")
    collection.delete(["3", "25"])
    return collection


def make_clustered(path: Path, bits: int) -> Collection:
    """A clustered segment, fresh flat documents, a replaced and two deleted ones."""
    from gingham.codec import training

    collection = gingham.open(path)
    add(collection, [str(i) for i in range(22)])
    few = dict.fromkeys(training.TOKENS_PER_CENTROID, 16)  # more centroids than so little deserves
    with mock.patch.dict(training.TOKENS_PER_CENTROID, few):
        collection.optimize(bits=bits)
    add(collection, [str(i) for i in range(22, 27)])
    add(collection, ["5"], " again")
    collection.delete(["3", "25"])
    return collection


def answers(collection: Collection) -> list[dict[str, Any]]:
    """What some searches find."""
    ways: list[dict[str, Any]] = [{"k": 5}, {"k": 90, "group": False}]
    ways.append({"k": 4, "where": {"parity": "odd", "n": {"$gte": 9}}})
    if any(segment.record.codec == "residual" for segment in collection._snapshot.segments):
        ways += [{"k": 4, "exact": True}, {"k": 3, "parameters": STAGED}]
    found = []
    for way in ways:
        arguments = dict(way)
        if "parameters" in arguments:
            arguments["parameters"] = gingham.SearchParameters(**arguments["parameters"])
        hits = collection.search(unit_vectors("query", 20), **arguments)
        rows = [[hit.id, *hit.span, round(hit.score, 5)] for hit in hits]
        found.append({"way": way, "hits": rows})
    return found


def keep(collection: Collection, folder: Path) -> None:
    """Copy a collection's files, the catalog in small pages, with its answers beside."""
    found = answers(collection)
    collection.close()
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(collection.path, folder, ignore=shutil.ignore_patterns("write.lock"))
    catalog = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    for statement in ("journal_mode = DELETE", "page_size = 512"):
        catalog.execute(f"PRAGMA {statement}")
    catalog.execute("VACUUM")
    catalog.execute("PRAGMA journal_mode = WAL")
    catalog.close()
    lines = ",\n".join(json.dumps(answer) for answer in found)
    (folder / EXPECTED).write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main(workspace: Path) -> None:
    """Make all that this code can make; with format 1, the flat one."""
    from gingham.index.layout import FORMAT_VERSION

    if FORMAT_VERSION == 1:
        keep(make_flat(workspace / FLAT), HERE / FLAT)
        return
    for name, bits in PROTECTED.items():
        keep(make_protected(workspace / name, bits), HERE / name)


def make_protected(path: Path, bits: int | None) -> Collection:
    """One of `PROTECTED`."""
    return make_flat(path) if bits is None else make_clustered(path, bits)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
