"""An open collection, as threads share it: the snapshot they see, and their turn to write.

Searches take the current snapshot and keep it for as long as they run; writes queue up. What is
written or searched is not known here. Pickled it is a path and how it was opened, no data.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gingham.errors import CollectionError, InputError, LockedError, ReadOnlyError
from gingham.forking import renew_after_fork
from gingham.index.commit import LOCK_TIMEOUT, fold_log
from gingham.index.snapshot import Snapshot
from gingham.index.writer import IndexWriter


class IndexHandle:
    """The snapshot that is held, and the one writer at a time."""

    def __init__(
        self,
        collection: Path,
        *,
        read_only: bool,
        timeout: float | None = LOCK_TIMEOUT,
        is_open: bool = True,
    ) -> None:
        """Take a snapshot; see `Snapshot` for what it raises.

        Args:
            collection: the folder.
            read_only: refuse to write.
            timeout: seconds that a write waits for other writers, None for as long as it takes.
            is_open: False for a handle that is closed from the start.
        """
        self._collection = collection
        self._read_only = read_only
        self._timeout = timeout
        self._renew_locks()
        self._is_inherited = False  # the snapshot is that of the process which forked this one
        self._held: Snapshot | None = Snapshot(collection) if is_open else None
        renew_after_fork(self)

    def _renew_locks(self) -> None:
        self._holding = threading.Lock()  # whoever exchanges the snapshot
        self._writing = threading.Lock()
        self._writing_thread: int | None = None

    def after_fork_in_child(self) -> None:
        """Another thread may have held a lock; the snapshot's catalog is closed in the child."""
        self._renew_locks()
        self._is_inherited = True

    @property
    def snapshot(self) -> Snapshot:
        """What is seen now.

        Raises:
            CollectionError: the handle was closed.
        """
        if self._is_inherited:
            with self._holding:
                if self._is_inherited and self._held is not None:
                    self._held = Snapshot(self._collection, self._held)
                self._is_inherited = False
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
            self._is_inherited = False

    def close(self) -> None:
        """Let go of the snapshot, and leave one complete catalog file behind."""
        with self._holding:
            was_open, self._held = self._held is not None, None
        if was_open and not self._read_only:
            fold_log(self._collection)

    @contextmanager
    def writer(self) -> Iterator[IndexWriter]:
        """Be the one writer: threads of this handle queue up, others wait for `timeout` seconds.

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
        turn = self._writing  # a child that is forked in the middle has another
        with turn:
            if not self.is_open:
                raise self._closed()
            self._writing_thread = threading.get_ident()
            try:
                with IndexWriter(self._collection, self._timeout) as writer:
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

    def __getstate__(self) -> dict[str, object]:
        """How it was opened."""
        return {
            "collection": self._collection.absolute(),
            "read_only": self._read_only,
            "timeout": self._timeout,
            "is_open": self.is_open,
        }

    def __setstate__(self, state: dict[str, object]) -> None:
        """Open again, where it was open; a collection that is gone is not made anew.

        Raises:
            CollectionNotFoundError: it is not where it was.
        """
        self.__init__(**state)  # type: ignore[misc]


def check_timeout(timeout: object) -> float | None:
    """How long a write waits: None, or seconds, 0 or more.

    Raises:
        InputError: it is neither.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise InputError(
            f"timeout is seconds to wait for other writers, 0 or more, or None; got {timeout!r}"
        )
    return float(timeout)
