"""`gingham backup`: a copy of a collection, made while others write."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json

if TYPE_CHECKING:
    from gingham.upkeep.values import Backup, UpkeepProgress

EXAMPLES = (
    "gingham backup docs.gingham backups/monday",
    "gingham backup docs.gingham /mnt/other/docs --json",
)


def backup(
    collection: CollectionPath,
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="Where the backup will be; nothing may be there."),
    ],
    copy: Annotated[
        bool,
        typer.Option("--copy", help="Copy all files, also where hard links would do."),
    ] = False,
    json: Json = False,
) -> None:
    """Copy the latest commit of a collection, while others may write.

    The copy is a collection like any other: it can be searched, and restored. It is read whole and
    compared with its checksums before it appears. On the same file system, files of segments are
    shared (they never change), which costs no space but leaves the disk's defects to both.
    Interrupted, it leaves at most a folder .TARGET.partial, which the next one removes.

    With --json one object: path, generation, documents, files, linked, bytes.
    """
    import gingham

    with gingham.open(collection, read_only=True) as opened, console.Steps() as steps:
        done = opened.backup(target, link=not copy, progress=lambda now: show(steps, now))
    write(collection, done, json)


def show(steps: console.Steps, now: UpkeepProgress) -> None:
    """How far a copy is."""
    steps(now.stage, now.done, now.total, f"{now.done:,} of {now.total:,}")


def write(source: str, done: Backup, json: bool) -> None:
    """What was copied."""
    if json:
        console.write_json(asdict(done))
        return
    shared = f", {done.linked} of them shared" if done.linked else ""
    console.write(
        f"{source} → {done.path}: {console.plural(done.documents, 'document')}, "
        f"{console.size(done.bytes)} in {console.plural(done.files, 'file')}{shared}; "
        "every checksum holds"
    )
