r"""Files of queries → text by query id.

What the file begins with decides its format: `{` JSON lines, `<` topics (`topic_files`), else
tab-separated lines of an id and a text. Which queries have judgements is not known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from gingham.errors import SourceError
from gingham.evaluation.numbered_lines import numbered_lines, quoted, shown
from gingham.evaluation.topic_files import WHOLE, topics

DEFAULT_FIELD = "title"

_ID_FIELDS = ("_id", "id", "query_id", "qid")
_TEXT_FIELDS = ("text", "query", "question")
_ID_COLUMNS = frozenset({"_id", "id", "qid", "query_id", "query-id"})
# Tracks name the same part of a topic differently.
_SAME_FIELD = (
    ("title", "query", WHOLE),
    ("desc", "description"),
    ("narr", "narrative"),
)
_MARKUP = re.compile(r"\s*<[?!A-Za-z]")


class Query(NamedTuple):
    """One query and the line it starts in."""

    line: int
    id: str
    text: str


def read_queries(path: Path, field: str = DEFAULT_FIELD) -> dict[str, str]:
    """Text by query id, in the order of the file; a text may be empty.

    Args:
        path: the file.
        field: which part of a topic or record is the query.

    Raises:
        SourceError: the file cannot be read, an entry breaks the format, an id comes twice, or
            there is no query.
    """
    texts: dict[str, str] = {}
    for line, id, text in queries(path, field):
        if id in texts:
            raise SourceError(
                f"{shown(path)}, line {line}: the query id {quoted(id)} was already in line "
                f"{line_of_query(path, id, field)}; query ids must differ: rename or remove one"
            )
        texts[id] = text
    if not texts:
        raise SourceError(
            f"{shown(path)}: there is no query in it; expected JSON lines, lines of an id, a tab "
            "and a text, or TREC topics"
        )
    return texts


def queries(path: Path, field: str = DEFAULT_FIELD) -> Iterator[Query]:
    """Every query in the order of the file; repeats are not looked for.

    Raises:
        SourceError: the file cannot be read or an entry breaks the format.
    """
    _, first = next(numbered_lines(path), (0, ""))
    if first.lstrip().startswith("{") or path.suffix.lower() in {".jsonl", ".ndjson"}:
        return _from_json_lines(path, field)
    if _MARKUP.match(first):
        return _from_topics(path, field)
    return _from_tsv(path, field)


def line_of_query(path: Path, id: str, field: str = DEFAULT_FIELD) -> int | None:
    """The line of the first query of this id: read again, so that only errors pay for it."""
    return next((query.line for query in queries(path, field) if query.id == id), None)


def choose_field(names: Sequence[str], wanted: str) -> str | None:
    """The name among `names` that is the wanted part of a topic, under whatever name."""
    lower = wanted.lower()
    same = next((group for group in _SAME_FIELD if lower in group), ())
    return next((name for name in (wanted, lower, *same) if name in names), None)


def _from_topics(path: Path, field: str) -> Iterator[Query]:
    for line, id, fields in topics(path):
        name = choose_field(list(fields), field)
        if name is None:
            raise SourceError(
                f"{shown(path)}, line {line}: topic {quoted(id)} has no field {quoted(field)}; it "
                f"has {_listed(fields)}: choose one of them with --topic-field (topic_field=)"
            )
        yield Query(line, id, fields[name])


def _from_tsv(path: Path, field: str) -> Iterator[Query]:
    first = True
    for number, line in numbered_lines(path):
        where = f"{shown(path)}, line {number}"
        if field.lower() not in (DEFAULT_FIELD, *_TEXT_FIELDS):
            raise SourceError(
                f"{where}: a tab-separated file has one text a query and no field {quoted(field)}; "
                "leave --topic-field (topic_field=) out"
            )
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 2:
            raise SourceError(
                f"{where}: {len(cells)} column{'s' * (len(cells) != 1)}; expected 2, separated by "
                "a tab: query id and text"
            )
        if first and cells[0].lower() in _ID_COLUMNS and cells[1].lower() in _TEXT_FIELDS:
            first = False
            continue
        first = False
        if not cells[0]:
            raise SourceError(f"{where}: the query id is empty; every query needs one")
        yield Query(number, cells[0], cells[1])


def _from_json_lines(path: Path, field: str) -> Iterator[Query]:
    for number, line in numbered_lines(path):
        where = f"{shown(path)}, line {number}"
        record = _record(line, where)
        usual = (*_TEXT_FIELDS, DEFAULT_FIELD)
        wanted = usual if field == DEFAULT_FIELD else (field,)
        name = next((name for name in wanted if name in record), None)
        if name is None:
            raise SourceError(
                f"{where}: no query text: expected {' | '.join(wanted)}, found {_listed(record)}"
            )
        yield Query(number, _id(record, where), _text(record[name], name, where))


def _record(line: str, where: str) -> dict[str, Any]:
    rule = "each line must be one JSON object"
    try:
        record = json.loads(line, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise SourceError(
            f"{where}: not JSON ({error.msg.lower()} at column {error.colno}); {rule}"
        ) from error
    except (ValueError, RecursionError) as error:  # NaN, a number of too many digits, deep nesting
        raise SourceError(f"{where}: not JSON ({error}); {rule}") from error
    if not isinstance(record, dict):
        raise SourceError(f"{where}: got {_kind(record)}; {rule}")
    return record


def _id(record: dict[str, Any], where: str) -> str:
    name = next((name for name in _ID_FIELDS if name in record), None)
    if name is None:
        raise SourceError(
            f"{where}: no query id: expected {' | '.join(_ID_FIELDS)}, found {_listed(record)}"
        )
    value = record[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return without_half_characters(value.strip())
    found = "an empty string" if isinstance(value, str) else _kind(value)
    raise SourceError(
        f"{where}: the query id in field {name!r} must be a string or a whole number, got {found}"
    )


def _text(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise SourceError(
            f"{where}: the query text in field {name!r} must be a string, got {_kind(value)}"
        )
    return without_half_characters(value.strip())


def without_half_characters(text: str) -> str:
    """The text with "?" for each half of a UTF-16 character: JSON can spell these, files cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else "a string")


def _listed(record: dict[str, Any]) -> str:
    names = [quoted(name) for name in list(record)[:8]]
    return ", ".join(names + ["…"] * (len(record) > 8)) or "no field at all"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
