"""`where` conditions against plain Python over the same metadata."""

from __future__ import annotations

import operator as operator_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gingham
from gingham import Collection, FilterError
from support import random_vectors

RECORDS: list[dict[str, Any]] = [
    {"lang": "en", "year": 1990, "tags": ["a", "b"], "open": True},
    {"lang": "de", "year": 1995.5, "tags": [], "open": False},
    {"lang": "en", "year": 2004, "tags": ["b"]},
    {"lang": None, "year": "2004"},
    {"year": 1, "open": 1},
    {"lang": "O'Brien\"; DROP TABLE documents; --", "": "empty key"},
    {},
]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    collection = gingham.open(tmp_path_factory.mktemp("filters") / "c")
    ids = [str(i) for i in range(len(RECORDS))]
    collection.add(random_vectors([2] * len(RECORDS)), ids=ids, metadata=RECORDS)
    return collection


def found(collection: Collection, where: dict[str, Any]) -> set[int]:
    hits = collection.search(random_vectors([3])[0], k=100, where=where)
    return {int(hit.id) for hit in hits}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, {0, 1, 2, 3, 4, 5, 6}),
        ({"lang": "en"}, {0, 2}),
        ({"lang": {"$eq": "en"}}, {0, 2}),
        ({"lang": {"$ne": "en"}}, {1, 3, 4, 5, 6}),
        ({"lang": None}, {3}),
        ({"lang": {"$in": ["en", "de"]}}, {0, 1, 2}),
        ({"lang": {"$in": []}}, set()),
        ({"lang": {"$nin": ["en", None]}}, {1, 4, 5, 6}),
        ({"tags": "b"}, {0, 2}),
        ({"year": {"$gte": 1990, "$lt": 2004}}, {0, 1}),
        ({"year": {"$gt": 1995.4}}, {1, 2}),
        ({"year": {"$lte": 1}}, {4}),
        ({"year": {"$gte": "2"}}, {3}),
        ({"year": 1990.0}, {0}),
        ({"open": True}, {0}),
        ({"open": 1}, {4}),
        ({"lang": "en", "year": 2004}, {2}),
        ({"$or": [{"lang": "de"}, {"year": 1}]}, {1, 4}),
        ({"$and": [{"lang": "en"}, {"$not": {"tags": "a"}}]}, {2}),
        ({"$not": {"$or": [{"lang": "en"}, {"lang": "de"}]}}, {3, 4, 5, 6}),
        ({"lang": "O'Brien\"; DROP TABLE documents; --"}, {5}),
        ({"": "empty key"}, {5}),
        ({"x' OR 1=1 --": 1}, set()),
        ({"nothing": "here"}, set()),
    ],
)
def test_conditions(records: Collection, where: dict[str, Any], expected: set[int]) -> None:
    assert found(records, where) == expected


@pytest.mark.parametrize(
    "where",
    [
        [],
        "lang = 'en'",
        {"$nor": []},
        {"$and": []},
        {"$or": {}},
        {"$not": 3},
        {"lang": {}},
        {"lang": {"$regex": "e.*"}},
        {"lang": {"$in": "en"}},
        {"lang": {"$gt": True}},
        {"lang": {"$gt": None}},
        {"lang": ["en"]},
        {"lang": {"$eq": {"a": 1}}},
        {"year": float("nan")},
        {"year": 2**70},
        {"lang": "\ud800"},
        {"\ud800": 1},
        {3: 4},
        {"lang": object()},
    ],
)
def test_bad_conditions(records: Collection, where: Any) -> None:
    with pytest.raises(FilterError) as caught:
        records.search(random_vectors([3])[0], where=where)
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_refused(records: Collection) -> None:
    where: dict[str, Any] = {"lang": "en"}
    for _ in range(5000):
        where = {"$not": where}
    with pytest.raises(FilterError, match="nested deeper"):
        records.search(random_vectors([3])[0], where=where)


scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["a", "b", "-1"]))
comparable = st.one_of(st.integers(-3, 3), st.sampled_from(["a", "b", "-1"]))
leaves = st.one_of(
    st.tuples(st.sampled_from("xyz"), scalars).map(lambda pair: {pair[0]: pair[1]}),
    st.tuples(
        st.sampled_from("xyz"), st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), comparable
    ).map(lambda t: {t[0]: {t[1]: t[2]}}),
    st.tuples(st.sampled_from("xyz"), st.sampled_from(["$in", "$nin"]), st.lists(scalars)).map(
        lambda t: {t[0]: {t[1]: t[2]}}
    ),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda c: {"$and": c}),
        st.lists(inner, min_size=1, max_size=3).map(lambda c: {"$or": c}),
        inner.map(lambda c: {"$not": c}),
    ),
    max_leaves=6,
)


def kind(value: Any) -> str:
    return "number" if isinstance(value, int) and not isinstance(value, bool) else str(type(value))


def holds(where: dict[str, Any], record: dict[str, Any]) -> bool:
    """The specification, one document at a time."""
    for key, value in where.items():
        if key == "$and":
            ok = all(holds(part, record) for part in value)
        elif key == "$or":
            ok = any(holds(part, record) for part in value)
        elif key == "$not":
            ok = not holds(value, record)
        else:
            ok = compares(key, value, record)
        if not ok:
            return False
    return True


def compares(key: str, value: Any, record: dict[str, Any]) -> bool:
    if not isinstance(value, dict):
        value = {"$in": [value]}
    [(operator, operand)] = value.items()
    there = [record[key]] if key in record else []
    if operator in ("$in", "$nin"):
        same = any(kind(t) == kind(o) and t == o for t in there for o in operand)
        return bool(same == (operator == "$in"))
    compare = getattr(operator_module, {"$gte": "ge", "$lte": "le"}.get(operator, operator[1:]))
    return any(kind(t) == kind(operand) and bool(compare(t, operand)) for t in there)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collection, list[dict[str, Any]]]:
    values: list[Any] = [None, True, False, -1, 0, 2, "a", "-1"]
    metadata: list[dict[str, Any]] = [{}]
    metadata.extend({"x": x, "y": values[(3 * i) % 8]} for i, x in enumerate(values))
    metadata.extend({"y": y} for y in values)
    collection = gingham.open(tmp_path_factory.mktemp("grid") / "c")
    ids = [str(i) for i in range(len(metadata))]
    collection.add(random_vectors([1] * len(metadata)), ids=ids, metadata=metadata)
    collection.delete(["2"])
    return collection, metadata


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(where=conditions)
def test_any_condition_means_what_python_means(
    grid: tuple[Collection, list[dict[str, Any]]], where: dict[str, Any]
) -> None:
    collection, metadata = grid
    expected = {i for i, record in enumerate(metadata) if i != 2 and holds(where, record)}
    assert found(collection, where) == expected


def test_paths_are_not_confused(tmp_path: Path) -> None:
    collection = gingham.open(tmp_path / "c")
    metadata: list[dict[str, Any]] = [{"a.b": 1}, {"a": {"b": 1}}]
    collection.add(random_vectors([1, 1]), ids=["0", "1"], metadata=metadata)
    assert found(collection, {"a.b": 1}) == {0}
    assert collection.get("1").metadata == {"a": {"b": 1}}
