"""The documents of a dataset in files: read once to know them, and again whenever they are drawn.

What is kept is a digest, a count and eight bytes an id; texts are never held.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gingham.document import Document
from gingham.errors import InputError, SourceError
from gingham.sources import SourceOptions, Sources
from gingham.sources.seen_ids import SeenIds

Progress = Callable[[int], None]

_PROGRESS_EVERY = 2048
_OPTIONS = SourceOptions(keep_empty=True)


@dataclass(frozen=True, slots=True, eq=False)
class Inventory:
    """What one pass over documents tells.

    Attributes:
        digest: SHA-256 (hex) of ids and texts, in order.
        n_documents: how many there are.
        ids: their ids.
    """

    digest: str
    n_documents: int
    ids: SeenIds


def take_inventory(
    documents: Iterable[Document], name: str, progress: Progress | None = None
) -> Inventory:
    """Read all documents once.

    Args:
        documents: each is looked at and let go.
        name: what errors call them.
        progress: called with the number of documents so far, every few thousand and at the end.

    Raises:
        SourceError: there is no document, or an id comes twice.
    """
    sha, ids, count = hashlib.sha256(), SeenIds(), 0
    for document in documents:
        if not ids.add(document.id):
            raise SourceError(
                f"{name}: the document id {document.id!r} comes twice; ids of a corpus must differ"
            )
        # The lengths in front make it unambiguous where an id or text ends.
        for part in (document.id, document.text or ""):
            data = part.encode("utf-8", "surrogatepass")
            sha.update(len(data).to_bytes(8, "little"))
            sha.update(data)
        count += 1
        if progress is not None and count % _PROGRESS_EVERY == 0:
            progress(count)
    if not count:
        raise SourceError(f"{name}: there is no document in it; a corpus needs at least one")
    if progress is not None:
        progress(count)
    return Inventory(sha.hexdigest(), count, ids)


class FileCorpus:
    """The documents of files and folders, of every format that `sources` reads.

    Args:
        paths: files and folders, in order.
        progress: called with the number of documents read so far.

    Attributes:
        digest: SHA-256 (hex) of ids and texts, in order.
        n_documents: how many there are, those without text included.

    Raises:
        SourceError: a file cannot be read, an id comes twice, or there is no document.
        MissingDependencyError: there are PDF or HTML files and what reads them is not installed.
    """

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], *, progress: Progress | None = None
    ) -> None:
        self._paths = tuple(paths)
        if any(os.fspath(path) == "-" for path in self._paths):
            raise InputError("a corpus is read more than once: save standard input as a file first")
        self.name = ", ".join(
            os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths
        )
        self._inventory = take_inventory(self.documents(), self.name or "no path", progress)
        self.digest = self._inventory.digest
        self.n_documents = self._inventory.n_documents

    def documents(self) -> Iterator[Document]:
        """Every document in order; the title, where there is one, stands in front of the text.

        Raises:
            SourceError: a file cannot be read.
        """
        return iter(Sources(self._paths, _OPTIONS))

    def __contains__(self, id: object) -> bool:
        """Whether a document has this id."""
        return id in self._inventory.ids
