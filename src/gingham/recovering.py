"""A repair, and what it had to drop encoded again from texts that are intact.

`upkeep` keeps what is whole and knows no model; here it meets the collection, which has one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from gingham.collection import Collection
from gingham.collection import open as open_collection
from gingham.encoder import Encoder
from gingham.errors import GinghamError
from gingham.report import Progress
from gingham.upkeep import repairing
from gingham.upkeep.saved import encoded, saved_documents, to_encode
from gingham.upkeep.values import Repair, Report, UpkeepProgress


def repair(
    path: str | os.PathLike[str],
    *,
    encode: bool = False,
    encoder: Encoder | str | os.PathLike[str] | None = None,
    progress: Report | None = None,
) -> Repair:
    """Make a damaged collection whole again: keep what is intact, set aside what is not.

    Of a damaged file only the damaged blocks are lost, 4096 bytes each, where it was written with
    checksums of its blocks: every document whose passages are intact stays, with the same vectors.
    Documents whose vectors or texts are lost are dropped, and named; those whose texts are intact
    can be encoded again. Posting lists, indexes, counters and marks are made anew. Killed at any
    point, the next repair finishes.

    Args:
        path: the folder of the collection.
        encode: make vectors of the texts of documents that lost theirs, and add them again. Killed,
            the next repair that encodes goes on. Where the model cannot be loaded, `hindrance` of
            what is returned says so, and the texts are in the file `again`.
        encoder: to encode with; the collection's own where None.
        progress: told how far it has come.

    Raises:
        CollectionNotFoundError: there is none.
        CorruptionError: nothing of the catalog can be read; nothing is changed then.
        LockedError: a writer is at work.
        VersionError: written by a newer gingham.
    """
    done = repairing.repair(path, encode=encode, progress=progress)
    waiting = to_encode(Path(done.path)) if encode else []
    if not waiting:
        return done
    if done.left:
        return replace(done, hindrance="the collection is not whole yet")
    with open_collection(done.path, encoder) as collection:
        missing = [[d.id for d in saved_documents(f) if d.id not in collection] for f in waiting]
        wanted = list(dict.fromkeys(id for ids in missing for id in ids))
        hindrance = None
        try:
            for file, ids in zip(waiting, missing, strict=True):
                _add(collection, file, {id for id in ids if id not in collection}, wanted, progress)
                encoded(file)
        except GinghamError as error:
            hindrance = " ".join(str(error).split())
        again = tuple(id for id in wanted if id in collection)
        return replace(
            done,
            dropped=tuple(id for id in done.dropped if id not in collection),
            encoded=again,
            hindrance=hindrance,
            again=None if hindrance is None else str(waiting[0]),
            documents=len(collection),
        )


def _add(
    collection: Collection, file: Path, ids: set[str], wanted: list[str], report: Report | None
) -> None:
    """Documents of one file; what was told is durable."""
    before = sum(id in collection for id in wanted)

    def tell(now: Progress) -> None:
        if report is not None:
            report(UpkeepProgress("encoding", before + now.documents, len(wanted)))

    tell(Progress(0, 0, 0, 0))
    collection.add((d for d in saved_documents(file) if d.id in ids), progress=tell)
