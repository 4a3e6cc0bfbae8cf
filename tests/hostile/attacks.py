"""What is done to a file: every attack by name, with the file's content and another's at hand.

An attack changes one file of a copy of a collection. `Expect` says what may come of it.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

HEADER = 64
_BOUNDARIES = (8, 12, 16, 24, 32, 36, 60, 64)
_HUGE = (0, 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
_BIG = b"SQLite format 3\0"


class Expect(Enum):
    """What may come of an attack, besides never a crash, a hang or another's exception."""

    #: Our error, when the collection is opened or where the damage is met.
    ERROR = "error"
    #: Our error or right answers; wrong ones where `verify` says so.
    FOUND = "found"
    #: Our error or any answer: whoever can write right checksums can write other documents.
    SURVIVED = "survived"


@dataclass(frozen=True, slots=True)
class Attack:
    """One change.

    Attributes:
        group: what it is counted with.
        name: says exactly what is done.
        file: which file, relative to the collection.
        apply: does it to this path.
        expect: what may come of it.
    """

    group: str
    name: str
    file: str
    apply: Callable[[Path], object]
    expect: Expect = Expect.FOUND


def files_of(collection: Path) -> list[str]:
    """Every file of a collection but the lock and SQLite's shared memory."""
    found = sorted(path for path in collection.rglob("*") if path.is_file())
    names = [path.relative_to(collection).as_posix() for path in found]
    return [name for name in names if name not in ("write.lock", "catalog.sqlite-shm")]


def attacks_on(collection: Path, other: Path, outside: Path, *, seed: int) -> Iterator[Attack]:
    """Every attack on every file of a collection.

    Args:
        collection: healthy.
        other: of the same shape, with other contents.
        outside: a folder for what links lead to.
        seed: of random bytes and places.
    """
    for file in files_of(collection):
        content = (collection / file).read_bytes()
        random = np.random.default_rng([seed, zlib.crc32(file.encode())])
        is_array = file.startswith(("segments/", "codebooks/"))
        yield from _lengths(file, content, random, is_array)
        yield from _flips(file, content, random, is_array)
        yield from _replaced(file, content, random, is_array)
        yield from _no_files(file, content, outside, is_array)
        yield from _swaps(file, content, collection, other, is_array)
        if is_array:
            yield from _headers(file, content, random)
    for name in ("write.lock", "catalog.sqlite-shm", "segments", "codebooks"):
        if (collection / name).exists():
            yield from _no_files(name, None, outside, False)
    yield from _catalogs(outside)


def put(path: Path, content: bytes) -> None:
    """Replace a file, not its content: a mapping of the old one stays as it is."""
    _remove(path)
    path.write_bytes(content)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            _remove(inner)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _write(group: str, name: str, file: str, content: bytes, expect: Expect) -> Attack:
    return Attack(group, name, file, lambda path: put(path, content), expect)


