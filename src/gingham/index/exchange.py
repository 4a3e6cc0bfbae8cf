"""A catalog put in the place of another, so that a kill at any point leaves one of the two.

The old one is taken away before its log is, and the new one comes last: in between there is no
catalog, nobody opens the collection, and the next repair finishes what was begun.
"""

from __future__ import annotations

import os
from pathlib import Path

from gingham.index.layout import CATALOG, sync_folder

NEW = f"{CATALOG}.repaired"
OLD = f"{CATALOG}.replaced"


def exchange(collection: Path, new: Path) -> None:
    """Put a closed catalog into place; only the writer may. The old one is gone afterwards."""
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(new, collection / NEW)
    sync_folder(collection)
    if (collection / CATALOG).exists():
        os.replace(collection / CATALOG, collection / OLD)
        sync_folder(collection)
    finish_exchange(collection)


def finish_exchange(collection: Path) -> bool:
    """Finish an exchange that was interrupted; returns whether there was one.

    One that had not yet taken the old catalog away is forgotten: that catalog may have changed.
    """
    new, old = collection / NEW, collection / OLD
    interrupted = new.exists() and not (collection / CATALOG).exists()
    if interrupted:
        for suffix in ("-wal", "-shm"):
            Path(f"{collection / CATALOG}{suffix}").unlink(missing_ok=True)
        sync_folder(collection)
        os.replace(new, collection / CATALOG)
        sync_folder(collection)
    new.unlink(missing_ok=True)
    if (collection / CATALOG).exists():
        old.unlink(missing_ok=True)
    return interrupted
