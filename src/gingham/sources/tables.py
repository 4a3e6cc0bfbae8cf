r"""JSON lines, TSV and CSV → one document a record.

The id and the text are found by their usual names, in any case; a title goes in front of the text;
every other field becomes metadata, as it is (CSV and TSV values stay strings). A record without an
id is named after its file and line. A TSV of two columns without a header is MS MARCO's
`pid\ttext`; TSV knows no quotes. A record without text is given out with the text "", for the
conductor to count.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NoReturn

from gingham.document import Document
from gingham.errors import SourceError
from gingham.sources.options import SourceOptions

ID_FIELDS = ("_id", "id", "doc_id", "docid", "pid")
TEXT_FIELDS = ("text", "contents", "body", "passage", "content")
TITLE_FIELD = "title"

# A JSON escape that may be half of a character: "\ud83d" alone is no text.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONGEST_FIELD = 2**31 - 1

Numbered = tuple[int, Document]


def json_lines(lines: Iterable[str], name: str, options: SourceOptions) -> Iterator[Numbered]:
    """One document a JSON object, with the number of its line.

    Raises:
        SourceError: a line is no JSON object, or has no text field or no usable id.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            record = json.loads(line, parse_constant=_no_constant)
        except RecursionError as error:
            raise SourceError(f"{where}: JSON that is nested too deeply") from error
        except json.JSONDecodeError as error:
            raise SourceError(
                f"{where}: not JSON ({error.msg.lower()} at column {error.colno}); "
                "each line must be one JSON object"
            ) from error
        except ValueError as error:  # a constant like NaN, a number of too many digits
            raise SourceError(f"{where}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise SourceError(f"{where}: each line must be a JSON object, got {_kind(record)}")
        if _SURROGATE.search(line):
            record = _replace_half_characters(record)
        yield number, _document(record, where, f"{name}#{number}", options)


def tab_separated(lines: Iterable[str], name: str, options: SourceOptions) -> Iterator[Numbered]:
    """One document a line of a TSV, with the number of its line.

    Raises:
        SourceError: there is no text column, or a line has more or fewer columns than the first.
    """
    header: list[str] | None = None
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        if header is None:
            first = line.split("\t")
            if _is_header(first, options):
                header = first
                _check_text_column(header, where, options)
                continue
            if len(first) != 2:
                raise SourceError(
                    f"{where}: {len(first)} column{'s' * (len(first) > 1)} and no header; "
                    f"expected a header with a column named {_names(options)}, "
                    "or two columns: id and text"
                )
            header = []
        if header:
            yield (
                number,
                _document(
                    _row(line.split("\t"), header, where), where, f"{name}#{number}", options
                ),
            )
            continue
        id, tab, text = line.partition("\t")
        if not tab or not id.strip():
            raise SourceError(f"{where}: expected an id, a tab and the text, as in the first line")
        yield number, Document(id.strip(), text.strip(), {})


def comma_separated(lines: Iterable[str], name: str, options: SourceOptions) -> Iterator[Numbered]:
    """One document a row of a CSV with a header, with the number of the line it starts in.

    Raises:
        SourceError: there is no text column, a row has more or fewer columns than the header, or
            a quote is not closed.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    rest = iter(lines)
    first = next(rest, "")
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(chain([first], rest), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        number = rows.line_num + 1
        where = f"{name}, line {number}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise SourceError(f"{where}: not CSV ({error})") from error
        if row is None:
            return
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [column.strip() for column in row]
            _check_text_column(header, where, options)
            continue
        yield number, _document(_row(row, header, where), where, f"{name}#{number}", options)


def _document(record: dict[str, Any], where: str, unnamed: str, options: SourceOptions) -> Document:
    text_field = _find(record, options.text_field, TEXT_FIELDS)
    if text_field is None:
        raise SourceError(_no_text(record, where, options))
    id_field = _find(record, options.id_field, ID_FIELDS)
    if id_field is None and options.id_field is not None:
        raise SourceError(f"{where}: no field {options.id_field!r}; it has {_listed(record)}")
    metadata = {key: value for key, value in record.items() if key not in (text_field, id_field)}
    text = _string(record[text_field], text_field, where)
    title_field = _find(metadata, None, (TITLE_FIELD,))
    if title_field is not None and (title := metadata.pop(title_field)) is not None:
        text = f"{_string(title, TITLE_FIELD, where)}\n{text}"
    if isinstance(nested := metadata.get("metadata"), dict):  # BEIR
        del metadata["metadata"]
        metadata = {**nested, **metadata}
    return Document(
        unnamed if id_field is None else _id(record[id_field], id_field, where),
        text.strip(),
        metadata,
    )


def _find(record: dict[str, Any], wanted: str | None, usual: tuple[str, ...]) -> str | None:
    if wanted is not None:
        return wanted if wanted in record else None
    by_name = {key.lower(): key for key in record}
    return next((by_name[name] for name in usual if name in by_name), None)


def _string(value: Any, field: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SourceError(f"{where}: field {field!r} must be a string, got {_kind(value)}")
    return value.strip()


def _id(value: Any, field: str, where: str) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise SourceError(
        f"{where}: the id in field {field!r} must be a string or a whole number, "
        f"got {'an empty string' if isinstance(value, str) else _kind(value)}"
    )


def _row(values: list[str], header: list[str], where: str) -> dict[str, Any]:
    if len(values) != len(header):
        raise SourceError(
            f"{where}: {len(values)} column{'s' * (len(values) != 1)}, "
            f"but the header has {len(header)}"
        )
    return dict(zip(header, values, strict=True))


def _is_header(row: list[str], options: SourceOptions) -> bool:
    wanted = {options.text_field, options.id_field, *TEXT_FIELDS, *ID_FIELDS}
    return any(name in wanted or name.lower() in wanted for name in row)


def _check_text_column(header: list[str], where: str, options: SourceOptions) -> None:
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise SourceError(f"{where}: the header names column {twice!r} twice")
    record = dict.fromkeys(header)
    if _find(record, options.text_field, TEXT_FIELDS) is None:
        raise SourceError(_no_text(record, where, options))


def _no_text(record: dict[str, Any], where: str, options: SourceOptions) -> str:
    remedy = "" if options.text_field else "; or name it: --text-field NAME"
    return f"{where}: no text field: expected {_names(options)}, found {_listed(record)}{remedy}"


def _names(options: SourceOptions) -> str:
    return repr(options.text_field) if options.text_field else " | ".join(TEXT_FIELDS)


def _listed(record: dict[str, Any]) -> str:
    names = [repr(name) for name in list(record)[:8]]
    return ", ".join(names + ["…"] * (len(record) > 8)) or "no field at all"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else "a string")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _replace_half_characters(value: Any) -> Any:
    if isinstance(value, str):
        # Two halves in a row are a character; a half alone becomes "?".
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_replace_half_characters(item) for item in value]
    if isinstance(value, dict):
        return {
            _replace_half_characters(key): _replace_half_characters(item)
            for key, item in value.items()
        }
    return value
