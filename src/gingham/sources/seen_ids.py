"""Which ids have come already, in eight bytes an id: a set of strings would take a hundred.

A 64-bit hash stands for an id. Among ten million ids two share a hash with a chance of 3 in a
million; that would be reported as an id that comes twice, with no first place to name.
"""

from __future__ import annotations

import hashlib

import numpy as np

_RECENT = 1 << 17


class SeenIds:
    """A growing set of ids: recent hashes in a set, older ones in one sorted array."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._older = np.zeros(0, dtype=np.uint64)

    def add(self, id: str) -> bool:
        """Remember an id; False where it has come before."""
        key = _key(id)
        if self._holds(key):
            return False
        self._recent.add(key)
        if len(self._recent) == _RECENT:
            recent = np.fromiter(self._recent, dtype=np.uint64, count=_RECENT)
            self._older = np.sort(np.concatenate([self._older, recent]), kind="stable")
            self._recent.clear()
        return True

    def __contains__(self, id: object) -> bool:
        """Whether this id has come."""
        return isinstance(id, str) and self._holds(_key(id))

    def _holds(self, key: int) -> bool:
        if key in self._recent:
            return True
        at = int(np.searchsorted(self._older, np.uint64(key)))
        return at < len(self._older) and int(self._older[at]) == key


def _key(id: str) -> int:
    digest = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