def _lengths(
    file: str, content: bytes, random: np.random.Generator, is_array: bool
) -> Iterator[Attack]:
    size = len(content)
    places = {0, 1, size - 1, size // 2, *random.integers(0, size, 4).tolist()}
    if is_array:
        places |= {b + d for b in _BOUNDARIES for d in (-1, 0, 1)}
        expect = Expect.ERROR
    else:
        pages = range(0, size, 4096 if not file.endswith("-wal") else 4120)
        places |= {page + d for page in list(pages)[:40] for d in (-1, 0, 1, 16, 24, 32, 100)}
        expect = Expect.FOUND
    for keep in sorted(places):
        if 0 <= keep < size:
            yield _write("truncated", f"to {keep} of {size}", file, content[:keep], expect)
    for more in (b"\0", b"\0" * 4096, content):
        yield _write("grown", f"by {len(more)}", file, content + more, expect)


def _flips(
    file: str, content: bytes, random: np.random.Generator, is_array: bool
) -> Iterator[Attack]:
    start = HEADER if is_array else 0
    header = range(min(HEADER if is_array else 100, len(content)))
    payload = random.integers(start, len(content), 48).tolist() if len(content) > start else []
    for at in [*header, *payload]:
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(random.integers(8))
        expect = Expect.ERROR if is_array and at < HEADER else Expect.FOUND
        yield _write("bit flipped", f"in byte {at}", file, bytes(damaged), expect)


def _replaced(
    file: str, content: bytes, random: np.random.Generator, is_array: bool
) -> Iterator[Attack]:
    size, wal = len(content), file.endswith("-wal")
    whole = Expect.FOUND if wal else Expect.ERROR
    yield _write("random bytes", "the whole", file, random.bytes(size), whole)
    yield _write("zeros", "the whole", file, bytes(size), whole)
    yield _write("empty", "", file, b"", whole)
    if size > HEADER:
        for name, bytes_ in (("random bytes", random.bytes(size)), ("zeros", bytes(size))):
            yield _write(
                name,
                "but the header",
                file,
                content[:HEADER] + bytes_[HEADER:],
                whole if not is_array else Expect.FOUND,
            )
    yield Attack("missing", "", file, lambda path: path.unlink(), whole)


def _no_files(file: str, content: bytes | None, outside: Path, is_array: bool) -> Iterator[Attack]:
    """What has the file's name and is none. A link leads to what would be a right answer."""
    target = outside / "target"

    def link(to: str | Path) -> Callable[[Path], None]:
        def apply(path: Path) -> None:
            _remove(path)
            path.symlink_to(to)

        return apply

    def moved(path: Path) -> None:
        _remove(target)
        path.rename(target)
        path.symlink_to(target)

    def fifo(path: Path) -> None:
        _remove(path)
        os.mkfifo(path)

    def folder(path: Path) -> None:
        _remove(path)
        path.mkdir()
        (path / "x").write_bytes(b"")

    yield Attack("link", "to itself, moved outside", file, moved, Expect.ERROR)
    yield Attack("link", "to /dev/zero", file, link("/dev/zero"), Expect.ERROR)
    yield Attack("link", "to nowhere", file, link("/nowhere"), Expect.ERROR)
    yield Attack("link", "to itself", file, link(Path(file).name), Expect.ERROR)
    yield Attack("pipe", "", file, fifo, Expect.ERROR)
    if content is None and file in ("segments", "codebooks"):
        yield Attack("file", "in a folder's place", file, lambda p: put(p, b""), Expect.ERROR)
    else:
        yield Attack("folder", "", file, folder, Expect.ERROR)


def _swaps(
    file: str, content: bytes, collection: Path, other: Path, is_array: bool
) -> Iterator[Attack]:
    twins = [other / file]
    if is_array:
        own = sorted(collection.glob(f"{file.split('/')[0]}/*/{Path(file).name}"))
        twins += [path for path in own if path != collection / file]
        twins += [
            path
            for path in sorted((collection / file).parent.iterdir())
            if path != collection / file
        ]
    for twin in twins:
        if twin.is_file() and (found := twin.read_bytes()) != content:
            where = "another collection's" if twin.is_relative_to(other) else twin.parent.name
            name = f"for {where} {twin.name}"
            expect = Expect.ERROR if is_array else Expect.FOUND
            yield _write("swapped", name, file, found, expect)
    if is_array and file.endswith("/offsets.i64"):

        def whole_folder(path: Path) -> None:
            for inner in sorted((other / file).parent.iterdir()):
                put(path.parent / inner.name, inner.read_bytes())

        yield Attack("swapped", "the whole folder", file, whole_folder, Expect.ERROR)


def sealed(payload: bytes, number: int, rows: int, columns: int, version: int = 2) -> bytes:
    """An array file with right checksums, whatever its header claims."""
    body = struct.pack(
        "<8sIIQQI24x", b"GINGHAM\n", version, number, rows, columns, zlib.crc32(payload)
    )
    return body + struct.pack("<I", zlib.crc32(body)) + payload


def forget_digests(path: Path) -> None:
    """Take the digests out of the catalog that the file at `path` belongs to."""
    connection = sqlite3.connect(path.parent.parent.parent / "catalog.sqlite")
    connection.execute("DELETE FROM settings WHERE key = 'digests'")
    connection.commit()
    connection.close()


def _headers(file: str, content: bytes, random: np.random.Generator) -> Iterator[Attack]:
    number, rows, columns = struct.unpack("<IQQ", content[12:32])
    payload = content[HEADER:]
    newer = sealed(payload, number, rows, columns, version=99)
    yield _write("newer version", "99", file, newer, Expect.ERROR)

    def forged(name: str, content: bytes) -> Attack:
        def apply(path: Path) -> None:
            put(path, content)
            forget_digests(path)

        return Attack("forged", name, file, apply, Expect.SURVIVED)

    for value in _HUGE:
        for claim in ((value, columns), (rows, value), (value, value)):
            if claim != (rows, columns):
                lie = sealed(payload, number, *claim)
                expect = Expect.ERROR
                name = f"{claim[0]} × {claim[1]}"
                yield Attack("huge header", name, file, _and_no_digests(lie), expect)
    for component in (0, number + 1, 2**32 - 1):
        lie = sealed(payload, component, rows, columns)
        yield Attack(
            "huge header", f"component {component}", file, _and_no_digests(lie), Expect.ERROR
        )
    width = len(payload) // rows // columns if rows and columns else 1
    for name, filling in (
        ("largest", b"\xff" * (width - 1) + b"\x7f"),
        ("smallest", b"\0" * (width - 1) + b"\x80"),
        ("all ones", b"\xff" * width),
        ("zeros", b"\0" * width),
    ):
        same = filling * (len(payload) // width)
        yield forged(f"{name} everywhere", sealed(same, number, rows, columns))
        for at in sorted({0, 1, rows // 2, max(rows - 1, 0)}):
            one = bytearray(payload)
            one[at * columns * width : at * columns * width + width] = filling
            one = one[: len(payload)]
            yield forged(f"{name} in row {at}", sealed(bytes(one), number, rows, columns))
    for attempt in range(4):
        noise = sealed(random.bytes(len(payload)), number, rows, columns)
        yield forged(f"random {attempt}", noise)
    backwards = payload[::-1]
    yield forged("backwards", sealed(backwards, number, rows, columns))


def _and_no_digests(content: bytes) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        put(path, content)
        forget_digests(path)

    return apply


# The catalog ------------------------------------------------------------------------------------

_CELLS = {
    "settings": ("value",),
    "documents": ("number", "id", "text", "metadata", "digest"),
    "metadata": ("key", "kind", "value", "number"),
    "segments": (
        "segment", "kind", "codec", "dim", "passages", "tokens", "bytes", "codebook",
    ),
    "codebooks": ("codebook", "bits", "dim", "scale", "supers", "centroids", "tokens", "bytes"),
    "tombstones": ("number",),
    "migrations": ("name",),
}  # fmt: skip
_VALUES = (
    "NULL", "''", "-1", "0", "1", "5", "9223372036854775807", "-9223372036854775808", "1.5",
    "1e308", "9e999", "'x'", "x''", "x'ff00fe'", "CAST(x'ff' AS TEXT)", "'{'", "'[]'", "'{}'",
    "'null'", "'1e400'", "'\"x\"'", "'[[[[1]]]]'", "char(0)", "char(10)||'x'", "'d1'",
    "printf('%.*c', 100000, '[')", "printf('%.*c', 5000, '9')", "zeroblob(1000000)",
)  # fmt: skip
_ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT"
_SCHEMAS = {
    "a view of documents without end": (
        "ALTER TABLE documents RENAME TO hidden",
        f"CREATE VIEW documents AS {_ENDLESS} x AS number, x AS id, x AS text, x AS metadata, "
        "x AS digest FROM c",
    ),
    "a view of segments without end": (
        "ALTER TABLE segments RENAME TO hidden",
        f"CREATE VIEW segments AS {_ENDLESS} x AS segment FROM c",
    ),
    "a trigger that deletes": (
        "CREATE TRIGGER t AFTER INSERT ON documents BEGIN DELETE FROM documents; END",
    ),
    "a trigger without end": (
        "CREATE TRIGGER t AFTER INSERT ON documents BEGIN INSERT INTO tombstones "
        f"{_ENDLESS} x FROM c; END",
    ),
    "a generated column": (
        "DROP TABLE tombstones",
        "CREATE TABLE tombstones (x INTEGER PRIMARY KEY, number AS (x + 1))",
    ),
    "a virtual table": (
        "DROP TABLE tombstones",
        "CREATE VIRTUAL TABLE tombstones USING rtree(number, a, b)",
    ),
    "no index": ("DROP INDEX metadata_by_value",),
    "no documents": ("DROP TABLE documents",),
    "no settings": ("DROP TABLE settings",),
    "no migrations": ("DROP TABLE migrations",),
    "another column": ("ALTER TABLE documents ADD COLUMN more",),
    "a step of the future": ("INSERT INTO migrations VALUES ('m999_future')",),
    "a newer version": ("PRAGMA user_version = 99",),
    "a negative version": ("PRAGMA user_version = -1",),
    "another application": ("PRAGMA application_id = 1",),
    "a rollback journal mode": ("PRAGMA journal_mode = DELETE",),
}
_REFUSED = frozenset(_SCHEMAS) - {
    "no index",
    "a step of the future",
    "a negative version",
    "a rollback journal mode",
}


def _catalogs(outside: Path) -> Iterator[Attack]:
    for table, columns in _CELLS.items():
        for column in columns:
            for value in _VALUES:
                statement = f"UPDATE OR IGNORE {table} SET {column} = {value}"  # noqa: S608
                yield Attack(
                    "catalog cell",
                    statement,
                    "catalog.sqlite",
                    _executed(statement, f"{statement} WHERE rowid % 7 = 1"),
                    Expect.SURVIVED,
                )
    for name, statements in _SCHEMAS.items():
        expect = Expect.ERROR if name in _REFUSED else Expect.FOUND
        yield Attack("catalog schema", name, "catalog.sqlite", _executed(*statements), expect)

    def journal(path: Path) -> None:
        """A hot journal, which names a file that SQLite should delete."""
        name = str(outside / "precious").encode()
        ending = struct.pack(">I", 1) + name + struct.pack(">II", len(name), sum(name) % 2**32)
        header = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + struct.pack(">IIIII", 0, 0, 1, 512, 4096)
        path.with_name("catalog.sqlite-journal").write_bytes(
            header.ljust(512, b"\0") + ending + b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
        )

    yield Attack("rollback journal", "hot", "catalog.sqlite", journal, Expect.ERROR)

    def listed_link(path: Path) -> None:
        for folder in ("segments", "codebooks"):
            if path.with_name(folder).is_dir():
                (path.with_name(folder) / "00009999").symlink_to(outside)

    yield Attack("link", "a folder of garbage", "catalog.sqlite", listed_link)


def _executed(*statements: str) -> Callable[[Path], None]:
    """Run statements; those that SQLite refuses are passed over, since the file is as it was."""

    def apply(path: Path) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            try:
                connection.execute(statement)
            except sqlite3.Error:
                continue
            if "WHERE" not in statement and "UPDATE OR IGNORE" in statement:
                continue
        connection.close()

    return apply
