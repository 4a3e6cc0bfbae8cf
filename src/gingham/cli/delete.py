"""`gingham delete`: documents out of a collection, by id."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gingham.cli import console
from gingham.cli.options import CollectionPath, Json

EXAMPLES = (
    "gingham delete docs.gingham notes/old.md",
    'gingham search docs.gingham "draft" --json | jq -r .id | gingham delete docs.gingham -',
)


def delete(
    collection: CollectionPath,
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="IDS",
            help="The ids of the documents; - reads one id a line from standard input.",
            show_default=False,
        ),
    ],
    missing_ok: Annotated[
        bool,
        typer.Option("--missing-ok", help="Pass over ids that the collection does not have."),
    ] = False,
    json: Json = False,
) -> None:
    """Delete documents by id.

    All of them or, where an id is missing, none.

    With --json one object: deleted, documents (left in the collection).
    """
    import gingham

    wanted = [id for id in ids if id != "-"]
    if "-" in ids:
        wanted += [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
    # A collection to delete from must be there: it is not made by opening it, as for adding.
    with gingham.open(collection, read_only=True):
        pass
    with gingham.open(collection) as opened:
        deleted = opened.delete(wanted, missing_ok=missing_ok)
        left = len(opened)
    if json:
        console.write_json({"deleted": deleted, "documents": left})
        return
    console.write(
        f"{collection}: {console.plural(deleted, 'document')} deleted, {console.number(left)} left"
    )
