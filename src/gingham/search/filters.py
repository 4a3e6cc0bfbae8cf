"""A `where` condition on metadata → the documents that meet it.

The language is MongoDB's, the part that vector databases have made common:

    {"lang": "en"}                          equal; for a list in the metadata: contains
    {"year": {"$gte": 1990, "$lt": 2000}}   $eq $ne $gt $gte $lt $lte, all must hold
    {"lang": {"$in": ["en", "de"]}}         $in $nin
    {"$or": [{…}, {…}]}                     $and $or over lists, $not over one condition

Values are compared within their kind only: numbers with numbers, strings with strings, true and
false with themselves. `$ne`, `$nin` and `$not` are exact complements, so they also hold for
documents that lack the key. Parsing makes a tree of frozen values; no SQL is made from it: each
leaf is one constant statement with bound values, and sets of document numbers are joined here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from gingham.document import Int64
from gingham.errors import FilterError, shown
from gingham.index.catalog import Scalar
from gingham.index.snapshot import Snapshot

_MAX_DEPTH = 32
_OPERATORS = ("$eq", "$ne", "$in", "$nin", "$gt", "$gte", "$lt", "$lte")


@dataclass(frozen=True, slots=True)
class Selected:
    """A set of documents: `numbers` (ascending int64), or all but these."""

    numbers: Int64
    complement: bool = False

    def contains(self, numbers: Int64) -> npt.NDArray[np.bool_]:
        """Which of the numbers are in the set."""
        return np.isin(numbers, self.numbers, invert=self.complement)

    def __invert__(self) -> Selected:
        """All documents that are not in the set."""
        return Selected(self.numbers, not self.complement)

    def __and__(self, other: Selected) -> Selected:
        """Documents in both sets."""
        if self.complement and other.complement:
            return Selected(np.union1d(self.numbers, other.numbers), True)
        if self.complement:
            return other & self
        if other.complement:
            return Selected(np.setdiff1d(self.numbers, other.numbers, assume_unique=True))
        return Selected(np.intersect1d(self.numbers, other.numbers, assume_unique=True))

    def __or__(self, other: Selected) -> Selected:
        """Documents in either set."""
        return ~(~self & ~other)


@dataclass(frozen=True, slots=True)
class Leaf:
    """The documents with a value of `key` that meets one comparison."""

    key: str
    operator: str
    operand: Scalar

    def select(self, snapshot: Snapshot) -> Selected:
        """Ask the catalog."""
        return Selected(snapshot.numbers_where(self.key, self.operator, self.operand))


@dataclass(frozen=True, slots=True)
class Not:
    """All documents but those that meet the condition."""

    condition: Condition

    def select(self, snapshot: Snapshot) -> Selected:
        """The complement."""
        return ~self.condition.select(snapshot)


@dataclass(frozen=True, slots=True)
class And:
    """Documents that meet all conditions; all documents where there is none."""

    conditions: tuple[Condition, ...]

    def select(self, snapshot: Snapshot) -> Selected:
        """The intersection."""
        everything = Selected(np.empty(0, dtype=np.int64), complement=True)
        return reduce(lambda a, b: a & b, (c.select(snapshot) for c in self.conditions), everything)


@dataclass(frozen=True, slots=True)
class Or:
    """Documents that meet any condition; none where there is none."""

    conditions: tuple[Condition, ...]

    def select(self, snapshot: Snapshot) -> Selected:
        """The union."""
        nothing = Selected(np.empty(0, dtype=np.int64))
        return reduce(lambda a, b: a | b, (c.select(snapshot) for c in self.conditions), nothing)


@dataclass(frozen=True, slots=True, eq=False)
class Among:
    """The documents of a list: `numbers` (ascending int64, each once)."""

    numbers: Int64

    def select(self, snapshot: Snapshot) -> Selected:
        """The list."""
        return Selected(self.numbers)


Condition = Leaf | Not | And | Or | Among


def parse(where: Mapping[str, Any]) -> Condition:
    """A `where` mapping as a condition.

    Raises:
        FilterError: an unknown operator, a value of the wrong type, nesting beyond 32 levels.
    """
    return _parse(where, 0)


def _parse(where: object, depth: int) -> Condition:
    if depth > _MAX_DEPTH:
        raise FilterError(f"filter is nested deeper than {_MAX_DEPTH} levels: flatten it")
    if not isinstance(where, Mapping):
        raise FilterError(f"filter must be an object such as {{'lang': 'en'}}, got {shown(where)}")
    parts: list[Condition] = []
    for key, value in where.items():
        if not isinstance(key, str):
            raise FilterError(f"filter keys are strings, got {shown(key)}")
        _check_text(key)
        if key in ("$and", "$or"):
            if not isinstance(value, (list, tuple)) or not value:
                raise FilterError(f"{key} takes a non-empty list of conditions, got {shown(value)}")
            conditions = tuple(_parse(item, depth + 1) for item in value)
            parts.append(And(conditions) if key == "$and" else Or(conditions))
        elif key == "$not":
            parts.append(Not(_parse(value, depth + 1)))
        elif key.startswith("$"):
            raise FilterError(
                f"unknown operator {shown(key)} at the start of a condition: use $and, $or, $not "
                "or a metadata name"
            )
        elif isinstance(value, Mapping):
            if not value:
                raise FilterError(f"empty comparison for {shown(key)}: write e.g. {{'$gte': 1990}}")
            parts.extend(_comparison(key, operator, v) for operator, v in value.items())
        else:
            parts.append(_equal(key, value))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _comparison(key: str, operator: object, operand: object) -> Condition:
    if operator not in _OPERATORS or not isinstance(operator, str):
        raise FilterError(
            f"unknown operator {shown(operator)} for {shown(key)}: use one of "
            f"{', '.join(_OPERATORS)}"
        )
    if operator in ("$eq", "$ne"):
        return _equal(key, operand) if operator == "$eq" else Not(_equal(key, operand))
    if operator in ("$in", "$nin"):
        if not isinstance(operand, (list, tuple)):
            raise FilterError(f"{operator} for {shown(key)} takes a list, got {shown(operand)}")
        anyone = Or(tuple(_equal(key, item) for item in operand))
        return anyone if operator == "$in" else Not(anyone)
    if isinstance(operand, bool) or not isinstance(operand, (int, float, str)):
        raise FilterError(
            f"{operator} for {shown(key)} compares numbers or strings, got {shown(operand)}"
        )
    return Leaf(key, operator, _scalar(key, operand))


def _equal(key: str, value: object) -> Leaf:
    return Leaf(key, "$eq", _scalar(key, value))


def _scalar(key: str, value: object) -> Scalar:
    if isinstance(value, str):
        _check_text(value)
        return value
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise FilterError(f"{shown(key)} is compared with {shown(value)}: beyond 64 bits")
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise FilterError(
        f"{shown(key)} is compared with {shown(value)}: only strings, finite numbers, true, false "
        "and null can be"
    )


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FilterError(f"filter has text that is not valid Unicode: {text[:40]!a}") from None
