"""Texts in memory as a dataset of `gingham.evaluation`: what searches and measures there does here.

A training set, or pairs that were held out, are put to the same systems and measures as any test
collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gingham.document import Document
from gingham.evaluation.corpora import take_inventory
from gingham.evaluation.dataset import Dataset, Qrels


class MemoryCorpus:
    """Documents that are held; see `gingham.evaluation.dataset.Corpus`.

    Attributes:
        digest: SHA-256 (hex) of ids and texts, in order.
        n_documents: how many there are, blank ones included.
    """

    def __init__(self, texts: Mapping[str, str], name: str) -> None:
        """Read them once, for their digest.

        Args:
            texts: by id.
            name: what errors call them.

        Raises:
            SourceError: there is none.
        """
        self._texts = texts
        self.digest = take_inventory(self.documents(), name).digest
        self.n_documents = len(texts)

    def documents(self) -> Iterator[Document]:
        """Every document in order."""
        return (Document(id, text) for id, text in self._texts.items())

    def __contains__(self, id: object) -> bool:
        """Whether a document has this id."""
        return id in self._texts


def as_dataset(
    name: str, documents: Mapping[str, str], queries: Mapping[str, str], qrels: Qrels
) -> Dataset:
    """A dataset of what is at hand.

    Args:
        name: what progress and reports call it.
        documents: text by id.
        queries: text by id.
        qrels: relevance grades, of queries and documents that are there.

    Raises:
        SourceError: there is no document.
    """
    return Dataset(name, None, queries, qrels, MemoryCorpus(documents, name))
