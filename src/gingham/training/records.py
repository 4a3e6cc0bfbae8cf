"""One line of training data, however it is spelt, and sets made of such lines.

Few lines become a set in memory in which the same text is one document. Many stay where they are:
a text's id is then its line's number, and it is read when a batch needs it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from gingham.errors import SourceError, shown
from gingham.evaluation.numbered_lines import quoted
from gingham.training.examples import Example, TrainingSet

QUERY = ("query", "anchor", "question", "q")
POSITIVE = ("positive", "positives", "pos", "answer", "answers", "passage", "document", "text")
NEGATIVE = ("negative", "negatives", "neg", "hard_negatives")
LISTED = ("documents", "passages", "candidates")
SCORES = ("scores", "score", "teacher_scores")
_SHAPES = (
    '{"query", "positive"}, {"query", "positive", "negative"} or {"query", "documents", "scores"}'
)


@dataclass(frozen=True, slots=True)
class Record:
    """One example as texts, or as ids where the texts are elsewhere.

    Attributes:
        query: text or id.
        positives: texts or ids.
        negatives: texts or ids.
        scores: of positives, then negatives; None: none.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None

    @property
    def documents(self) -> tuple[str, ...]:
        """Positives, then negatives."""
        return self.positives + self.negatives


def from_json(line: str, where: str) -> Record:
    """A line of JSON: an object, or a list as ColBERT's files have it.

    Raises:
        SourceError: it is none of the shapes that are known, or a text is empty.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: not JSON ({error}); expected {_SHAPES}") from error
    if isinstance(value, list):
        return _from_list(value, where)
    if isinstance(value, dict):
        return from_columns(value, where)
    raise SourceError(f"{where}: no example; expected {_SHAPES}")


def from_columns(row: Mapping[str, Any], where: str) -> Record:
    """A row of named columns.

    Raises:
        SourceError: a column is missing or of the wrong type, or a text is empty.
    """
    query = _find(row, QUERY)
    positive, listed, scores = _find(row, POSITIVE), _find(row, LISTED), _find(row, SCORES)
    numbered = sorted(
        (name for name in row if name.lower().startswith(("negative_", "neg_"))), key=_number
    )
    negative = _find(row, NEGATIVE)
    if query is None or (positive is None and listed is None):
        names = ", ".join(quoted(name) for name in list(row)[:12]) or "nothing"
        raise SourceError(f"{where}: it has {names}; expected {_SHAPES}")
    positives = _texts(row[positive], positive, where) if positive is not None else ()
    negatives = _texts(row[negative], negative, where) if negative is not None else ()
    for name in numbered:
        negatives += _texts(row[name], name, where)
    if listed is not None:
        negatives += _texts(row[listed], listed, where)
    [text] = _texts(row[query], query, where, most=1)
    found = None if scores is None else _numbers(row[scores], where)
    if listed is not None and positive is None and found is None:
        # Without scores the first is the positive, as in ColBERT's files.
        positives, negatives = negatives[:1], negatives[1:]
    return _checked(Record(text, positives, negatives, found), where)


def from_triple(line: str, where: str) -> Record:
    """A line of tab-separated columns: query, positive, and any number of negatives.

    Raises:
        SourceError: there are fewer than two columns, or one is empty.
    """
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) < 2:
        raise SourceError(
            f"{where}: {len(cells)} column; expected a query, a positive and negatives, separated "
            "by tabs"
        )
    return _checked(Record(cells[0], (cells[1],), tuple(cells[2:])), where)


def as_set(name: str, records: Iterable[Record]) -> TrainingSet:
    """A set in memory; the same text is one query or one document."""
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    examples = []

    def id_of(text: str, ids: dict[str, str], letter: str) -> str:
        return ids.setdefault(text, f"{letter}{len(ids) + 1}")

    for record in records:
        examples.append(
            Example(
                id_of(record.query, queries, "q"),
                tuple(id_of(text, documents, "d") for text in record.positives),
                tuple(id_of(text, documents, "d") for text in record.negatives),
                record.scores,
            )
        )
    return TrainingSet(
        name,
        {id: text for text, id in queries.items()},
        {id: text for text, id in documents.items()},
        tuple(examples),
    )


class Rows(Sequence[Record]):
    """Records that are made when they are asked for; the last one is remembered.

    Args:
        count: how many.
        read: the record of an index.
    """

    def __init__(self, count: int, read: Callable[[int], Record]) -> None:
        self._count, self._read = count, read
        self._last: tuple[int, Record] | None = None

    def __len__(self) -> int:
        """How many."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """The record of an index."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        last = self._last
        if last is None or last[0] != index:
            last = self._last = (index, self._read(index))
        return last[1]


