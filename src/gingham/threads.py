"""How many threads to use: one rule for everything that takes `threads=`.

It knows nothing of what the threads do. It stands apart because the encoder may not import the
kernels, nor they it.
"""

from __future__ import annotations

import os

from gingham.errors import InputError

VARIABLE = "GINGHAM_THREADS"


def resolve_threads(threads: int | None = None) -> int:
    """The argument, else `GINGHAM_THREADS`, else the cores that this process may use.

    Raises:
        InputError: either is not a whole number of at least 1.
    """
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InputError(f"threads must be a whole number of at least 1, got {threads!r}")
        return threads
    text = os.environ.get(VARIABLE, "").strip()
    if text:
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise InputError(f"{VARIABLE} must be a whole number of at least 1, got {text!r}")
        return int(text)
    if hasattr(os, "sched_getaffinity"):  # fewer than cpu_count where a container limits us
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
