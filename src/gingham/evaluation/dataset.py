"""What is measured on: documents, queries, and who found what relevant. Values, and one protocol.

The readers of the formats make these; nothing here opens a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from gingham.document import Document

# Query id → document id → relevance grade: 0 is judged and not relevant.
Qrels = Mapping[str, Mapping[str, int]]
# trec_eval counts the documents of each grade up to the largest: beyond this it takes gigabytes.
LARGEST_GRADE = 1_000_000


class Corpus(Protocol):
    """The documents of a dataset, read from the start as often as asked.

    Attributes:
        digest: SHA-256 (hex) of ids and texts, in order: another digest is another index.
        n_documents: how many there are, those without text included.
    """

    digest: str
    n_documents: int

    def documents(self) -> Iterator[Document]:
        """Every document in order; the title, where there is one, stands in front of the text."""
        ...

    def __contains__(self, id: object) -> bool:
        """Whether a document has this id."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A test collection: one split of it.

    Attributes:
        name: what reports call it.
        split: which judgements, "test" or the like; None where there is only one.
        queries: text by id, of the queries that have judgements, in the order of their file; empty
            where only judgements were given (then only run files can be scored).
        qrels: relevance grades, in the order of their file. Every query that has judgements is
            counted in every mean.
        corpus: the documents; None where they were not given.
        remarks: what a reader should know, a line each (such as judgements of unknown documents
            that were let through).
    """

    name: str
    split: str | None
    queries: Mapping[str, str]
    qrels: Qrels
    corpus: Corpus | None
    remarks: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name and split."""
        return self.name if self.split is None else f"{self.name} ({self.split})"
