"""Damaged and hostile clustered segments, codebooks and catalogs: our error or an answer, no crash.

Files of clustered segments are not read when they are opened: what a search takes from them is
checked there, and `verify` finds every changed byte.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import gingham
from clustering import add, array_files, folders, listed, made, queries, topic_vectors
from gingham import (
    Collection,
    CollectionError,
    CorruptionError,
    DocumentNotFoundError,
    SearchParameters,
    VersionError,
)
from gingham.index.layout import Component
from gingham.search import staged

Array = npt.NDArray[Any]

IN_SEGMENT = [
    Component.CODES,
    Component.RESIDUALS,
    Component.OFFSETS,
    Component.LISTS,
    Component.POSTINGS,
    Component.NUMBERS,
    Component.SPANS,
]
IN_CODEBOOK = [
    Component.SUPERS,
    Component.CHILDREN,
    Component.CENTROIDS,
    Component.POINTS,
    Component.LEVELS,
]
PARTS = [*IN_SEGMENT, *IN_CODEBOOK]
READ_WHEN_OPENED = {Component.CHILDREN, Component.POINTS, Component.LEVELS}
QUERY, LONG = queries(1)[0], queries(1, length=40, seed=3)[0]
each_part = pytest.mark.parametrize("part", PARTS, ids=lambda part: part.filename)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By bits: sixty compressed documents, five flat ones, one of each deleted.

    Without the digests in the catalog, as whoever forges a file would leave them out, and as
    collections are that were made before there were any.
    """
    folder = tmp_path_factory.mktemp("damage")
    for bits in (1, 4, 8):
        collection = made(folder / str(bits), 60, bits)
        add(collection, range(60, 65))
        collection.delete(["d4", "d62"])
        collection.close()
        catalog = sqlite3.connect(collection.path / "catalog.sqlite")
        catalog.execute("DELETE FROM settings WHERE key = 'digests'")
        catalog.commit()
        catalog.close()
    return folder


@pytest.fixture
def path(templates: Path, tmp_path: Path) -> Path:
    """A copy of the collection of 4 bits."""
    return copied(templates, tmp_path, 4)


