"""An open collection, as threads share it: the snapshot they see, and their turn to write.

Searches take the current snapshot and keep it for as long as they run; writes queue up. What is
written or searched is not known here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gingham.errors import CollectionError, LockedError, ReadOnlyError
from gingham.index.commit import fold_log
from gingham.index.snapshot import Snapshot
from gingham.index.writer import IndexWriter


class IndexHandle:
    """The snapshot that is held, and the one writer at a time."""

    def __init__(self, collection: Path, *, read_only: bool) -> None:
        """Take a snapshot; see `Snapshot` for what it raises."""
        self._collection = collection
        self._read_only = read_only
        self._held: Snapshot | None = Snapshot(collection)
        self._holding = threading.Lock()  # whoever exchanges the snapshot
        self._writing = threading.Lock()
        self._writing_thread: int | None = None

    @property
    def snapshot(self) -> Snapshot:
        """What is seen now.

        Raises:
            CollectionError: the handle was closed.
        """
        held = self._held
        if held is None:
            raise self._closed()
        return held

    def _closed(self) -> CollectionError:
        return CollectionError(f"{self._collection}: this collection was closed; open it again")

    @property
    def is_open(self) -> bool:
        """Whether a snapshot is held."""
        return self._held is not None

    def refresh(self) -> None:
        """See the latest commit."""
        with self._holding:
            if self._held is not None:
                self._held = Snapshot(self._collection, self._held)

    def close(self) -> None:
        """Let go of the snapshot, and leave one complete catalog file behind."""
        with self._holding:
            was_open, self._held = self._held is not None, None
        if was_open and not self._read_only:
            fold_log(self._collection)

    @contextmanager
    def writer(self) -> Iterator[IndexWriter]:
        """Be the one writer: threads of this handle queue up, other processes are refused.

        Raises:
            LockedError: another writer is at work, or this thread is writing already.
            ReadOnlyError: the handle is only to read.
        """
        if not self.is_open:  # and no reference is kept here: it would pin the catalog's log
            raise self._closed()
        if self._read_only:
            raise ReadOnlyError(
                f"{self._collection} was opened with read_only=True: open it without"
            )
        if self._writing_thread == threading.get_ident():
            raise LockedError(
                f"{self._collection}: a write inside another, from an iterator or a progress "
                "callback; do one after the other"
            )
        with self._writing:
            self._writing_thread = threading.get_ident()
            try:
                with IndexWriter(self._collection) as writer:
                    yield writer
            finally:
                self._writing_thread = None

    def follow(self, writer: IndexWriter) -> None:
        """See the commit just made.

        A snapshot that is held keeps the catalog's log from being emptied; in a long `add` that
        would be our own. Taken once more after the log was copied, it needs the log no longer.
        """
        self.refresh()
        if writer.log_is_long():
            writer.checkpoint()
            self.refresh()
