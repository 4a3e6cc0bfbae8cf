"""How a collection changes: segment files first, then one catalog transaction.

The order is the promise. Segment files are fsynced and renamed before the transaction that lists
them; whoever is killed in between leaves a folder that no catalog knows, and the next writer
removes it. Folders that a commit takes off the list are removed after it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gingham.errors import CollectionError, CorruptionError
from gingham.index.catalog import Catalog, DocumentRow
from gingham.index.codebook_files import CodebookRecord
from gingham.index.database import Database, remove_unfinished
from gingham.index.exchange import NEW
from gingham.index.layout import (
    CATALOG,
    CODEBOOKS,
    DAMAGED,
    LOCK,
    SEGMENTS,
    TEMPORARY,
    check_folders,
    check_regular,
    codebook_folder,
    folder_digests,
    make_folder,
    remove_folders,
    reporting_disk,
    segment_folder,
    sync_folder,
)
from gingham.index.segment_writer import SegmentRecord
from gingham.index.write_lock import WriteLock

LOCK_TIMEOUT = 2.0  # seconds that a second writer waits for the first


@contextmanager
def writer_lock(collection: Path, timeout: float | None = LOCK_TIMEOUT) -> Iterator[None]:
    """Be the one writer of a collection, across threads and processes.

    Raises:
        LockedError: another writer is still at work after `timeout` seconds; None waits for ever.
        CollectionError: the folder cannot be written to.
    """
    path = collection / LOCK
    check_regular(path)  # a link leads to a file that is not ours
    with WriteLock(path, timeout):
        yield


def create_collection(collection: Path, timeout: float | None = LOCK_TIMEOUT) -> None:
    """Make an empty collection, or leave the one that is there.

    Raises:
        CollectionError: the path is something else, or cannot be created.
        CorruptionError: there are segments, but no catalog.
    """
    if os.path.lexists(collection / CATALOG):
        _upgrade(collection, timeout)
        return
    try:
        make_folder(collection)
    except OSError as error:
        raise CollectionError(
            f"{collection}: cannot create a collection here: {error.strerror}"
        ) from error
    names = {entry.name for entry in collection.iterdir()} - {LOCK, SEGMENTS, CODEBOOKS, DAMAGED}
    strangers = {name for name in names if not name.startswith(CATALOG)}
    if strangers:
        raise CollectionError(
            f"{collection}: holds other files (such as {min(strangers)!r}) and is no collection; "
            "choose a new path"
        )
    with writer_lock(collection, timeout), reporting_disk(collection):
        if not (collection / CATALOG).exists():  # another process may have been faster
            if (collection / NEW).exists():
                raise CorruptionError(
                    f"{collection / CATALOG}: missing, since a repair was interrupted: "
                    "gingham check --repair finishes it"
                )
            if any((collection / SEGMENTS).glob("*/*")) or (collection / f"{CATALOG}-wal").exists():
                raise CorruptionError(
                    f"{collection / CATALOG}: missing, though there are segments; "
                    "restore it from a backup"
                )
            make_folder(collection / SEGMENTS)
            # Whoever sees a catalog may rely on the folder that it is in.
            sync_folder(collection.resolve().parent)
            Database.create(collection)
            sync_folder(collection)


def _upgrade(collection: Path, timeout: float | None) -> None:
    """Bring the catalog of an older version up to date; usually there is nothing to do."""
    database = Database(collection, writable=False, outdated_ok=True)
    outdated = database.is_outdated()
    database.close()
    if outdated:
        with writer_lock(collection, timeout):
            database = Database(collection, writable=True, outdated_ok=True)
            try:
                database.upgrade()
            finally:
                database.close()


def fold_log(collection: Path) -> None:
    """Put the write-ahead log into the catalog, so that a closed collection is one complete file.

    SQLite does so when the last connection that may write is closed; while others are at work it
    is left to them.
    """
    with contextlib.suppress(CollectionError):
        Database(collection, writable=True).close()


def collect_garbage(collection: Path, catalog: Catalog) -> None:
    """Remove folders that the catalog does not list, and a catalog that was never finished.

    Only the writer may call this.
    """
    check_folders(collection / SEGMENTS, collection / CODEBOOKS)
    listed = {segment_folder(collection, record.segment) for record in catalog.segments()}
    listed |= {codebook_folder(collection, record.codebook) for record in catalog.codebooks()}
    with reporting_disk(collection):
        remove_unfinished(collection)
        garbage = []
        for folder in (collection / SEGMENTS, collection / CODEBOOKS):
            make_folder(folder)
            garbage += [entry for entry in folder.iterdir() if entry not in listed]
    if any(not entry.name.startswith(TEMPORARY) for entry in garbage):
        # A commit that failed while it was made durable may lie in the log all the same, and come
        # to life when the log is next read from the disk. It must not find its folders gone: this
        # commit is written over it first.
        publish(collection, catalog)
    remove_folders(garbage)


def publish(
    collection: Path,
    catalog: Catalog,
    *,
    segment: SegmentRecord | None = None,
    codebook: CodebookRecord | None = None,
    merged: Sequence[int] = (),
    documents: Sequence[DocumentRow] = (),
    deleted: Iterable[str] = (),
    buried: Iterable[int] = (),
    settings: Mapping[str, Any] | None = None,
    protected: Sequence[Path] = (),
) -> None:
    """Make a change visible, all of it or nothing; durable when this returns.

    Args:
        collection: the folder.
        catalog: a writable connection.
        segment: a finished segment to list.
        codebook: a new codebook, whose first segment it is.
        merged: numbers of segments that it replaces.
        documents: rows to insert; a document of the same id is deleted first.
        deleted: ids to delete.
        buried: tombstones that no segment needs any more.
        settings: values to set.
        protected: folders of the list that were given checksums of their blocks.
    """
    digests: dict[str, str] = {}
    for folder in protected:
        digests |= folder_digests(f"{folder.parent.name}/{folder.name}", folder)
    if segment is not None:
        folder = segment_folder(collection, segment.segment)
        digests |= folder_digests(f"{SEGMENTS}/{folder.name}", folder)
    if codebook is not None:
        folder = codebook_folder(collection, codebook.codebook)
        digests |= folder_digests(f"{CODEBOOKS}/{folder.name}", folder)
    with catalog.database.transaction():
        catalog.delete_documents(deleted)
        catalog.delete_documents([row.id for row in documents])
        catalog.insert_documents(documents)
        dropped = {record.codebook for record in catalog.codebooks()}
        if codebook is not None:
            catalog.add_codebook(codebook)
        if segment is not None or merged:
            catalog.replace_segments(merged, segment)
            catalog.drop_unused_codebooks()
        if digests or merged:
            catalog.keep_digests(digests)
        dropped -= {record.codebook for record in catalog.codebooks()}
        catalog.bury(buried)
        counters = dict(settings or {})
        counters["generation"] = catalog.settings().get("generation", 0) + 1
        for key, value in counters.items():
            catalog.set_setting(key, value)
    remove_folders(segment_folder(collection, number) for number in merged)
    remove_folders(codebook_folder(collection, number) for number in dropped)


def bytes_on_disk(collection: Path) -> int:
    """Size of all files of a collection."""
    total = 0
    for folder, _, names in os.walk(collection):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:  # a writer is at work
                continue
    return total
