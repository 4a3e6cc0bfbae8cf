"""A file that is there whole or not at all: written beside its place, then moved into it.

What is written is the caller's business.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gingham.errors import InputError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when the block ends without an error.

    Raises:
        InputError: the folder does not exist or cannot be written to, or `path` is a folder.
    """
    final = Path(path)
    if final.is_dir():
        raise InputError(f"{final} is a folder: name a file to write")
    draft = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        yield draft
        draft.replace(final)
    except OSError as error:
        raise InputError(
            f"cannot write {final}: {error.strerror or error}; name a file in a folder that exists "
            "and may be written to"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
