"""Paths → files of a known kind: which to read, in which order, under which name.

A folder is walked in sorted order; hidden files, version-control folders and gingham's own
collections are passed over, and a folder that is reached twice (links, loops) is read once. A
folder with a `corpus.jsonl` (BEIR) or a `collection.tsv` (MS MARCO) is that one file. A file is
named by its path as it was given, with forward slashes, so that the same command gives it the same
name again. Nothing is opened here but the first bytes of a file whose suffix says nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gingham.errors import SourceError

STDIN = "-"

# Suffix → kind. A suffix that is absent is skipped in a folder; a file that was named directly is
# read as text when it looks like text.
KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".tsv": "tsv",
    ".csv": "csv",
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".adoc": "text",
    ".org": "text",
    ".tex": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}

# What to do about kinds that are not read, where there is something to say.
REMEDIES = {
    ".json": "write one JSON object a line and name it .jsonl",
    ".gz": "unpack it first",
    ".zip": "unpack it first",
    ".bz2": "unpack it first",
    ".tar": "unpack it first",
    ".docx": "save it as text, HTML or PDF first",
    ".doc": "save it as text, HTML or PDF first",
    ".epub": "save it as text, HTML or PDF first",
    ".parquet": "write it as .jsonl first",
}

_WHOLE_FOLDERS = ("corpus.jsonl", "collection.tsv")
_VCS_FOLDERS = frozenset({"CVS", "_darcs", "__pycache__"})
_COLLECTION_FILE = "catalog.sqlite"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read.

    Attributes:
        path: where it is; None is standard input.
        name: what documents, metadata and errors call it.
        kind: jsonl, tsv, csv, text, markdown, html or pdf; "sniff" is decided by the first line.
        size: bytes; 0 for standard input.
        direct: it was named by the caller, not found in a folder.
    """

    path: Path | None
    name: str
    kind: str
    size: int
    direct: bool


def find_files(
    sources: Sequence[str | os.PathLike[str]], skipped: Counter[str]
) -> list[SourceFile]:
    """All files of `sources` in order, each once.

    Args:
        sources: files, folders, or "-" for standard input.
        skipped: gets one count by suffix for each file of a folder that is of no known kind.

    Raises:
        SourceError: a source does not exist or is of no kind that can be read.
    """
    found: dict[str, SourceFile] = {}
    for source in sources:
        if source == STDIN:
            file = SourceFile(None, "stdin", "sniff", 0, True)
            found.setdefault(file.name, file)
            continue
        path = Path(source)
        if path.is_dir():
            files = _walk(path, skipped, set())
        elif path.exists():
            files = iter([_direct(path)])
        else:
            raise SourceError(f"{_name(path)}: no such file or folder")
        for file in files:
            found.setdefault(file.name, file)
    return list(found.values())


def _walk(folder: Path, skipped: Counter[str], seen: set[str]) -> Iterator[SourceFile]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise SourceError(f"{_name(folder)}: {_reason(error)}") from error
    if _COLLECTION_FILE in names:
        return
    whole = [name for name in _WHOLE_FOLDERS if name in names]
    for name in whole[:1] or names:
        path = folder / name
        if name.startswith(".") or name in _VCS_FOLDERS:
            continue
        if path.is_dir():
            yield from _walk(path, skipped, seen)
        elif path.is_file() and (kind := KINDS.get(path.suffix.lower())) is not None:
            yield SourceFile(path, _name(path), kind, path.stat().st_size, False)
        else:
            skipped[path.suffix.lower() or "(no suffix)"] += 1


def _direct(path: Path) -> SourceFile:
    suffix = path.suffix.lower()
    name = _name(path)
    if remedy := REMEDIES.get(suffix):
        raise SourceError(f"{name}: {suffix} files cannot be read; {remedy}")
    kind = KINDS.get(suffix)
    if kind is None:
        if path.is_file() and _is_binary(path):
            raise SourceError(
                f"{name}: a binary file of no known kind; gingham reads "
                f"{' '.join(sorted(KINDS))} and other text files"
            )
        kind = "text"
    # A pipe (`<(command)`, /dev/stdin) has no size that can be known.
    return SourceFile(path, name, kind, path.stat().st_size if path.is_file() else 0, True)


def _is_binary(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(8192)
    except OSError as error:
        raise SourceError(f"{_name(path)}: {_reason(error)}") from error
    return b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff"))


def _name(path: Path) -> str:
    # Names of files need not be Unicode; ids must be.
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
