"""Large files that stay on disk: where each line begins, and which line has an id.

Eight bytes a line, and sixteen an id; a line is read when it is asked for. A file must not change
while it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from gingham.document import Document, Int64
from gingham.errors import SourceError
from gingham.evaluation.numbered_lines import quoted, shown
from gingham.sources import tables
from gingham.sources.options import SourceOptions

_BLOCK = 1 << 22
_OPTIONS = SourceOptions(keep_empty=True)


class LinesOnDisk:
    """The lines of a file that are not blank, by number from 0.

    Raises:
        SourceError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._starts, self._numbers = _line_starts(path)
        except OSError as error:
            raise SourceError(f"{shown(path)}: {(error.strerror or str(error)).lower()}") from error

    def __len__(self) -> int:
        """How many."""
        return len(self._starts)

    def __getitem__(self, index: int) -> str:
        """The line without its end.

        Raises:
            SourceError: it is not UTF-8.
        """
        with self.path.open("rb") as stream:
            stream.seek(int(self._starts[index]))
            data = stream.readline()
        try:
            return data.decode("utf-8").rstrip("\r\n").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.place(index)}: not UTF-8; save the file as UTF-8") from error

    def place(self, index: int) -> str:
        """File and line number, for an error."""
        return f"{shown(self.path)}, line {int(self._numbers[index]) + 1}"


class TextsOnDisk(Mapping[str, str]):
    """The documents of a collection in JSON lines, or in lines of an id, a tab and a text.

    Raises:
        SourceError: the file cannot be read, a line breaks the format, or an id comes twice.
    """

    def __init__(self, path: Path) -> None:
        self._lines = LinesOnDisk(path)
        keys = np.fromiter(
            (_key(self._document(index).id) for index in range(len(self._lines))),
            dtype=np.uint64,
            count=len(self._lines),
        )
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        twice = np.flatnonzero(self._keys[1:] == self._keys[:-1])
        if len(twice):
            first, second = (int(self._order[at]) for at in (twice[0], twice[0] + 1))
            raise SourceError(
                f"{self._lines.place(second)}: the id {quoted(self._document(second).id)} was "
                f"already in {self._lines.place(first)}; ids must differ"
            )

    def __getitem__(self, id: str) -> str:
        """The text of an id."""
        at = self._position(id)
        if at is None:
            raise KeyError(id)
        return self._document(int(self._order[at])).text or ""

    def __contains__(self, id: object) -> bool:
        """Whether there is a document of this id, by a hash of 64 bits."""
        return isinstance(id, str) and self._position(id) is not None

    def __len__(self) -> int:
        """How many documents."""
        return len(self._lines)

    def __iter__(self) -> Iterator[str]:
        """The ids, in the order of the file."""
        return (self._document(index).id for index in range(len(self._lines)))

    def _position(self, id: str) -> int | None:
        key = np.uint64(_key(id))
        at = int(np.searchsorted(self._keys, key))
        return at if at < len(self._keys) and self._keys[at] == key else None

    def _document(self, index: int) -> Document:
        line, where = self._lines[index], self._lines.place(index)
        if line.lstrip().startswith("{"):
            for _, document in tables.json_lines([line], where, _OPTIONS):
                return document
        id, tab, text = line.partition("\t")
        if not tab or not id.strip():
            raise SourceError(f"{where}: expected a JSON object, or an id, a tab and a text")
        return Document(id.strip(), text.strip())


def _line_starts(path: Path) -> tuple[Int64, Int64]:
    """Where lines begin that are not blank, and which lines these are, counted from 0."""
    starts = [np.zeros(1, dtype=np.int64)]
    position = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 0x0A)
            starts.append(ends.astype(np.int64) + position + 1)
            position += len(block)
    every = np.concatenate(starts)
    every = every[every < position]
    lengths = np.diff(np.append(every, position))
    blank = np.zeros(len(every), dtype=bool)
    with path.open("rb") as stream:
        for index in np.flatnonzero(lengths <= 16):  # a blank line is short
            stream.seek(int(every[index]))
            blank[index] = not stream.readline().strip()
    numbers = np.arange(len(every), dtype=np.int64)
    return every[~blank], numbers[~blank]


def _key(id: str) -> int:
    digest = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
