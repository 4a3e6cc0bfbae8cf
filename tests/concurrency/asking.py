"""What spawned processes do with a collection that they are handed: they find it by this name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gingham import Collection


def ask(collection: Collection, query: npt.NDArray[np.float32]) -> list[tuple[str, float]]:
    """Ids and scores."""
    return [(hit.id, hit.score) for hit in collection.search(query, k=50)]


def ask_text(collection: Collection, query: str) -> str:
    """The best document for a text."""
    return collection.search(query, k=1)[0].id
