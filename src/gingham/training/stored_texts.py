"""The texts that a collection keeps, read in bounded memory: documents as they were added."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gingham.document import Document
from gingham.index.snapshot import Snapshot

# Documents that are read together.
_BLOCK = 512


def stored_documents(collection: str | os.PathLike[str]) -> Iterator[Document]:
    """Every document of the latest commit that has a text, in the order of their numbers.

    Raises:
        CollectionNotFoundError: there is no collection.
        CorruptionError: a file is damaged.
    """
    snapshot = Snapshot(Path(collection).expanduser())
    for segment in snapshot.segments:
        alive = snapshot.alive(segment)
        numbers = np.unique(segment.numbers if alive is None else segment.numbers[alive])
        for start in range(0, len(numbers), _BLOCK):
            found = snapshot.documents(numbers[start : start + _BLOCK].tolist())
            for _, document in sorted(found.items()):
                if document.text and document.text.strip():
                    yield document
