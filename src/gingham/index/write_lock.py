"""The lock that makes a writer the only one: of a file, across threads and processes.

The operating system frees it when its holder dies, and a child that its holder forked neither holds
nor keeps it. What is written meanwhile is not known here.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from gingham.errors import CollectionError, LockedError
from gingham.forking import gate, renew_after_fork

_POLL = 0.005  # seconds between two attempts
_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK})


class WriteLock:
    """One turn to write. Not for two threads: each takes its own."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        """Only remember; `with` takes the lock.

        Args:
            path: the file; made where it is not there, and left there.
            timeout: seconds to wait for another holder; None for as long as it takes.
        """
        self._path = path
        self._timeout = timeout
        self._descriptor: int | None = None
        renew_after_fork(self)

    def __enter__(self) -> None:
        """Take the lock.

        Raises:
            LockedError: somebody else still holds it after `timeout` seconds.
            CollectionError: the file cannot be opened or locked.
        """
        end = None if self._timeout is None else time.monotonic() + self._timeout
        while not self._try():
            left = _POLL if end is None else min(_POLL, end - time.monotonic())
            if left <= 0:
                raise LockedError(
                    f"{self._path.parent}: another writer is at work (waited {self._timeout:g} s); "
                    "try again when it has finished"
                )
            time.sleep(left)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free it; the end of the descriptor is the end of the lock."""
        with gate:
            self._close(unlock=True)

    def _try(self) -> bool:
        # Inside the gate, no child is forked that keeps the descriptor without knowing of it.
        with gate:
            try:
                flags = os.O_RDWR | os.O_CREAT
                flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
                self._descriptor = os.open(self._path, flags, 0o644)
                _lock(self._descriptor)
            except OSError as error:
                opened = self._descriptor is not None
                self._close(unlock=False)
                if opened and error.errno in _HELD:
                    return False
                raise CollectionError(
                    f"{self._path.parent}: cannot be written to: {error.strerror}"
                ) from error
            except BaseException:
                self._close(unlock=False)
                raise
        return True

    def _close(self, *, unlock: bool) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                if unlock:
                    _unlock(descriptor)
            finally:
                os.close(descriptor)

    def after_fork_in_child(self) -> None:
        """Close the descriptor: the lock ends with its last copy. Unlocking would end it here."""
        self._close(unlock=False)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
