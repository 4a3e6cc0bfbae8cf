"""One process at a time builds an index of the cache; the others wait, and then find it built.

The operating system frees the lock when its holder dies. Knows nothing of what is built.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gingham.errors import InputError

# Seconds between two attempts.
_POLL = 0.5


@contextmanager
def build_lock(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Be the only one, across threads and processes, in this block.

    Args:
        path: an empty file that stands for the lock; made where it is not there, and left there.
        waiting: called again and again while somebody else holds it.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise InputError(
            f"{path.parent}: the cache cannot be written to ({error.strerror or error}): choose "
            "another folder for it"
        ) from error
    with file:  # closing it lets go
        while not _locked(file):
            waiting()
            time.sleep(_POLL)
        yield


def _locked(file: IO[bytes]) -> bool:
    """Take the lock if nobody has it; a file system that knows no locks has nobody."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
