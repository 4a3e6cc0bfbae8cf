"""A backup: a copy of a collection as of one commit, made while others write; and its way back.

The copy is made under a temporary name beside the target, read whole and compared with its
checksums, made durable and only then renamed: what has the target's name is complete. A backup is a
collection like any other, so restoring is copying once more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from gingham.errors import CollectionError, CorruptionError, InputError, LockedError
from gingham.index.catalog import Catalog
from gingham.index.commit import fold_log, writer_lock
from gingham.index.database import Database
from gingham.index.layout import (
    CATALOG,
    CODEBOOKS,
    LOCK,
    SEGMENTS,
    Component,
    codebook_folder,
    segment_folder,
    sync_folder,
)
from gingham.index.space import check_space
from gingham.upkeep.checking import check, collection_folder
from gingham.upkeep.copying import Copied, link_or_copy, remove_tree
from gingham.upkeep.leftovers import children_of
from gingham.upkeep.segments import CODEBOOK_NAMES, names_of_segment
from gingham.upkeep.values import Backup, Report, UpkeepProgress

_ATTEMPTS = 5
_CHECKSUMS = {Component.CHECKSUMS.filename}


def backup(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    link: bool = True,
    progress: Report | None = None,
) -> Backup:
    """Copy a collection, as of its latest commit, to where nothing is yet.

    Writers may be at work meanwhile. The copy is checked whole before it appears.

    Args:
        path: the collection.
        target: where the backup will be; its parent folder must exist.
        link: segments become hard links where the file system allows it: they never change, so that
            a backup takes no time and no space. It then shares the disk's defects: a backup on
            another disk is always copied.
        progress: told how far it has come.

    Raises:
        CollectionError: there is something at the target, or no room.
        CorruptionError: the collection is damaged: see `check`.
        LockedError: another backup to the same target is at work.
    """
    source, final = collection_folder(path), _free(target)
    work = final.parent / f".{final.name}.partial"
    try:
        work.mkdir(exist_ok=True)
        with writer_lock(work, timeout=0):
            for left in children_of(work):
                if left.name != LOCK:
                    remove_tree(left)
            done = _copy(source, work, link, progress)
            found = check(work, progress=progress)
            if found.findings:
                worst = found.findings[0]
                raise CorruptionError(
                    f"{source}: damaged: {worst.where}: {worst.problem}; nothing was backed up: "
                    "see gingham check"
                )
            fold_log(work)  # the check has opened the catalog; a copy of it alone shall be whole
            for folder in (work / SEGMENTS, work / CODEBOOKS, work):
                sync_folder(folder)
            if os.path.lexists(final):
                raise CollectionError(f"{final}: exists: nothing is overwritten")
            os.rename(work, final)
            sync_folder(final.parent)
    except LockedError:
        raise LockedError(f"{final}: another backup to the same place is at work") from None
    except BaseException as error:
        remove_tree(work)
        if isinstance(error, OSError) and not isinstance(error, CollectionError):
            raise CollectionError(
                f"{final}: cannot be written: {error.strerror or error}; nothing was left there"
            ) from error
        raise
    return Backup(
        path=str(final),
        generation=found.generation or 0,
        documents=found.documents,
        files=done.files,
        linked=done.linked,
        bytes=done.bytes + (final / CATALOG).stat().st_size,
    )


def restore(
    backup_path: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    progress: Report | None = None,
) -> Backup:
    """Copy a backup to where a collection shall be; no file is shared with the backup.

    Raises:
        CollectionError: there is something at the path already: move it away first.
        CorruptionError: the backup is damaged.
    """
    return backup(backup_path, path, link=False, progress=progress)


def _free(target: str | os.PathLike[str]) -> Path:
    if "\0" in os.fspath(target):
        raise InputError(f"a path cannot hold a NUL character: {os.fspath(target)!r}")
    final = Path(target).expanduser().absolute()
    if os.path.lexists(final):
        raise CollectionError(
            f"{target}: exists: nothing is overwritten; choose another path or move it away"
        )
    if not final.parent.is_dir():
        raise CollectionError(f"{target}: there is no folder {final.parent}; make it first")
    return final


def _copy(source: Path, work: Path, link: bool, report: Report | None) -> Copied:
    """Catalog and files of one commit; from the start where a writer took files away meanwhile."""
    (work / SEGMENTS).mkdir()
    (work / CODEBOOKS).mkdir()
    for attempt in range(_ATTEMPTS):
        Database(source, writable=False).close()  # says what is wrong with it, if something is
        catalog = Catalog(source, writable=False)
        try:
            catalog.database.hold_snapshot()
            return _copy_commit(catalog, source, work, link, report)
        except FileNotFoundError as error:
            if attempt == _ATTEMPTS - 1:
                raise CorruptionError(
                    f"{error.filename}: missing, though the catalog lists it: see gingham check"
                ) from error
        finally:
            catalog.database.close()
    raise AssertionError("unreachable")


def _copy_commit(
    catalog: Catalog, source: Path, work: Path, link: bool, report: Report | None
) -> Copied:
    records, books = catalog.segments(), catalog.codebooks()
    sizes = {segment_folder(source, record.segment): record.bytes for record in records}
    sizes |= {codebook_folder(source, book.codebook): book.bytes for book in books}
    names = {segment_folder(source, r.segment): names_of_segment(r) for r in records}
    names |= {codebook_folder(source, book.codebook): CODEBOOK_NAMES for book in books}
    protected = {source / name for name in catalog.checksums_digests()}
    total = sum(sizes.values())
    linkable = link and source.stat().st_dev == work.stat().st_dev
    needed = catalog.path.stat().st_size + (0 if linkable else total)
    check_space(work, needed, "the copy")
    wanted = {work / folder.relative_to(source) for folder in sizes}
    for kind in (SEGMENTS, CODEBOOKS):
        for folder in children_of(work / kind):
            if folder not in wanted:  # of a commit that was given up
                remove_tree(folder)
    done = Copied()
    for folder in sizes:
        if report is not None:
            report(UpkeepProgress("copying", min(done.bytes, total), total))
        wanted_names = names[folder] | (_CHECKSUMS if folder in protected else set())
        _copy_folder(folder, work / folder.relative_to(source), wanted_names, link, done)
    catalog.database.copy_to(work / CATALOG)
    return done


def _copy_folder(
    folder: Path, target: Path, names: Collection[str], link: bool, done: Copied
) -> None:
    """Files by their names: a listing of a folder that is being removed lacks some.

    Raises:
        FileNotFoundError: one of them is gone.
    """
    if target.exists():
        shutil.rmtree(target)  # it may be another's, of the same number, or half a copy
    target.mkdir()
    for name in sorted(names):
        link_or_copy(folder / name, target / name, done, link=link)
    sync_folder(target)
