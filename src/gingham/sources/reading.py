"""The conductor: paths in, one stream of documents out, and a count of what was read.

It opens each file, gives it to the module of its kind, drops what holds no text, refuses an id that
comes twice, and keeps the `Report` up to date. It holds one file of text, or one record of a table,
and eight bytes an id.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, cast

from gingham.document import Document
from gingham.errors import MissingDependencyError, SourceError
from gingham.sources import html, pdf, plain, tables
from gingham.sources.decoding import check_encoding, decoded, decoded_lines
from gingham.sources.files import SourceFile, find_files
from gingham.sources.options import Report, SourceOptions
from gingham.sources.seen_ids import SeenIds

_TABLES = {
    "jsonl": tables.json_lines,
    "tsv": tables.tab_separated,
    "csv": tables.comma_separated,
}
_EXTRAS = {"pdf": ("PDF", "pypdf", "pdf"), "html": ("HTML", "selectolax", "html")}


@dataclass(frozen=True, slots=True)
class _Placed:
    """A document and the place it is from."""

    document: Document
    place: str


class Sources:
    """Files, folders and standard input, read as one stream of documents.

    Iterating reads; `report` then says what has been read so far. Iterate once.

    Args:
        sources: files, folders (read recursively, in sorted order) or "-" for standard input.
        options: how to read.
        stdin: what "-" reads; None is the standard input of this process.

    Raises:
        SourceError: a source does not exist or is of no kind that can be read.
        MissingDependencyError: there are PDF or HTML files and what reads them is not installed.
    """

    def __init__(
        self,
        sources: Sequence[str | os.PathLike[str]],
        options: SourceOptions | None = None,
        *,
        stdin: BinaryIO | None = None,
    ) -> None:
        self.options = options or SourceOptions()
        self.report = Report()
        self._stdin = stdin
        check_encoding(self.options.encoding or "utf-8")
        self.files = find_files(sources, self.report.skipped)
        for kind, (what, module, extra) in _EXTRAS.items():
            wanted = any(file.kind == kind for file in self.files)
            if wanted and importlib.util.find_spec(module) is None:
                raise MissingDependencyError(
                    f"reading {what} needs {module}: pip install 'gingham[{extra}]'"
                )
        unknown = any(file.path is None for file in self.files)
        self.report.bytes_total = None if unknown else sum(file.size for file in self.files)

    def __iter__(self) -> Iterator[Document]:
        """Every document that holds text, in order; with `keep_empty`, every document.

        Raises:
            SourceError: a file cannot be read, or an id comes twice.
        """
        seen = SeenIds()
        for placed in _read_all(self.files, self.options, self.report, self._stdin):
            document = placed.document
            if not self._counts(document):
                self.report.empty += 1
                continue
            if not seen.add(document.id):
                raise SourceError(
                    f"{placed.place}: the id {document.id!r} was already "
                    f"{self._first_place(document.id)}; ids that are added together must differ"
                )
            self.report.documents += 1
            yield document

    def _counts(self, document: Document) -> bool:
        return bool(document.text) or self.options.keep_empty

    def _first_place(self, id: str) -> str:
        """Found by reading once more, so that only this error pays for keeping places."""
        files = [file for file in self.files if file.path is not None]
        with contextlib.suppress(SourceError):
            for placed in _read_all(files, self.options, Report(), None):
                if placed.document.id == id and self._counts(placed.document):
                    return f"in {placed.place}"
        return "seen earlier"


def _read_all(
    files: Sequence[SourceFile], options: SourceOptions, report: Report, stdin: BinaryIO | None
) -> Iterator[_Placed]:
    for file in files:
        report.files += 1
        try:
            yield from _read_file(file, options, report, stdin)
        except SourceError as error:
            if not options.keep_going:
                if file.direct:
                    raise
                raise SourceError(f"{error} (--keep-going skips such files)") from error
            report.unreadable.append(str(error))


def _read_file(
    file: SourceFile, options: SourceOptions, report: Report, stdin: BinaryIO | None
) -> Iterator[_Placed]:
    found = False
    try:
        with _open(file, stdin) as stream:
            for placed in _placed_documents(file, stream, options, report):
                found = found or bool(placed.document.text) or options.keep_empty
                yield placed
    except OSError as error:
        raise SourceError(f"{file.name}: {error.strerror or error}") from error
    if file.direct and not found:
        raise SourceError(f"{file.name}: there is no text in it")


def _open(file: SourceFile, stdin: BinaryIO | None) -> contextlib.AbstractContextManager[BinaryIO]:
    if file.path is None:
        return contextlib.nullcontext(stdin or cast(BinaryIO, sys.stdin.buffer))
    return file.path.open("rb")


def _placed_documents(
    file: SourceFile, stream: BinaryIO, options: SourceOptions, report: Report
) -> Iterator[_Placed]:
    def advance(count: int) -> None:
        report.bytes_read += count

    kind, name = file.kind, file.name
    if kind in {"jsonl", "tsv", "csv", "sniff"}:
        lines = decoded_lines(stream, name, options.encoding, advance)
        if kind == "sniff":
            kind, lines = _sniff(lines)
        if kind == "text":
            document = plain.text_document("".join(lines), name)
            yield _Placed(_presentable(document, {"path": name, "type": kind}), name)
            return
        for number, document in _TABLES[kind](lines, name, options):
            yield _Placed(_presentable(document, {}), f"{name}, line {number}")
        return
    common = {"path": name, "type": kind}
    if kind == "pdf":
        for document in pdf.pdf_documents(stream, name):
            yield _Placed(_presentable(document, common), name)
        advance(file.size)
        return
    data = stream.read()
    advance(len(data))
    yield _Placed(_presentable(_whole_file(kind, data, name, options.encoding), common), name)


def _whole_file(kind: str, data: bytes, name: str, encoding: str | None) -> Document:
    if kind == "html":
        return html.html_document(data, name, encoding)
    text = decoded(data, name, encoding)
    if "\0" in text:
        raise SourceError(f"{name}: a binary file, whatever its name says")
    if kind == "markdown":
        return plain.markdown_document(text, name)
    return plain.text_document(text, name)


def _sniff(lines: Iterator[str]) -> tuple[str, Iterator[str]]:
    """Standard input has no suffix: JSON lines start with {, a TSV has a tab in its first line."""
    first = next(lines, "")
    kind = "jsonl" if first.lstrip().startswith("{") else "tsv" if "\t" in first else "text"
    return kind, chain([first], lines)


def _presentable(document: Document, metadata: dict[str, str]) -> Document:
    """With the metadata of its file, and without halves of UTF-16 characters (PDF has them)."""
    text = document.text or ""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Document(document.id, text, {**document.metadata, **metadata})
