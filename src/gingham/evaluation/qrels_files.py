r"""Files of judgements → relevance grades by query and document.

The first line decides the format of the file:

- BEIR: tab-separated, the header `query-id\tcorpus-id\tscore`;
- tab-separated without a header: query, document, relevance;
- TREC, MS MARCO: query, iteration, document, relevance, separated by any white space.

Whether the queries and documents exist is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gingham.errors import SourceError
from gingham.evaluation.dataset import LARGEST_GRADE
from gingham.evaluation.numbered_lines import numbered_lines, quoted, shown, words

_HEADER = (
    frozenset({"query-id", "query_id", "queryid", "qid", "query"}),
    frozenset({"corpus-id", "corpus_id", "doc_id", "docid", "document_id", "pid", "did"}),
    frozenset({"score", "relevance", "rel", "label", "grade"}),
)
# Nine digits fit every integer of every tool that will read these grades.
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
_FORMATS = (
    "the header query-id, corpus-id, score and lines of three columns separated by tabs, the same "
    "without a header, or TREC's four columns: query, iteration, document, relevance"
)


class Judgement(NamedTuple):
    """One line: how relevant a document is to a query."""

    line: int
    query_id: str
    document_id: str
    relevance: int


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Relevance grades by query and document, in the order of the file.

    Raises:
        SourceError: the file cannot be read, a line breaks the format, a document is judged twice
            for a query, or there is no judgement.
    """
    qrels: dict[str, dict[str, int]] = {}
    for judgement in judgements(path):
        grades = qrels.setdefault(judgement.query_id, {})
        if judgement.document_id in grades:
            raise _judged_twice(path, judgement)
        grades[judgement.document_id] = judgement.relevance
    if not qrels:
        raise SourceError(f"{shown(path)}: there is no judgement in it; expected {_FORMATS}")
    return qrels


def judgements(path: Path) -> Iterator[Judgement]:
    """Every judgement in the order of the file; repeats are not looked for.

    Raises:
        SourceError: the file cannot be read or a line breaks the format.
    """
    parse: Callable[[str], list[str]] | None = None
    columns = 0
    for number, line in numbered_lines(path):
        if parse is None:
            parse, columns = _format(line, f"{shown(path)}, line {number}")
            if _is_header(parse(line)):
                continue
        yield _judgement(number, parse(line), columns, path)


def find_line(path: Path, wanted: Callable[[Judgement], bool]) -> int | None:
    """The line of the first judgement that is wanted: read again, so that only errors pay for it.

    Raises:
        SourceError: the file cannot be read or a line breaks the format.
    """
    return next((judgement.line for judgement in judgements(path) if wanted(judgement)), None)


def _format(first: str, where: str) -> tuple[Callable[[str], list[str]], int]:
    """How the lines are split, and into how many columns."""
    if first.count("\t") == 2:
        return _split_at_tabs, 3
    if len(words(first)) == 4:
        return words, 4
    found = len(_split_at_tabs(first) if "\t" in first else words(first))
    raise SourceError(f"{where}: {_columns(found)}; judgements are {_FORMATS}")


def _split_at_tabs(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("\t")]


def _is_header(cells: list[str]) -> bool:
    return len(cells) == 3 and all(
        cell.lower() in names for cell, names in zip(cells, _HEADER, strict=True)
    )


def _judgement(number: int, cells: list[str], columns: int, path: Path) -> Judgement:
    if len(cells) != columns:
        names = "query, document, relevance separated by tabs"
        if columns == 4:
            names = "query, iteration, document, relevance"
        raise _bad(
            path,
            number,
            f"{_columns(len(cells))}; as in the first line, expected {columns}: {names}",
        )
    query_id, document_id, relevance = cells[0], cells[-2], cells[-1]
    if not query_id or not document_id:
        what = "document" if query_id else "query"
        raise _bad(path, number, f"the {what} id is empty; every judgement names both ids")
    if not _WHOLE_NUMBER.fullmatch(relevance):
        raise _bad(
            path,
            number,
            f"the relevance {quoted(relevance)} is no whole number; "
            "write 0 for not relevant, 1 or more for relevant",
        )
    if len(relevance) > 20 or abs(int(relevance)) > LARGEST_GRADE:
        raise _bad(
            path,
            number,
            f"the relevance {quoted(relevance)} is beyond {LARGEST_GRADE:,}, which trec_eval "
            "cannot take; use small whole numbers",
        )
    return Judgement(number, query_id, document_id, int(relevance))


def _judged_twice(path: Path, second: Judgement) -> SourceError:
    first = find_line(path, lambda judgement: judgement[1:3] == second[1:3])
    return _bad(
        path,
        second.line,
        f"document {quoted(second.document_id)} was already judged for query "
        f"{quoted(second.query_id)} in line {first}; a document is judged once for a query: remove "
        "one of the two lines",
    )


def _columns(count: int) -> str:
    return f"{count} column{'s' * (count != 1)}"


def _bad(path: Path, number: int, what: str) -> SourceError:
    return SourceError(f"{shown(path)}, line {number}: {what}")
