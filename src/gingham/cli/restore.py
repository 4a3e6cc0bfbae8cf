"""`gingham restore`: a backup back to where a collection shall be."""

from __future__ import annotations

from typing import Annotated

import typer

from gingham.cli import console
from gingham.cli.backup import show, write
from gingham.cli.options import Json

EXAMPLES = (
    "gingham restore backups/monday docs.gingham",
    "gingham restore /mnt/other/docs docs.gingham --json",
)


def restore(
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="The folder of the backup.")],
    collection: Annotated[
        str,
        typer.Argument(
            metavar="COLLECTION", help="Where the collection will be; nothing may be there."
        ),
    ],
    json: Json = False,
) -> None:
    """Copy a backup to where a collection shall be, and check the copy.

    Nothing is overwritten: move a damaged collection away first. No file is shared with the backup,
    which stays as it is. Interrupted, it leaves at most a folder .COLLECTION.partial.

    With --json one object: path, generation, documents, files, linked, bytes.
    """
    import gingham

    with console.Steps() as steps:
        done = gingham.restore(backup, collection, progress=lambda now: show(steps, now))
    write(backup, done, json)