@pytest.fixture(autouse=True)
def always_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small a collection would be scored whole."""
    monkeypatch.setattr(staged, "_FEW_ARE_SCORED_WHOLE", False)


def copied(templates: Path, tmp_path: Path, bits: int) -> Path:
    shutil.copytree(templates / str(bits), tmp_path / "c")
    return tmp_path / "c"


def file_of(path: Path, part: Component) -> Path:
    """The one file of this kind; of offsets that of the clustered segment."""
    folder = path / ("codebooks" if part in IN_CODEBOOK else "segments")
    [file] = [
        f for f in folder.glob(f"*/{part.filename}") if not f.with_name("vectors.i8").exists()
    ]
    return file


def read_only(path: Path) -> Collection:
    return gingham.open(path, read_only=True, threads=1)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) > 20
    return text


def is_refused(path: Path, name: str, *, by: str = "open") -> None:
    """Opening, or else verifying, says which file it is."""

    def read() -> None:
        collection = read_only(path)
        if by == "verify":
            collection.verify()

    with pytest.raises(CorruptionError) as caught:
        read()
    assert name in one_line(caught)


USES: list[Callable[[Collection], object]] = [
    lambda c: c.search(QUERY, k=5),
    lambda c: c.search(LONG, k=60, group=False),
    lambda c: c.search(QUERY, k=3, parameters=SearchParameters(1, 1, 1, 1)),
    lambda c: c.search(LONG, k=9, parameters=SearchParameters(9, 99, 20, 12), texts=False),
    lambda c: c.search(QUERY, k=60, exact=True),
    lambda c: c.search(QUERY, k=4, where={"parity": "odd"}),
    lambda c: c.search(QUERY, k=4, where={"$not": {"n": 3}}),
    lambda c: c.search(QUERY, k=4, ids=["d1", "d3", "d59", "d61"]),
    lambda c: [c.explain(QUERY, id) for id in ("d0", "d8", "d59")],
    lambda c: [c.explain_hit(QUERY, hit) for hit in c.search(QUERY, k=3)],
    lambda c: c.info(),
    lambda c: len(c),
    lambda c: c.verify(),
]


class Errors:
    """Lets damage be reported, in one line, and nothing else happen; counts it."""

    def __init__(self) -> None:
        self.n = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, (CorruptionError, DocumentNotFoundError)):
            return False
        assert "\n" not in str(error)
        self.n += 1
        return True


def use(path: Path) -> int:
    """Do all that reads. Whatever is answered, nothing but our error is raised; counts errors."""
    errors, opened = Errors(), []
    with errors:
        opened.append(read_only(path))
    for collection in opened:
        for work in USES:
            with errors:
                work(collection)
    return errors.n


def write(path: Path) -> None:
    """Do all that writes. Where it fails, all the files that are needed are still there."""
    opened = []
    with Errors():
        opened.append(gingham.open(path, threads=1))
    for collection in opened:
        with Errors():
            add(collection, range(70, 75))
        with Errors():
            collection.delete(["d70", "d9"])
        with Errors():
            collection.optimize(bits=4)
        collection.refresh()
        assert listed(collection) <= folders(path)
        use(path)


def forge(file: Path, part: Component, rows: Array, columns: int | None = None) -> None:
    """Write an array with right checksums and whatever contents."""
    rows = np.ascontiguousarray(rows, dtype=part.dtype)
    width = columns if columns is not None else rows.shape[1] if rows.ndim > 1 else 1
    write_file(file, rows.tobytes(), part.number, len(rows), width)


def write_file(
    file: Path, payload: bytes, number: int, rows: int, columns: int, version: int = 2
) -> None:
    checksum = zlib.crc32(payload)
    body = struct.pack("<8sIIQQI24x", b"GINGHAM\n", version, number, rows, columns, checksum)
    file.write_bytes(body + struct.pack("<I", zlib.crc32(body)) + payload)


def header_of(file: Path) -> tuple[int, int, int]:
    """Component, rows, columns."""
    number, rows, columns = struct.unpack("<IQQ", file.read_bytes()[12:32])
    return number, rows, columns


def rows_of(file: Path, part: Component) -> Array:
    _, rows, columns = header_of(file)
    array = np.frombuffer(file.read_bytes()[64:], dtype=part.dtype).copy()
    return array.reshape(rows, columns) if columns != 1 else array


# Accidents --------------------------------------------------------------------------------------


def test_it_is_whole_to_begin_with(templates: Path, tmp_path: Path) -> None:
    for bits in (1, 4, 8):
        path = templates / str(bits)
        assert use(path) == 0
        assert len(read_only(path).search(QUERY, k=99)) == 63


@each_part
def test_truncated_anywhere(path: Path, part: Component) -> None:
    file = file_of(path, part)
    content = file.read_bytes()
    middle = 64 + (len(content) - 64) // 2
    for keep in (0, 7, 8, 12, 16, 24, 32, 36, 60, 63, 64, 65, middle, len(content) - 1):
        file.write_bytes(content[:keep])
        is_refused(path, part.filename)
    for more in (b"\0", content, b"\0" * 4096):
        file.write_bytes(content + more)
        is_refused(path, part.filename)
    file.write_bytes(content)
    assert use(path) == 0


@each_part
def test_every_header_field_counts(path: Path, part: Component) -> None:
    file = file_of(path, part)
    content = file.read_bytes()
    for position in (0, 7, 8, 11, 12, 15, 16, 23, 24, 31, 32, 35, 36, 59, 60, 63):
        damaged = bytearray(content)
        damaged[position] ^= 0x41
        file.write_bytes(damaged)
        with pytest.raises((CorruptionError, VersionError)) as caught:
            read_only(path)
        assert part.filename in one_line(caught)


@each_part
def test_headers_that_lie_with_right_checksums(path: Path, part: Component) -> None:
    file = file_of(path, part)
    payload, (number, rows, columns) = file.read_bytes()[64:], header_of(file)
    size = part.dtype.itemsize
    lies = [
        (number % 16 + 1, rows, columns),
        (0, rows, columns),
        (2**32 - 1, rows, columns),
        (number, rows + 1, columns),
        (number, rows - 1, columns),
        (number, 0, columns),
        (number, 2**64 - 1, columns),
        (number, rows * columns, 1 if columns > 1 else 2),
        (number, rows, 0),
        (number, 2**63, 2),
        (number, rows, 2**64 // (max(rows, 1) * size)),
    ]
    for lie in lies:
        write_file(file, payload, *lie)
        is_refused(path, part.filename)
    write_file(file, payload, number, rows, columns, version=3)
    with pytest.raises(VersionError, match="format 3"):
        read_only(path)
    for fewer in (0, max(rows - 1, 0)):
        write_file(file, payload[: fewer * columns * size], number, fewer, columns)
        use(path)  # postings may be fewer: that their lists lead nowhere is seen when searching


def test_a_file_of_no_columns_has_as_many_rows_as_it_says(templates: Path, tmp_path: Path) -> None:
    """The points of 8 bits: rows that take no bytes."""
    path = copied(templates, tmp_path, 8)
    file = file_of(path, Component.POINTS)
    assert header_of(file) == (Component.POINTS.number, 16, 0)
    for rows in (0, 1, 15, 17, 2**40, 2**63, 2**64 - 1):
        write_file(file, b"", Component.POINTS.number, rows, 0)
        with pytest.raises(CorruptionError) as caught:
            read_only(path)
        one_line(caught)


@each_part
@pytest.mark.parametrize("bits", [1, 4])
def test_a_flipped_bit_is_found_by_verify(
    templates: Path, tmp_path: Path, part: Component, bits: int
) -> None:
    path = copied(templates, tmp_path, bits)
    file = file_of(path, part)
    content = file.read_bytes()
    random = np.random.default_rng(part.number)
    for position in {64, len(content) - 1, *random.integers(64, len(content), 6).tolist()}:
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(random.integers(8))
        file.write_bytes(damaged)
        is_refused(path, part.filename, by="open" if part in READ_WHEN_OPENED else "verify")
        use(path)


@each_part
def test_random_bytes(path: Path, part: Component) -> None:
    file = file_of(path, part)
    content = file.read_bytes()
    random = np.random.default_rng(part.number)
    file.write_bytes(random.bytes(len(content)))
    is_refused(path, part.filename)
    file.write_bytes(content[:64] + random.bytes(len(content) - 64))
    is_refused(path, part.filename, by="verify")
    use(path)


@each_part
def test_removed(path: Path, part: Component) -> None:
    file = file_of(path, part)
    content = file.read_bytes()
    file.unlink()
    is_refused(path, part.filename)
    with pytest.raises(CorruptionError, match="missing"):
        gingham.open(path)
    file.write_bytes(content)
    assert use(path) == 0
    shutil.rmtree(file.parent)
    is_refused(path, file.parent.name)


@each_part
def test_taken_from_another_collection(path: Path, tmp_path: Path, part: Component) -> None:
    """Of another shape it is refused; of the same shape it cannot be told, and does no harm."""
    other = made(tmp_path / "other", 75, 8, dim=40)
    shutil.copy(file_of(other.path, part), file_of(path, part))
    if part not in (Component.POSTINGS, Component.LEVELS):  # of which any number, or 15, will do
        with pytest.raises(CorruptionError) as caught:
            read_only(path)
        one_line(caught)
    use(path)
    alike = gingham.open(tmp_path / "alike")
    alike.add(topic_vectors([1 + i % 9 for i in range(60)], seed=9), ids=list(map(str, range(60))))
    alike.optimize(bits=4)
    shutil.copy(file_of(alike.path, part), file_of(path, part))
    use(path)
    write(path)


def test_files_of_one_segment_exchanged(path: Path) -> None:
    for first, second in ((0, 1), (2, 3), (5, 6), (1, 4)):
        one, two = file_of(path, IN_SEGMENT[first]), file_of(path, IN_SEGMENT[second])
        contents = one.read_bytes(), two.read_bytes()
        one.write_bytes(contents[1])
        two.write_bytes(contents[0])
        with pytest.raises(CorruptionError, match="component"):
            read_only(path)
        one.write_bytes(contents[0])
        two.write_bytes(contents[1])
    assert use(path) == 0


# The catalog ------------------------------------------------------------------------------------


def edit(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path / "catalog.sqlite")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM codebooks",
        "UPDATE codebooks SET codebook = 77",
        "UPDATE codebooks SET codebook = -1",
        "UPDATE codebooks SET bits = 2",
        "UPDATE codebooks SET bits = 8",
        "UPDATE codebooks SET bits = 3",
        "UPDATE codebooks SET bits = 'many'",
        "UPDATE codebooks SET dim = 31",
        "UPDATE codebooks SET dim = 64",
        "UPDATE codebooks SET dim = 0",
        "UPDATE codebooks SET dim = 1000000",
        "UPDATE codebooks SET dim = 9223372036854775807",
        "UPDATE codebooks SET scale = 9e999",
        "UPDATE codebooks SET scale = 1e300",
        "UPDATE codebooks SET scale = 3e38",
        "UPDATE codebooks SET scale = -9e999",
        "UPDATE codebooks SET scale = 0",
        "UPDATE codebooks SET scale = -1.5",
        "UPDATE codebooks SET scale = 'nan'",
        "UPDATE codebooks SET scale = x'0000'",
        "UPDATE codebooks SET supers = supers + 1",
        "UPDATE codebooks SET supers = 'x'",
        "UPDATE codebooks SET centroids = centroids - 1",
        "UPDATE codebooks SET centroids = -3",
        "UPDATE codebooks SET tokens = 'x'",
        "UPDATE codebooks SET bytes = -1",
        "UPDATE segments SET codebook = 77 WHERE kind = 'clustered'",
        "UPDATE segments SET codebook = -1 WHERE kind = 'clustered'",
        "UPDATE segments SET codebook = NULL WHERE kind = 'clustered'",
        "UPDATE segments SET codebook = 'x' WHERE kind = 'clustered'",
        "UPDATE segments SET codebook = 1 WHERE kind = 'flat'",
        "UPDATE segments SET kind = 'flat'",
        "UPDATE segments SET kind = 'clustered'",
        "UPDATE segments SET kind = 'nonsense'",
        "UPDATE segments SET kind = x'00ff0a'",
        "UPDATE segments SET codec = 'int8'",
        "UPDATE segments SET codec = 'residual'",
        "UPDATE segments SET dim = 31 WHERE kind = 'clustered'",
        "UPDATE segments SET dim = 33 WHERE kind = 'clustered'",
        "UPDATE segments SET passages = passages + 1",
        "UPDATE segments SET passages = 0 WHERE kind = 'clustered'",
        "UPDATE segments SET passages = 9223372036854775807 WHERE kind = 'clustered'",
        "UPDATE segments SET tokens = tokens - 1",
        "UPDATE segments SET tokens = 'many' WHERE kind = 'clustered'",
        "UPDATE segments SET segment = segment + 10",
        "DROP TABLE codebooks",
        "ALTER TABLE segments DROP COLUMN codebook",
        "INSERT INTO settings VALUES ('parameters', '3')",
        "INSERT INTO settings VALUES ('parameters', '{\"supers\": 1}')",
        "UPDATE settings SET value = '3' WHERE key = 'bits'",
        "UPDATE settings SET value = 'true' WHERE key = 'bits'",
        "UPDATE settings SET value = '\"4\"' WHERE key = 'bits'",
        "DELETE FROM documents WHERE id = 'd0'",
    ],
)
def test_an_edited_catalog_gives_our_errors(path: Path, statement: str) -> None:
    edit(path, statement)
    with pytest.raises(CorruptionError) as caught:
        read_only(path).search(QUERY, k=99)
    one_line(caught)
    write(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE codebooks SET scale = 1e-300",
        "UPDATE codebooks SET scale = 1e9",
        "UPDATE codebooks SET tokens = 0",
        "UPDATE codebooks SET tokens = 9223372036854775807",
        "INSERT OR REPLACE INTO settings VALUES ('stays_flat', '[]')",
        "DELETE FROM settings WHERE key = 'bits'",
        "DELETE FROM tombstones",
        "INSERT INTO tombstones VALUES (9223372036854775807), (-9223372036854775808)",
        "UPDATE settings SET value = '9223372036854775807' WHERE key = 'next_document'",
        "UPDATE settings SET value = '1e999' WHERE key = 'next_segment'",
    ],
)
def test_an_edited_catalog_that_still_makes_sense(path: Path, statement: str) -> None:
    edit(path, statement)
    use(path)
    write(path)


# Attacks: right checksums, wrong contents -------------------------------------------------------

EXTREMES = (0, 1, -1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))


def hostile(part: Component, rows: Array, random: np.random.Generator) -> Array:
    """Somehow wrong, in one of many ways."""
    bounds = np.iinfo(part.dtype)
    flat = rows.reshape(-1)
    way = int(random.integers(7))
    at = random.integers(len(flat), size=max(1, len(flat) // int(random.choice([1, 4, 1000]))))
    if way == 0:
        flat[:] = random.integers(bounds.min, bounds.max, len(flat), part.dtype, endpoint=True)
    elif way == 1:
        flat[at] = random.choice([bounds.min, bounds.max])
    elif way == 2:
        flat[at] = np.array(random.choice(EXTREMES), dtype=np.int64).astype(part.dtype)
    elif way == 3:
        flat[at] += np.array(random.integers(-3, 4), dtype=np.int64).astype(part.dtype)
    elif way == 4:
        random.shuffle(flat)
    elif way == 5:
        flat[:] = flat[::-1].copy()
    else:
        flat[:] = flat[at[0]]
    return rows


@each_part
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_hostile_contents_do_no_harm(
    templates: Path, tmp_path: Path, part: Component, bits: int
) -> None:
    path = copied(templates, tmp_path, bits)
    file = file_of(path, part)
    if header_of(file)[2] == 0:
        return  # no points with 8 bits
    rows = rows_of(file, part)
    random = np.random.default_rng([part.number, bits])
    for _ in range(8):
        forge(file, part, hostile(part, rows.copy(), random))
        use(path)
    write(path)


def test_several_hostile_files_at_once(templates: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for trial in range(12):
        (tmp_path / str(trial)).mkdir()
        path = copied(templates, tmp_path / str(trial), int(random.choice([1, 4, 8])))
        for part in random.permutation(np.array(PARTS, dtype=object))[:4].tolist():
            file = file_of(path, part)
            if header_of(file)[2] > 0:
                forge(file, part, hostile(part, rows_of(file, part), random))
        use(path)
        write(path)


def refuses(path: Path, **arguments: Any) -> str:
    with pytest.raises(CorruptionError) as caught:
        read_only(path).search(QUERY, **arguments)
    text = one_line(caught)
    assert str(path) in text
    return text


WIDE = SearchParameters(99, 999, 99, 99)


@pytest.mark.parametrize(
    ("at", "value"), [(-1, 2**40), (1, -5), (5, 10**6), (0, -1), (30, 2**63 - 1), (30, -(2**63))]
)
def test_hostile_offsets(path: Path, at: int, value: int) -> None:
    file = file_of(path, Component.OFFSETS)
    offsets = rows_of(file, Component.OFFSETS)
    offsets[at] = value
    forge(file, Component.OFFSETS, offsets)
    assert "offsets" in refuses(path, exact=True, k=60)
    assert "offsets" in refuses(path, parameters=WIDE, k=60)
    with pytest.raises(CorruptionError, match="offsets"):
        gingham.open(path).optimize()


@pytest.mark.parametrize("value", [-1, 2**40, 2**63 - 1, -(2**63)])
def test_hostile_lists(path: Path, value: int) -> None:
    file = file_of(path, Component.LISTS)
    lists = rows_of(file, Component.LISTS)
    lists[1] = value
    forge(file, Component.LISTS, lists)
    assert "posting list" in refuses(path, parameters=WIDE)
    assert len(read_only(path).search(QUERY, k=99, exact=True)) == 63  # which needs no lists
    collection = gingham.open(path)
    collection.optimize(bits=4)  # makes them anew
    assert len(collection.search(QUERY, k=99, parameters=WIDE)) == 63
    collection.verify()


def test_hostile_postings(path: Path) -> None:
    file = file_of(path, Component.POSTINGS)
    words = rows_of(file, Component.POSTINGS)
    for position, value in ((0, 1), (0, 0xFFFF), (1, 0xFFFF)):
        damaged = words.copy()
        damaged[position] = value
        forge(file, Component.POSTINGS, damaged)
        assert "posting list 0" in refuses(path, parameters=WIDE)
    words[2] = 0xFFFF  # a passage that is not there is passed over
    forge(file, Component.POSTINGS, words)
    assert len(read_only(path).search(QUERY, k=99, parameters=WIDE)) == 63


def test_centroids_beyond_the_codebook(path: Path) -> None:
    """Searches take the last one; a merge, which would make lists of them, refuses."""
    file = file_of(path, Component.CODES)
    codes = rows_of(file, Component.CODES)
    codes[5] = 0xFF
    forge(file, Component.CODES, codes)
    assert use(path) == 1  # it is `verify` that complains
    with pytest.raises(CorruptionError, match="beyond their codebook"):
        gingham.open(path).optimize()
    assert len(read_only(path).search(QUERY, k=99)) == 63


def test_children_that_overflow(path: Path) -> None:
    """Each difference is positive in 64 bits."""
    file = file_of(path, Component.CHILDREN)
    children = rows_of(file, Component.CHILDREN)
    assert len(children) >= 5
    children[1:4] = 2**63 - 1, -(2**63) + 10, -5
    forge(file, Component.CHILDREN, children)
    with pytest.raises(CorruptionError, match="children must ascend"):
        read_only(path)


def test_flat_offsets_that_overflow(tmp_path: Path) -> None:
    collection = made(tmp_path / "c", 30, None)
    [file] = (collection.path / "segments").glob("*/offsets.i64")
    offsets = rows_of(file, Component.OFFSETS)
    offsets[1:4] = 2**63 - 1, -(2**63) + 10, -5
    forge(file, Component.OFFSETS, offsets)
    with pytest.raises(CorruptionError, match="offsets do not ascend"):
        read_only(collection.path)


def test_numbers_that_do_not_ascend(path: Path) -> None:
    file = file_of(path, Component.NUMBERS)
    numbers = rows_of(file, Component.NUMBERS)
    forge(file, Component.NUMBERS, numbers[::-1])
    use(path)
    numbers[-1] = 2**63 - 1
    forge(file, Component.NUMBERS, numbers)
    collection = read_only(path)
    assert len(collection.search(QUERY, k=20, ids=[f"d{i}" for i in range(40) if i != 4])) == 20
    with pytest.raises(CorruptionError, match="no entry in the catalog"):
        collection.search(QUERY, k=99)


# Damage is not copied ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part", [Component.CODES, Component.OFFSETS, Component.NUMBERS, Component.SPANS]
)
def test_a_merge_does_not_hide_damage(path: Path, part: Component) -> None:
    """A copy of a damaged file would have a right checksum."""
    file = file_of(path, part)
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    before = array_files(path)
    collection = gingham.open(path)
    with pytest.raises(CorruptionError) as caught:
        collection.optimize()
    assert part.filename in one_line(caught)
    assert file.read_bytes() == bytes(damaged)
    assert before.keys() - array_files(path).keys() == {
        name for name in before if Path(name).with_name("vectors.i8").as_posix() in before
    }  # what was flat is compressed by now


def test_segments_without_a_catalog_are_left_alone(path: Path) -> None:
    before = array_files(path)
    (path / "catalog.sqlite").unlink()
    with pytest.raises(CollectionError, match="missing"):
        gingham.open(path)
    assert array_files(path) == before
