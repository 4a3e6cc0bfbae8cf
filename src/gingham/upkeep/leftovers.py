"""What lies in a collection and nothing refers to: left by killed writers, or put there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from gingham.index.exchange import NEW, OLD
from gingham.index.layout import (
    CATALOG,
    CODEBOOKS,
    SEGMENTS,
    Component,
    codebook_folder,
    segment_folder,
)

_FILENAMES = frozenset(component.filename for component in Component)
_DIGITS = 8  # of a folder's name, at least


def entries_of(collection: Path) -> list[Path]:
    """All that lies in a collection, down to the files of segments and codebooks."""
    found = children_of(collection)
    for kind in (SEGMENTS, CODEBOOKS):
        for folder in children_of(collection / kind):
            found.append(folder)
            found += children_of(folder) if is_number(folder.name) else []
    return found


def unneeded(
    collection: Path,
    entries: Sequence[Path],
    segments: Collection[int],
    codebooks: Collection[int],
) -> list[Path]:
    """Of the entries those that nothing refers to; files of the user beside ours are let be.

    Args:
        collection: the folder.
        entries: see `entries_of`.
        segments: that are needed.
        codebooks: likewise.
    """
    kept = {segment_folder(collection, number) for number in segments}
    kept |= {codebook_folder(collection, number) for number in codebooks}
    found = []
    for entry in entries:
        if entry.parent == collection:
            unknown = entry.name in (NEW, OLD, f"{CATALOG}.new")
        elif entry.parent in kept:
            unknown = entry.name not in _FILENAMES
        else:
            unknown = entry not in kept and not is_number(entry.parent.name)
        if unknown:
            found.append(entry)
    return found


def children_of(folder: Path) -> list[Path]:
    """Sorted; nothing where there is no such folder, or a link: what it leads to is not ours."""
    if folder.is_symlink():
        return []
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def is_number(name: str) -> bool:
    """Whether a folder of this name may be a segment or codebook."""
    return len(name) >= _DIGITS and name.isascii() and name.isdigit()