def as_lazy_set(name: str, rows: Rows) -> TrainingSet:
    """A set whose texts stay where they are; ids are numbers of rows, and of documents in a row."""
    return TrainingSet(name, _Queries(rows), _Documents(rows), _Examples(rows))


class _Queries(Mapping[str, str]):
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __getitem__(self, id: str) -> str:
        try:
            return self._rows[int(id)].query
        except (ValueError, IndexError):
            raise KeyError(id) from None

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return map(str, range(len(self._rows)))


class _Documents(Mapping[str, str]):
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __getitem__(self, id: str) -> str:
        row, _, column = id.partition(".")
        try:
            return self._rows[int(row)].documents[int(column)]
        except (ValueError, IndexError):
            raise KeyError(id) from None

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        for row in range(len(self._rows)):
            yield from (f"{row}.{column}" for column in range(len(self._rows[row].documents)))


class _Examples(Sequence[Example]):
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        record = self._rows[index]
        ids = [f"{index}.{column}" for column in range(len(record.documents))]
        split = len(record.positives)
        return Example(str(index), tuple(ids[:split]), tuple(ids[split:]), record.scores)


def _from_list(value: list[Any], where: str) -> Record:
    rule = "expected [query id, [document id, score], …] or [query id, positive id, negative id, …]"
    if len(value) < 2:
        raise SourceError(f"{where}: a list of {len(value)}; {rule}")
    [query] = _texts(value[0], "query id", where, most=1)
    if all(isinstance(item, list) and len(item) == 2 for item in value[1:]):
        ids = tuple(id for item in value[1:] for id in _texts(item[0], "document id", where, 1))
        return _checked(Record(query, (), ids, _numbers([i[1] for i in value[1:]], where)), where)
    if any(isinstance(item, (list, dict)) for item in value[1:]):
        raise SourceError(f"{where}: {rule}")
    ids = tuple(id for item in value[1:] for id in _texts(item, "document id", where, 1))
    return _checked(Record(query, ids[:1], ids[1:]), where)


def _checked(record: Record, where: str) -> Record:
    if not record.query:
        raise SourceError(f"{where}: the query is empty; write it, or remove the line")
    if not record.documents:
        raise SourceError(f"{where}: there is no document; give at least a positive")
    if "" in record.documents:
        raise SourceError(
            f"{where}: a document of query {quoted(record.query)} is empty; write it, or remove it"
        )
    both = next((text for text in record.positives if text in record.negatives), None)
    if both is not None:
        raise SourceError(
            f"{where}: {shown(both)} is a positive and a negative of query "
            f"{quoted(record.query)}; decide which"
        )
    if record.scores is not None and len(record.scores) != len(record.documents):
        raise SourceError(
            f"{where}: {len(record.documents)} documents and {len(record.scores)} scores; give one "
            "score a document"
        )
    return record


def _find(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    by_name = {name.lower(): name for name in row}
    return next((by_name[name] for name in names if name in by_name), None)


def _number(name: str) -> tuple[int, str]:
    tail = name.rpartition("_")[2]
    return (int(tail), name) if tail.isdigit() else (2**31, name)


def _texts(value: Any, name: str, where: str, most: int | None = None) -> tuple[str, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    texts = []
    for one in values:
        if isinstance(one, int) and not isinstance(one, bool):
            one = str(one)  # an id
        if isinstance(one, dict) and isinstance(one.get("text"), str):
            title = one.get("title") or ""
            one = f"{title}\n{one['text']}" if title else one["text"]
        if not isinstance(one, str):
            raise SourceError(
                f"{where}: {quoted(name)} must be a text or a list of texts, got {shown(one)}"
            )
        texts.append(one.strip())
    if most is not None and len(texts) != most:
        raise SourceError(f"{where}: {quoted(name)} must be one text, got {len(texts)}")
    return tuple(texts)


def _numbers(value: Any, where: str) -> tuple[float, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one)
        for one in values
    ):
        raise SourceError(f"{where}: scores must be finite numbers, got {shown(value)}")
    return tuple(float(one) for one in values)
