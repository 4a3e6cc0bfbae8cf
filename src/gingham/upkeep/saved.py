"""Documents that a repair dropped though their texts are intact, in a file under `damaged/`.

While they are to be encoded again the file has another name: whoever is killed meanwhile leaves it,
and the next repair goes on where that one was.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from gingham.document import Document
from gingham.index.layout import DAMAGED, sync_folder
from gingham.upkeep.leftovers import children_of

AGAIN = "documents.jsonl"
ENCODING = "encoding.jsonl"


def to_encode(collection: Path) -> list[Path]:
    """Files of documents that repairs were to encode again and have not, the latest first."""
    folders = reversed(children_of(collection / DAMAGED))
    files = [folder / ENCODING for folder in folders if folder.is_dir() and not folder.is_symlink()]
    return [file for file in files if file.is_file() and not file.is_symlink()]


def saved_documents(file: Path) -> Iterator[Document]:
    """The documents of such a file.

    Lines that are none are passed over: of a repair that was killed before it made the file
    durable, and so before it dropped them.
    """
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                yield Document(record["_id"], record["text"], record["metadata"])


def encoded(file: Path) -> None:
    """All documents of the file are in the collection: it is kept under its other name."""
    file.rename(file.with_name(AGAIN))
    sync_folder(file.parent)
