"""Files that are made again to the byte: headers, and checksums of blocks. Neither costs anything.

Each takes the place of the damaged one in a single rename, before the commit: what is in it does
not depend on whether that comes about, and a reader that has the old one mapped keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gingham.index.checksums import protect
from gingham.index.layout import (
    HEADER_BYTES,
    TEMPORARY,
    Component,
    map_bytes,
    remove_folders,
    sync_folder,
)
from gingham.upkeep.copying import Copied, link_tree, remove_tree
from gingham.upkeep.files import Files

_AT_ONCE = 8 << 20  # bytes


def restore_files(collection: Path, files: Files, aside: Callable[[], Path]) -> list[str]:
    """Make again what can be made of a folder that stays.

    Args:
        collection: the folder.
        files: those of one segment or codebook, all arrays of which are intact.
        aside: gives the folder that what was broken is linked into.

    Returns:
        What was done, a line each.
    """
    done = []
    for component, (header, _) in files.headers.items():
        path = files.folder / component.filename
        _keep(collection, path, aside())
        size = next(m.rows.nbytes for m in files.mapped if m.path == path)
        _write_again(path, header, size)
        done.append(f"wrote the header of {path.relative_to(collection).as_posix()} anew")
    if files.checksums is not None:
        path = files.folder / Component.CHECKSUMS.filename
        if os.path.lexists(path):
            _keep(collection, path, aside())
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
        protect(files.folder, files.mapped)
        done.append(f"made {path.relative_to(collection).as_posix()} anew")
    return done


def _keep(collection: Path, path: Path, aside: Path) -> None:
    target = aside / path.relative_to(collection)
    target.parent.mkdir(parents=True, exist_ok=True)
    link_tree(path, target, Copied())
    sync_folder(target.parent)


def _write_again(path: Path, header: bytes, size: int) -> None:
    """A file with another header, and no more than its array after it."""
    work = path.parent.parent / f"{TEMPORARY}{path.parent.name}"
    remove_folders([work])
    work.mkdir()
    try:
        payload = map_bytes(path)[HEADER_BYTES : HEADER_BYTES + size]
        with (work / path.name).open("xb") as file:
            file.write(header)
            for start in range(0, size, _AT_ONCE):
                file.write(payload[start : start + _AT_ONCE])
            file.flush()
            os.fsync(file.fileno())
        os.replace(work / path.name, path)
        sync_folder(path.parent)
    finally:
        remove_folders([work])
