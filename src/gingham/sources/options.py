"""How sources are read, and what reading them came to. Values only: no file is touched here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to read.

    Attributes:
        text_field: the field or column that holds the text; None looks for the usual names.
        id_field: the field or column that holds the id; None looks for the usual names.
        encoding: of text files; None is UTF-8, or what an HTML page declares.
        keep_going: count a file that cannot be read and go on, instead of raising.
        keep_empty: give out documents without text too, as "": what is judged must be known, even
            where nothing can find it.
    """

    text_field: str | None = None
    id_field: str | None = None
    encoding: str | None = None
    keep_going: bool = False
    keep_empty: bool = False


@dataclass(slots=True)
class Report:
    """What has been read so far; it grows while the documents are drawn.

    Attributes:
        files: files opened.
        documents: documents given out.
        empty: records, pages and files left out because they hold no text (none with `keep_empty`).
        bytes_read: bytes read of `bytes_total`.
        bytes_total: size of all files together; None where standard input is among them.
        skipped: files of folders that are of no known kind, counted by their suffix.
        unreadable: one line a file that could not be read (only with `keep_going`).
    """

    files: int = 0
    documents: int = 0
    empty: int = 0
    bytes_read: int = 0
    bytes_total: int | None = 0
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
