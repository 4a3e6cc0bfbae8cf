"""A check: the collection looked at as of one commit, while others may read and write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gingham.errors import (
    CollectionError,
    CollectionNotFoundError,
    CorruptionError,
    InputError,
    LockedError,
)
from gingham.index.catalog import Catalog
from gingham.index.commit import writer_lock
from gingham.index.exchange import NEW
from gingham.index.layout import CATALOG, CODEBOOKS, LOCK, SEGMENTS, check_folders, check_regular
from gingham.upkeep.examining import Examination, Examiner
from gingham.upkeep.findings import REPAIR
from gingham.upkeep.leftovers import entries_of
from gingham.upkeep.values import Check, Finding, Report

_ATTEMPTS = 5  # beside writers; then without
_WAIT = 60.0  # seconds for the writers to let a check have its turn
LOST_CATALOG = (
    "ids and texts of documents were in it only: restore a backup (gingham restore), or add the "
    "documents to a new collection"
)


def check(path: str | os.PathLike[str], *, progress: Report | None = None) -> Check:
    """Read all of a collection, compare it with its checksums and each part with the others.

    Works on collections that cannot be opened, changes nothing, and may run while others write: it
    looks at the latest commit.

    Args:
        path: the folder of the collection.
        progress: told how far it has come.

    Raises:
        CollectionNotFoundError: there is none.
        CollectionError: it cannot be looked at, or is of an older format.
        LockedError: writers changed it whenever it was looked at, and gave it no turn.
        VersionError: written by a newer gingham.
    """
    folder = collection_folder(path)
    misplaced = misplaced_in(folder)
    if misplaced:  # what a link leads to is not ours to read
        return as_check(folder, Examination(misplaced, must_rebuild=True))
    try:
        found = _examine(folder, progress)
    except CorruptionError as error:
        remedy = f"{REPAIR} makes the catalog anew of what can be read; or restore a backup"
        if not os.path.lexists(folder / CATALOG):
            remedy = LOST_CATALOG
            if (folder / NEW).exists():
                remedy = f"{REPAIR} finishes the repair that was interrupted"
        problem = " ".join(str(error).removeprefix(f"{folder / CATALOG}: ").split())
        found = Examination(must_rebuild=True)
        found.findings.append(Finding("damage", CATALOG, problem, remedy))
    return as_check(folder, found)


def verify(path: Path) -> None:
    """A check, as an error where something is damaged; leftovers are none.

    Raises:
        CorruptionError: the message says what was found first, and how much more.
    """
    damage = [f for f in check(path).findings if f.kind == "damage"]
    if damage:
        more = f"; {len(damage) - 1} more findings" if len(damage) > 1 else ""
        raise CorruptionError(
            f"{path / damage[0].where}: {damage[0].problem}{more}: see gingham check"
        )


def collection_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, if a collection is or was there.

    Raises:
        CollectionNotFoundError: nothing of a collection is there.
    """
    if "\0" in os.fspath(path):
        raise InputError(f"a path cannot hold a NUL character: {os.fspath(path)!r}")
    folder = Path(path).expanduser()
    ours = (CATALOG, f"{CATALOG}-wal", NEW, SEGMENTS, CODEBOOKS)
    if not any(os.path.lexists(folder / name) for name in ours):
        raise CollectionNotFoundError(f"{folder}: no collection here")
    return folder


def misplaced_in(folder: Path) -> list[Finding]:
    """Links, pipes and the like where folders and the lock should be."""
    found = []
    for name, refuse in (
        (SEGMENTS, check_folders),
        (CODEBOOKS, check_folders),
        (LOCK, check_regular),
    ):
        try:
            refuse(folder / name)
        except CorruptionError as error:
            problem = " ".join(str(error).removeprefix(f"{folder / name}: ").split())
            found.append(Finding("damage", name, problem, "put back what was there, by hand"))
    return found


def as_check(folder: Path, found: Examination) -> Check:
    """What was found, as a value."""
    kept = [state.record for state in found.segments if state.fate != "lost"]
    return Check(
        path=str(folder),
        findings=tuple(found.findings),
        generation=found.generation,
        documents=len(found.documents.numbers),
        passages=sum(record.passages for record in kept),
        tokens=sum(record.tokens for record in kept),
        segments=sum(state.listed for state in found.segments),
        codebooks=len(found.codebooks),
        bytes=found.bytes,
    )


def _examine(folder: Path, progress: Report | None) -> Examination:
    """Look, and look again where a writer took segments away meanwhile."""
    examiner = Examiner(folder, progress)
    for _ in range(_ATTEMPTS):
        with _without_writer(folder) as alone:
            catalog = open_catalog(folder)
            catalog.database.hold_snapshot()
            entries = entries_of(folder) if alone else []
        try:
            found = examiner.examine(catalog, entries)
        finally:
            catalog.database.close()
        if not found.findings or _generation(folder) == found.generation:
            return found
    # A writer that is always faster would pass for damage: it must wait once.
    with writer_lock(folder, _WAIT):
        catalog = open_catalog(folder)
        try:
            catalog.database.hold_snapshot()
            return examiner.examine(catalog, entries_of(folder))
        finally:
            catalog.database.close()


def open_catalog(folder: Path) -> Catalog:
    """A connection to read with.

    Raises:
        CorruptionError: there is no catalog, though there are segments; or it is none of ours.
        VersionError: written by a newer gingham.
        CollectionError: it is of an older format.
    """
    try:
        return Catalog(folder, writable=False)
    except CollectionNotFoundError as error:
        raise CorruptionError(f"{folder / CATALOG}: missing, though there are segments") from error


def _generation(folder: Path) -> int | None:
    """The latest commit, None where that cannot be told."""
    try:
        catalog = Catalog(folder, writable=False)
    except CollectionError:
        return None
    try:
        value = catalog.settings().get("generation", 0)
    except CollectionError:
        return None
    finally:
        catalog.database.close()
    return value if isinstance(value, int) else None


@contextmanager
def _without_writer(folder: Path) -> Iterator[bool]:
    """Whether no writer is at work; while inside none can begin, for the blink that it takes."""
    with ExitStack() as stack:
        alone = True
        if os.path.lexists(folder / LOCK):  # it is not made: a check changes nothing
            try:
                stack.enter_context(writer_lock(folder, timeout=0))
            except LockedError:
                alone = False
            except CollectionError:  # nobody can write here
                pass
        yield alone
