"""Texts to calibrate with: some hundred, drawn evenly from files, folders or this Python's docs.

Eight bits are fitted to what enters each matrix, so texts like those to be searched fit best.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence

from gingham.document import Document
from gingham.errors import EmptyInputError
from gingham.sources import Sources
from gingham.sources.stdlib_docs import StandardLibrary

COUNT = 512


def read_texts(
    sources: Sequence[str | os.PathLike[str]] = (), *, count: int = COUNT, seed: int = 0
) -> list[str]:
    """Texts of the sources, each as likely as any other, in the order of the sources.

    Args:
        sources: files and folders as `gingham add` reads them; of none, the documentation of this
            Python's standard library, which is on every machine.
        count: at most so many.
        seed: of the draw: a reservoir (Vitter, ACM TOMS 11, 1985), so that texts are read once.

    Raises:
        SourceError: a source cannot be read.
        EmptyInputError: there is no text in the sources.
    """
    documents: Iterable[Document] = Sources(sources) if sources else StandardLibrary()
    draw = random.Random(seed)
    kept: list[tuple[int, str]] = []
    for i, document in enumerate(documents):
        if document.text is None:
            continue
        if len(kept) < count:
            kept.append((i, document.text))
        elif (place := draw.randrange(i + 1)) < count:
            kept[place] = (i, document.text)
    if not kept:
        raise EmptyInputError("there is no text to calibrate with: name files that hold some")
    return [text for _, text in sorted(kept)]
