"""What a fork of the process must not cut through, and what the child makes anew.

A forked child has a copy of all memory and none of the other threads. A lock that one of these held
is locked for good, an SQLite call that one was in never ends, and SQLite's own locks on files are
the parent's alone, though the child's copy of SQLite believes to hold them. So a fork waits until
no thread is inside SQLite or taking the write lock, and the child then lets go of what it
inherited.
"""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType
from typing import Protocol


class Inheritable(Protocol):
    """Something that holds locks, connections or descriptors."""

    def after_fork_in_child(self) -> None:
        """Let go of what is the parent's; called while the child has one thread only."""


class Gate:
    """Any number of threads may be inside; a fork waits until none is, and holds up new ones.

    A thread may enter again while it is inside.
    """

    def __init__(self) -> None:
        """Nobody is inside."""
        self._changed = threading.Condition()
        self._inside = 0
        self._forking: set[int] = set()  # threads
        self._own = threading.local()

    def __enter__(self) -> None:
        """Come in, when no other thread is forking."""
        depth = getattr(self._own, "depth", 0)
        if depth == 0:
            with self._changed:
                while self._forking - {threading.get_ident()}:
                    self._changed.wait()
                self._inside += 1
        self._own.depth = depth + 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave."""
        self._own.depth -= 1
        if self._own.depth == 0:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Keep others out, and wait until they are."""
        with self._changed:
            self._forking.add(threading.get_ident())
            while self._inside > (getattr(self._own, "depth", 0) > 0):
                self._changed.wait()

    def after_fork_in_parent(self) -> None:
        """Let others in again."""
        with self._changed:
            self._forking.discard(threading.get_ident())
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """The one thread that there is may be inside still."""
        self._changed = threading.Condition()
        self._forking = set()
        self._inside = int(getattr(self._own, "depth", 0) > 0)


gate = Gate()
_inheritable: weakref.WeakSet[Inheritable] = weakref.WeakSet()
_registering = threading.Lock()


def renew_after_fork(holder: Inheritable) -> None:
    """Have `holder.after_fork_in_child` called in every child forked while it lives."""
    with gate, _registering:
        _inheritable.add(holder)


def _after_fork_in_child() -> None:
    global _registering
    _registering = threading.Lock()
    gate.after_fork_in_child()
    errors: list[Exception] = []
    for holder in list(_inheritable):
        try:
            holder.after_fork_in_child()
        except Exception as error:  # the others must let go all the same
            errors.append(error)
    if errors:
        raise errors[0]


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(
        before=gate.before_fork,
        after_in_parent=gate.after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
